"""The interquartile mean, stratified bootstrap intervals and the probability of improvement.

As recommended for few runs on many tasks by Agarwal et al. (2021, "Deep reinforcement learning at the edge of the
statistical precipice", arXiv 2108.13264).
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mlgym.errors import UsageError
from mlgym.metrics.scores import Floats, floats

BLOCK = 4_000_000  # numbers drawn at once: what bounds the memory
Statistic = Callable[[Floats], Floats]
ByTask = Mapping[str, ArrayLike]


class Estimate(NamedTuple):
    """A value and its interval."""

    value: float
    low: float
    high: float


def mean(x: ArrayLike) -> Floats:
    """The mean along the last axis; NaN where it is empty."""
    x = np.asarray(x, dtype=np.float64)
    return np.asarray(x.mean(axis=-1) if x.shape[-1] else np.full(x.shape[:-1], np.nan))


def iqm(x: ArrayLike) -> Floats:
    """The interquartile mean along the last axis: of n values, floor(n/4) at each end are left out.

    The 25 % trimmed mean; NaN for none.
    """
    x = np.asarray(x, dtype=np.float64)
    cut = x.shape[-1] // 4
    return mean(np.partition(x, (cut, x.shape[-1] - cut - 1), axis=-1)[..., cut : x.shape[-1] - cut] if cut else x)


def strata(x_by_task: ByTask) -> list[Floats]:
    """The values of each task, in the order of the tasks' names; those that are no numbers left out."""
    found = [floats(x_by_task[task]).ravel() for task in sorted(x_by_task)]
    kept = [np.sort(x[~np.isnan(x)]) for x in found]
    return [x for x in kept if x.size]


def percentiles(draws: Floats, level: float) -> tuple[Floats, Floats]:
    """The central part `level` of draws along their first axis."""
    if not 0 < level < 1:
        raise UsageError(f"The level of an interval lies between 0 and 1, such as 0.95, and is {level}.")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def bootstrap(
    x_by_task: ByTask, statistic: Statistic = iqm, seed: int = 0, n: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of `statistic` over all runs, from `n` resamples stratified by task.

    Each resample draws, within every task, as many of its runs with replacement as there are. `statistic` reduces the
    last axis. NaN for no runs at all. A task with a single run adds no width: one run says nothing of its spread.
    """
    tasks = strata(x_by_task)
    if not tasks:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // sum(x.size for x in tasks))
    draws = []
    for begin in range(0, n, block):
        rows = min(block, n - begin)
        draws.append(statistic(np.concatenate([x[rng.integers(x.size, size=(rows, x.size))] for x in tasks], axis=1)))
    low, high = percentiles(np.concatenate(draws), level)
    return float(low), float(high)


def wins(a: Floats, b: Floats) -> Floats:
    """1 where a run of `a` is above one of `b`, one half where they are equal: a matrix of all pairs."""
    return np.asarray((a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :]), dtype=np.float64)


def superiority(a: Floats, b: Floats) -> float:
    """P(A > B) + P(A = B)/2 for runs of `a` and sorted runs of `b`: the mean of `wins`, without the matrix."""
    below = np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")
    return float(below.mean() / (2 * b.size))


def counts(rng: np.random.Generator, size: int, rows: int) -> Floats:
    """How often each of `size` runs is drawn in `rows` resamples, as parts of 1."""
    drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size) / size


def probability_of_improvement(a: ByTask, b: ByTask, seed: int = 0, n: int = 2000, level: float = 0.95) -> Estimate:
    """How likely a run of `a` beats one of `b` on a task that both have: P(A > B) + P(A = B)/2, the mean over tasks.

    On each task it is the Mann–Whitney statistic U / (k_a k_b). The interval is from resamples of both sides,
    stratified by task. NaN without a common task.
    """
    values, draws = [], np.zeros(n)
    rng = np.random.default_rng(seed)
    for task in sorted(set(a) & set(b)):
        pair = [*strata({task: a[task]}), *strata({task: b[task]})]
        if len(pair) < 2:
            continue
        table = wins(pair[0], pair[1])
        values.append(superiority(*pair))
        block = max(1, BLOCK // (pair[0].size + pair[1].size))
        for begin in range(0, n, block):
            rows = min(block, n - begin)
            left, right = counts(rng, pair[0].size, rows), counts(rng, pair[1].size, rows)
            draws[begin : begin + rows] += ((left @ table) * right).sum(axis=1)
    if not values:
        return Estimate(math.nan, math.nan, math.nan)
    low, high = percentiles(draws / len(values), level)
    return Estimate(float(np.mean(values)), float(low), float(high))
