"""Trajectories as tensors: what an algorithm is a function of."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlgym.errors import UsageError
from mlgym.metrics import ties
from mlgym.trajectory import Trajectory

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 1e-9  # rewards nearer to each other than that are the same number


@dataclass(frozen=True)
class Batch:
    """Rollouts, padded on the right.

    Of shape (rows, tokens): `ids`, the prompt and all that came after it; `attention`, 1 where there is a token;
    `mask`, 1.0 where the policy wrote it; `old`, the sampler's log-probabilities; `seconds` of the environment that the
    reply of the token led to; `logprobs` of the policy that is trained, which the gradient goes through; `reference`,
    those of the weights that it began with, None where the recipe keeps none. Log-probabilities are in nats, of the
    token after all before it, and 0.0 where `mask` is 0.

    Of shape (rows,): `temperature` of sampling; `rewards`; `groups`, a number for each group; `advantages`, the reward
    less the mean of the group; `spread`, the standard deviation of the group's rewards. Both are 0.0 in a group whose
    best and worst tie: they lie no further apart than the noise of a grading explains (`metrics.ties`).
    """

    ids: "Tensor"
    attention: "Tensor"
    mask: "Tensor"
    old: "Tensor"
    seconds: "Tensor"
    temperature: "Tensor"
    rewards: "Tensor"
    advantages: "Tensor"
    spread: "Tensor"
    groups: "Tensor"
    logprobs: "Tensor | None" = None
    reference: "Tensor | None" = None

    def __len__(self) -> int:
        return int(self.ids.shape[0])


def collate(trajectories: Sequence[Trajectory], *, device: str = "cpu", rewards: Sequence[float] = ()) -> Batch | None:
    """The batch of the trajectories that have a reward; None where none has, or no reply at all.

    `rewards` stand in for those of the trajectories that have one, in their order. Raises UsageError for a trajectory
    without tokens: those of a server that tells none cannot be learned from here.
    """
    import torch

    kept = [each for each in trajectories if each.reward is not None]
    if any(each.turns and not each.ids for each in kept):
        raise UsageError(f"The sampler of {kept[0].model or 'the policy'} tells no tokens: there is nothing to train.")
    values = list(rewards) or [float(each.reward or 0.0) for each in kept]
    pairs = [(each, value) for each, value in zip(kept, values, strict=True) if any(each.mask)]
    if not pairs:
        return None
    kept, values = [each for each, _ in pairs], [value for _, value in pairs]
    tokens = max(len(each.prompt) + len(each.ids) for each in kept)

    def padded(lines: list[list[Any]], dtype: Any) -> Any:
        return torch.tensor([line + [0] * (tokens - len(line)) for line in lines], dtype=dtype, device=device)

    def after(lines: list[Sequence[Any]]) -> Any:
        return padded([[0] * len(e.prompt) + list(line) for e, line in zip(kept, lines, strict=True)], torch.float32)

    def column(line: Sequence[Any], dtype: Any = torch.float32) -> Any:
        return torch.tensor(line, dtype=dtype, device=device)

    advantages, spread, groups = compared(kept, values)
    return Batch(
        ids=padded([[*each.prompt, *each.ids] for each in kept], torch.int64),
        attention=padded([[1] * (len(each.prompt) + len(each.ids)) for each in kept], torch.int64),
        mask=after([each.mask for each in kept]),
        old=after([each.logprobs for each in kept]),
        seconds=after([_seconds(each) for each in kept]),
        temperature=column([each.temperature for each in kept]),
        rewards=column(values),
        advantages=column(advantages),
        spread=column(spread),
        groups=column(groups, torch.int64),
    )


def compared(
    trajectories: Sequence[Trajectory], rewards: Sequence[float]
) -> tuple[list[float], list[float], list[int]]:
    """For each trajectory: its reward less its group's mean, the group's standard deviation, the group's number.

    Those without a group's name are compared within their task and seed.
    """
    members: dict[object, list[int]] = defaultdict(list)
    for place, each in enumerate(trajectories):
        members[each.group or (each.task, each.seed)].append(place)
    advantages, spread, groups = [0.0] * len(rewards), [0.0] * len(rewards), [0] * len(rewards)
    for number, places in enumerate(members.values()):
        own = [rewards[place] for place in places]
        noise = max(trajectories[place].noise for place in places)
        tie = ties(max(own), min(own), max(noise, SMALLEST))
        mean = sum(own) / len(own)
        deviation = (sum((value - mean) ** 2 for value in own) / len(own)) ** 0.5
        for place in places:
            groups[place] = number
            if not tie:
                advantages[place], spread[place] = rewards[place] - mean, deviation
    return advantages, spread, groups


def logprobs(model: Any, batch: Batch, rows: slice = slice(None)) -> "Tensor":
    """The log-probabilities of the tokens of these rows under a causal `model`, at their temperature; as `ids`."""
    import torch

    ids, attention, mask = batch.ids[rows], batch.attention[rows], batch.mask[rows]
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1].float()
    logits = logits / batch.temperature[rows, None, None]
    chosen = logits.gather(-1, ids[:, 1:, None]).squeeze(-1) - logits.logsumexp(-1)
    return torch.nn.functional.pad(chosen, (1, 0)) * mask


def _seconds(trajectory: Trajectory) -> list[float]:
    """Seconds of the environment for each token: those of the reply that it belongs to, 0.0 outside replies."""
    seconds = [0.0] * len(trajectory.ids)
    for turn in trajectory.turns:
        seconds[turn.start : turn.end] = [turn.env_s] * (turn.end - turn.start)
    return seconds
