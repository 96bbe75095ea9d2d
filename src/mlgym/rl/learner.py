"""One update of a policy's weights by a loss that is a function of a batch."""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mlgym import names
from mlgym.errors import UsageError
from mlgym.rl.batch import Batch, collate, logprobs
from mlgym.trajectory import Trajectory

ALGORITHMS = {"grpo": "mlgym.rl.grpo:loss", "expert": "mlgym.rl.expert:loss", "sft": "mlgym.rl.sft:loss"}
Loss = Callable[..., tuple[Any, dict[str, float]]]


def algorithm(name: str, options: Mapping[str, Any]) -> Loss:
    """The loss of that nickname or `package.module:function`; raises UsageError, for options it does not take too."""
    found: Loss = names.resolve(name, ALGORITHMS, "algorithm")
    if not callable(found):
        raise UsageError(f"The algorithm '{name}' is no function of a batch.")
    taken = list(inspect.signature(found).parameters.values())
    known = [each.name for each in taken if each.kind is each.KEYWORD_ONLY]
    if all(each.kind is not each.VAR_KEYWORD for each in taken) and (
        wrong := [key for key in options if key not in known]
    ):
        raise UsageError(f"The algorithm '{name}' has no option '{wrong[0]}'; it has {', '.join(known) or 'none'}.")
    for each in taken:
        number = isinstance(each.default, float) and each.name in options
        if number and not isinstance(options[each.name], int | float):
            raise UsageError(f"The option '{each.name}' should be a number, but is {options[each.name]!r}.")
    return found if found.__module__.startswith("mlgym.rl.") else partial(_own, name, found)


def _own(name: str, loss: Loss, batch: Batch, **options: Any) -> tuple[Any, dict[str, float]]:
    """What a loss of the user's comes to; raises UsageError where it fails or returns something else."""
    found = names.called("algorithm", name, loss, batch, **options)
    if not (isinstance(found, tuple) and len(found) == 2 and getattr(found[0], "requires_grad", False)):
        raise UsageError(
            f"The algorithm '{name}' should return a tensor that depends on batch.logprobs, and a dict of numbers."
        )
    return found


def tried(loss: Loss, options: Mapping[str, Any], reference: bool) -> None:
    """Take the loss of two rollouts of a token each, so that what it refuses is told before anything runs."""
    import torch

    one = Trajectory(task="", prompt=(0,), ids=(0,), mask=(1,), logprobs=(0.0,), reward=0.0)
    batch = collate([one, one.changed(reward=1.0)])
    assert batch is not None
    leaf = torch.zeros_like(batch.old, requires_grad=True)
    loss(dataclasses.replace(batch, logprobs=leaf, reference=torch.zeros_like(leaf) if reference else None), **options)


class Learner:
    """A causal `model` of transformers with AdamW (Loshchilov and Hutter 2019), and a loss that is minimised.

    The model stays in its mode, which should be that of evaluation: with dropout it would not be the policy that was
    sampled. The gradient's norm is bounded by `max_norm`. At most `rows` rows go through the model at once, 0 for all:
    the gradient is the same, since the loss is taken of the whole batch. With `reference` a copy of the weights is kept
    as they are now.
    """

    def __init__(
        self,
        model: Any,
        *,
        lr: float,
        weight_decay: float = 0.0,
        max_norm: float = 1.0,
        rows: int = 0,
        reference: bool = False,
    ) -> None:
        import torch

        self.model, self.lr, self.max_norm, self.rows = model, lr, max_norm, rows
        self.optimizer: Any = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
        self.reference = copy.deepcopy(model).eval().requires_grad_(False) if reference else None

    def update(
        self, batch: Batch, loss: Loss, options: Mapping[str, Any], *, lr: float | None = None
    ) -> dict[str, float]:
        """One step down the loss. Its metrics, the norm of the gradient, and how the policy differs from the sampler's:
        `drift`, the largest difference of a log-probability, and `surprise`, the mean of -log p in nats a token.

        A loss or a gradient that is no number changes nothing and says `skipped`.
        """
        import torch

        parts = [slice(n, n + (self.rows or len(batch))) for n in range(0, len(batch), self.rows or len(batch))]
        with torch.set_grad_enabled(len(parts) == 1):
            new = torch.cat([logprobs(self.model, batch, part) for part in parts])
        leaf = new if len(parts) == 1 else new.requires_grad_()
        total, metrics = loss(
            dataclasses.replace(batch, logprobs=leaf, reference=self._of_reference(batch, parts)), **options
        )
        told = {"loss": float(total.detach()), **metrics, **_compared(batch, new.detach())}
        self.optimizer.zero_grad(set_to_none=True)
        if not bool(torch.isfinite(total)):
            return {**told, "skipped": 1.0}
        total.backward()
        if len(parts) > 1:
            # The chain rule in two passes: what the loss wants of each row, then what that wants of the weights.
            for part in parts:
                logprobs(self.model, batch, part).backward(leaf.grad[part])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        if not bool(torch.isfinite(norm)):
            return {**told, "skipped": 1.0}
        for each in self.optimizer.param_groups:
            each["lr"] = self.lr if lr is None else lr
        self.optimizer.step()
        return {**told, "norm": float(norm)}

    def _of_reference(self, batch: Batch, parts: list[slice]) -> Any:
        """The log-probabilities of the reference, None without one."""
        import torch

        if self.reference is None:
            return None
        with torch.no_grad():
            return torch.cat([logprobs(self.reference, batch, part) for part in parts])


def _compared(batch: Batch, new: Any) -> dict[str, float]:
    mask = batch.mask
    return {
        "drift": float(((new - batch.old).abs() * mask).max()),
        "surprise": float(-new.sum() / mask.sum().clamp(min=1)),
    }
