"""Group-relative policy optimisation: the shipped algorithm, as one function of a batch.

GRPO: Shao et al. 2024, "DeepSeekMath", arXiv 2402.03300, equations 3 and 4, with outcome supervision (section 4.1.2).
"""

from typing import TYPE_CHECKING, Any, Literal

from mlgym.errors import UsageError
from mlgym.rl.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

STABLE = 1e-4  # added to a deviation before dividing by it


def loss(
    batch: Batch,
    *,
    clip: float = 0.2,
    clip_high: float | None = None,
    kl: float = 0.0,
    deviation: bool = True,
    length: Literal["sequence", "tokens", "constant"] = "sequence",
    durations: bool = False,
) -> tuple["Tensor", dict[str, float]]:
    """The loss to minimise, and what it was made of.

    With the ratio r = π/π_old of each token that the policy wrote and the advantage A of its rollout, the objective is
    the mean of min(r A, clip(r, 1 − `clip`, 1 + `clip_high`) A) − `kl` · D, where D = π_ref/π − log(π_ref/π) − 1
    estimates the divergence from the reference (equation 4). A is the reward less the group's mean, divided by the
    group's standard deviation where `deviation`.

    `clip_high` differs from `clip` in DAPO (Yu et al. 2025, arXiv 2503.14476, equation 10). `length` is how the mean is
    taken: "sequence", over the tokens of each rollout and then over rollouts, as in GRPO; "tokens", over all tokens, as
    in DAPO (equation 12); "constant", the sum over tokens by one number for all rollouts, the length of the longest of
    the batch: with `deviation` false that is Dr. GRPO (Liu et al. 2025, arXiv 2503.20783, section 3.2), whose number is
    the most tokens that there may be. `durations` weights each token by the seconds that the environment took for its
    reply, their mean being 1, so that what is quick and therefore done often does not outweigh what takes long (Yang et
    al. 2025, arXiv 2509.01684, section 4).

    Raises UsageError for `kl` without a reference.
    """
    new, mask = batch.logprobs, batch.mask
    assert new is not None
    advantage = batch.advantages / (batch.spread + STABLE) if deviation else batch.advantages
    advantage = advantage[:, None]
    ratio = (new - batch.old).exp()
    bounded = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    objective = (ratio * advantage).minimum(bounded * advantage)
    metrics = {
        "ratio": _mean(ratio.detach(), mask),
        "clipped": _mean((ratio * advantage > bounded * advantage).float(), mask),
    }
    if kl:
        if batch.reference is None:
            raise UsageError("The option kl needs the weights that the policy began with: set reference = true.")
        apart = batch.reference - new
        divergence = apart.exp() - apart - 1
        objective = objective - kl * divergence
        metrics["kl"] = _mean(divergence.detach(), mask)
    if durations:
        objective = objective * _weights(batch)
    total = averaged(objective, mask, length)
    return -total, metrics


def averaged(values: "Tensor", mask: "Tensor", length: str) -> "Tensor":
    """The mean of `values` where `mask` is 1, in one of the three ways of `loss`."""
    kept = values * mask
    if length == "sequence":
        return (kept.sum(1) / mask.sum(1).clamp(min=1)).mean()
    if length == "tokens":
        return kept.sum() / mask.sum().clamp(min=1)
    if length == "constant":
        return kept.sum(1).mean() / mask.sum(1).max().clamp(min=1)
    raise UsageError(f"The option length should be sequence, tokens or constant, but is {length!r}.")


def _weights(batch: Batch) -> "Tensor":
    """The seconds of each token by their mean over all; 1 where nothing took any."""
    mean = _mean(batch.seconds, batch.mask)
    return batch.seconds / mean if mean else batch.mask


def _mean(values: Any, mask: Any) -> float:
    return float((values * mask).sum() / mask.sum().clamp(min=1))
