"""Performance profiles and the area under them (AUP), exactly as published for MLGym (arXiv 2502.14499, section 4).

Performance profiles are of Dolan and Moré (2002, arXiv cs/0102001). What is wrong with their area: `docs/metrics.md`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlgym.errors import UsageError
from mlgym.metrics.scores import Directions, Floats, Table, axes, floats, minimised

POINTS = 500
PENALTY = 1.05
BASELINE = "baseline"
Baseline = Mapping[str, float] | str | None


@dataclass(frozen=True)
class Profiles:
    """`curves[m]` over `tau` is the part of the tasks whose log10 ratio is at most tau, `aup[m]` its area.

    `ratios[m, t]` are 1 for the best of a task and more for others.
    """

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    tau: Floats
    curves: Floats
    aup: Floats
    tau_max: float
    ratios: Floats


@dataclass(frozen=True)
class AupTable:
    """AUP of best attempts and of best submissions on one axis up to `tau_max`; the arrays go along `methods`."""

    methods: tuple[str, ...]
    best_attempt: Floats
    best_submission: Floats
    tau_max: float
    attempts: Profiles
    submissions: Profiles


@dataclass(frozen=True)
class Pool:
    """A table as arrays: what AUP is computed from. `base[t]` is NaN where a task has no baseline."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    values: Floats
    base: Floats
    minimise: NDArray[np.bool_]


def pool(table: Table, directions: Directions, baseline: Baseline) -> Pool:
    """The arrays of `table`. `baseline` has the baseline's score of each task, or names the method that is it.

    A baseline given as scores joins the pool as the method `baseline`, unless there is one of that name or no score of
    it is known. A task without a baseline has no threshold of it.
    """
    methods, tasks = axes(table)
    if not tasks:
        raise UsageError("A performance profile needs at least one score of a method on a task.")
    if isinstance(baseline, str) and baseline not in methods:
        raise UsageError(f"The baseline {baseline} is none of the methods: {', '.join(methods)}.")
    scores: dict[tuple[str, str], float] = dict(table)
    if isinstance(baseline, str):
        base = {task: scores.get((baseline, task), math.nan) for task in tasks}
    else:
        base = {task: (baseline or {}).get(task, math.nan) for task in tasks}
        if baseline is not None and BASELINE not in methods and np.isfinite(floats([*base.values()])).any():
            methods = (*methods, BASELINE)
            scores |= {(BASELINE, task): base[task] for task in tasks}
    values = floats([[scores.get((method, task), math.nan) for task in tasks] for method in methods])
    minimise = np.array([minimised(directions, task) for task in tasks])
    return Pool(methods, tasks, values, floats([base[task] for task in tasks]), minimise)


def ratios(values: Floats, base: Floats, minimise: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The ratios of `values[..., method, task]` and the worst feasible one of each task.

    A score is feasible when it is a number, not negative, not worse than the baseline, and has a finite ratio (a zero
    has none beside a better score: the definition says nothing of it). Others get PENALTY times the worst feasible
    ratio, which is 1 where nothing is feasible.
    """
    with np.errstate(all="ignore"):
        worse = np.where(minimise, values > base, values < base)
        feasible = (values >= 0) & ~worse
        least = np.where(feasible, values, np.inf).min(axis=-2, keepdims=True)
        most = np.where(feasible, values, -np.inf).max(axis=-2, keepdims=True)
        ratio = np.where(minimise, values / least, most / values)
        ratio = np.where(values == np.where(minimise, least, most), 1.0, ratio)
    feasible &= np.isfinite(ratio)
    worst = np.where(feasible, ratio, 1.0).max(axis=-2)
    return np.where(feasible, ratio, PENALTY * worst[..., None, :]), worst


def tau_max_of(worst: Floats) -> float:
    """The end of the axis: log10 of the largest ceil(PENALTY · worst ratio), rounded up to 0.1."""
    return math.ceil(10 * math.log10(math.ceil(PENALTY * float(worst.max())))) / 10


def _profiles(of: Pool, ratio: Floats, tau_max: float) -> Profiles:
    tau = np.linspace(0, tau_max, POINTS)
    curves = np.array([(np.log10(row)[:, None] <= tau).mean(axis=0) for row in ratio])
    aup = (curves[:, :-1] * np.diff(tau)).sum(axis=1)  # row by row: a product of matrices rounds by the pool's size
    return Profiles(of.methods, of.tasks, tau, curves, aup, tau_max, ratio)


def profiles(table: Table, directions: Directions, baseline: Baseline) -> Profiles:
    """Performance profiles of one table, the axis ending where this table alone asks for it."""
    of = pool(table, directions, baseline)
    ratio, worst = ratios(of.values, of.base, of.minimise)
    return _profiles(of, ratio, tau_max_of(worst))


def aup_table(attempts: Table, submissions: Table, directions: Directions, baseline: Baseline) -> AupTable:
    """AUP as published: of the best attempts and the best submissions, both on the axis that the two together ask for.

    A method or task that only one of the tables has is missing in the other one.
    """
    cells = dict.fromkeys([*attempts, *submissions])
    pools = [pool({c: one.get(c, math.nan) for c in cells}, directions, baseline) for one in (attempts, submissions)]
    found = [ratios(of.values, of.base, of.minimise) for of in pools]
    tau_max = max(tau_max_of(worst) for _, worst in found)
    first, second = (_profiles(of, ratio, tau_max) for of, (ratio, _) in zip(pools, found, strict=True))
    return AupTable(first.methods, first.aup, second.aup, tau_max, first, second)
