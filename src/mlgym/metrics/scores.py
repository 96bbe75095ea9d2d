"""Scores of one cell (a method on a task) and of a table of them: attempts@k, mean@k, ranks."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlgym.errors import UsageError

Floats = NDArray[np.float64]
Table = Mapping[tuple[str, str], float]
Runs = Mapping[tuple[str, str], ArrayLike]
Directions = Mapping[str, str]


def floats(values: ArrayLike) -> Floats:
    """`values` as floats; None and infinities, which are no scores, become NaN."""
    out = np.array(values, dtype=np.float64)
    out[~np.isfinite(out)] = np.nan
    return out


def minimised(directions: Directions, task: str) -> bool:
    """Whether less is better on `task`; raises UsageError where the directions do not say."""
    direction = directions.get(task)
    if direction not in ("maximize", "minimize"):
        raise UsageError(f"The task {task} needs a direction, maximize or minimize, and has {direction!r}.")
    return direction == "minimize"


def best_at_k(values: ArrayLike, direction: str, k: int | None = None) -> float:
    """The best score of `k` runs (Best Attempt@k or Best Submission@k, by what `values` are); NaN without any.

    With n runs and k < n it is the mean of the best over all subsets of k runs in which there is a score at all:
    Σ_j x_(j) C(j−1, k−1) / Σ_j C(j−1, k−1), x sorted from worst to best and runs without a score in the lowest places
    (as pass@k, Chen et al. 2021, arXiv 2107.03374). None, or k >= n, is the best of all.
    """
    all_runs = floats(values).ravel()
    scores = np.sort(all_runs[~np.isnan(all_runs)])
    if k is not None and k < 1:
        raise UsageError(f"Best of k runs needs a k of 1 or more, not {k}.")
    if minimised({"": direction}, ""):
        scores = scores[::-1]
    if not scores.size:
        return math.nan
    if k is None or k >= all_runs.size:
        return float(scores[-1])
    places = range(all_runs.size - scores.size, all_runs.size)
    counts = [math.comb(place, k - 1) for place in places]
    weights = np.array([count / max(counts) for count in counts])
    return float(weights @ scores / weights.sum())


def mean_at_k(values: ArrayLike) -> float:
    """The mean score of the runs that have one; NaN without any. Progress counts those without, at −1."""
    scores = floats(values).ravel()
    scores = scores[~np.isnan(scores)]
    return float(scores.mean()) if scores.size else math.nan


def best_table(runs: Runs, directions: Directions, k: int | None = None) -> dict[tuple[str, str], float]:
    """`best_at_k` of every cell; cells with different numbers of runs compare with `k = fewest(runs)` only."""
    wrong = next((task for _, task in runs if directions.get(task) not in ("maximize", "minimize")), None)
    if wrong is not None:
        minimised(directions, wrong)
    return {(method, task): best_at_k(values, directions[task], k) for (method, task), values in runs.items()}


def mean_table(runs: Runs) -> dict[tuple[str, str], float]:
    """`mean_at_k` of every cell."""
    return {cell: mean_at_k(values) for cell, values in runs.items()}


def fewest(runs: Runs) -> int:
    """The smallest number of runs of a cell, 0 without cells."""
    return min((np.size(values) for values in runs.values()), default=0)


def axes(cells: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Methods and tasks of a table, each in the order in which they first stand there."""
    cells = list(cells)
    return tuple(dict.fromkeys(m for m, _ in cells)), tuple(dict.fromkeys(t for _, t in cells))


@dataclass(frozen=True)
class Ranks:
    """`ranks[m, t]` of method m on task t, 1 the best, equals at the mean of their places; `mean` over tasks.

    A task that not all methods ran is `left_out`. NaN only where no task is left.
    """

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    ranks: Floats
    mean: Floats
    left_out: tuple[str, ...] = ()


def ranks(table: Table, directions: Directions) -> Ranks:
    """The ranks of methods on each task and their mean; a run without a valid score shares the last places."""
    methods, all_tasks = axes(table)
    tasks = tuple(task for task in all_tasks if all((method, task) in table for method in methods))
    out = np.full((len(methods), len(tasks)), np.nan)
    for t, task in enumerate(tasks):
        scores = floats([table[method, task] for method in methods])
        worth = np.where(np.isnan(scores), -np.inf, -scores if minimised(directions, task) else scores)
        above = (worth[None, :] > worth[:, None]).sum(axis=1)
        equal = (worth[None, :] == worth[:, None]).sum(axis=1)
        out[:, t] = above + (equal + 1) / 2
    mean = out.mean(axis=1) if tasks else np.full(len(methods), np.nan)
    return Ranks(methods, tasks, out, mean, tuple(task for task in all_tasks if task not in tasks))
