"""Expert iteration: imitate the best of each group. An algorithm that is not GRPO, and an example of one's own.

Anthony et al. 2017, "Thinking fast and slow with deep learning and tree search", arXiv 1705.08439, algorithm 1, with
the best of several samples as the expert (as in Dong et al. 2023, RAFT, arXiv 2304.06767).
"""

from typing import TYPE_CHECKING

from mlgym.rl.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, *, margin: float = 0.0) -> tuple["Tensor", dict[str, float]]:
    """The mean negative log-likelihood of the rollouts that are the best of their group.

    Only those that lie more than `margin` above the mean of the group count; in a group that ties there are none.
    """
    assert batch.logprobs is not None
    best = batch.rewards.new_full((len(batch),), -float("inf"))
    best = best.scatter_reduce(0, batch.groups, batch.rewards, "amax")[batch.groups]
    chosen = ((batch.rewards == best) & (batch.advantages > margin)).float()
    weights = chosen[:, None] * batch.mask
    loss = -(batch.logprobs * weights).sum() / weights.sum().clamp(min=1)
    return loss, {"chosen": float(chosen.mean())}
