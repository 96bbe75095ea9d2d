"""How much AUP hangs on the pool of methods and on the luck of the runs."""

import math
from dataclasses import dataclass

import numpy as np

from mlgym.errors import UsageError
from mlgym.metrics.areas import POINTS, Baseline, aup_table, pool, ratios
from mlgym.metrics.intervals import BLOCK, Estimate, percentiles
from mlgym.metrics.scores import Directions, Floats, Runs, Table, best_table, floats


@dataclass(frozen=True)
class Sensitivity:
    """AUP with one method left out of the pool: `aup[i, m]` is that of method m without `left_out[i]` (NaN for itself).

    `full[m]` is with all, `low` and `high` bound what m has over all these pools. `swaps` are the pairs whose order
    depends on who else is in the pool.
    """

    methods: tuple[str, ...]
    left_out: tuple[str, ...]
    full: Floats
    aup: Floats
    low: Floats
    high: Floats
    swaps: tuple[tuple[str, str], ...]


def sensitivity(table: Table, directions: Directions, baseline: Baseline, other: Table | None = None) -> Sensitivity:
    """AUP of `table` with each method but the baseline left out in turn; the `other` table shares the axis.

    Give the attempts as `table` and the submissions as `other`, or the other way round; alone, `table` has an axis of
    its own.
    """
    whole = aup_table(table, other if other is not None else table, directions, baseline)
    methods = whole.methods
    own = baseline if isinstance(baseline, str) else None
    out = tuple(dict.fromkeys(method for method, _ in table if method != own))
    rows = np.full((len(out), len(methods)), np.nan)
    for i, gone in enumerate(out):
        tables = [
            {c: s for c, s in one.items() if c[0] != gone} for one in (table, other if other is not None else table)
        ]
        if not tables[0]:
            continue
        left = aup_table(tables[0], tables[1], directions, baseline)
        for method, value in zip(left.methods, left.best_attempt, strict=True):
            rows[i, methods.index(method)] = value
    every = np.vstack([whole.best_attempt[None, :], rows])
    low, high = np.nanmin(every, axis=0), np.nanmax(every, axis=0)
    return Sensitivity(methods, out, whole.best_attempt, rows, low, high, _swaps(methods, every))


def _swaps(methods: tuple[str, ...], every: Floats) -> tuple[tuple[str, str], ...]:
    out = []
    for i, a in enumerate(methods):
        for j in range(i + 1, len(methods)):
            gap = every[:, i] - every[:, j]
            gap = gap[~np.isnan(gap)]
            if gap.size and gap.min() < 0 < gap.max():
                out.append((a, methods[j]))
    return tuple(out)


def aup_intervals(
    attempts: Runs,
    submissions: Runs,
    directions: Directions,
    baseline: Baseline,
    seed: int = 0,
    n: int = 2000,
    level: float = 0.95,
) -> dict[str, tuple[Estimate, Estimate]]:
    """AUP of best attempts and of best submissions, a pair for each method, with intervals over the luck of the runs.

    `attempts` and `submissions` have one score for each run, its best attempt's and its final submission's, in the same
    order. Each of `n` resamples draws the runs of every cell with replacement, takes the best of each cell and computes
    AUP anew, on the axis of the whole table: with an axis of its own for each, the intervals would tell of the axis.
    The best of a resample is at most the best of all, so these intervals reach below the value more than above it.
    """
    whole = aup_table(best_table(attempts, directions), best_table(submissions, directions), directions, baseline)
    of = pool({cell: math.nan for cell in [*attempts, *submissions]}, directions, baseline)
    draws = [np.tile(of.values, (n, 1, 1)) for _ in range(2)]
    rng = np.random.default_rng(seed)
    for method, task in sorted({*attempts, *submissions}):
        m, t = of.methods.index(method), of.tasks.index(task)
        runs = [floats(one.get((method, task), [])).ravel() for one in (attempts, submissions)]
        if runs[0].size and runs[1].size and runs[0].size != runs[1].size:
            raise UsageError(f"{method} on {task} has {runs[0].size} best attempts and {runs[1].size} submissions.")
        for drawn, best in zip(draws, _best_drawn(rng, runs, bool(of.minimise[t]), n), strict=True):
            drawn[:, m, t] = best
    sides = []
    for drawn, value in zip(draws, (whole.best_attempt, whole.best_submission), strict=True):
        base = drawn[:, of.methods.index(baseline)] if isinstance(baseline, str) else of.base[None, :]
        low, high = percentiles(_area(ratios(drawn, base[:, None, :], of.minimise)[0], whole.tau_max), level)
        at = [whole.methods.index(method) for method in of.methods]
        sides.append([Estimate(*map(float, one)) for one in zip(value[at], low, high, strict=True)])
    return dict(zip(of.methods, zip(*sides, strict=True), strict=True))


def _best_drawn(rng: np.random.Generator, sides: list[Floats], minimise: bool, n: int) -> list[Floats]:
    """The best of `n` resamples of the runs, for both sides of the same runs."""
    size = max(side.size for side in sides)
    out = [np.full(n, np.nan) for _ in sides]
    if not size:
        return out
    sign = -1.0 if minimise else 1.0
    worth = [np.where(np.isnan(side), -np.inf, sign * side) if side.size else np.full(size, -np.inf) for side in sides]
    worth = list(np.array(worth)[:, np.lexsort(worth)])
    block = max(1, BLOCK // size)
    for begin in range(0, n, block):
        rows = rng.integers(size, size=(min(block, n - begin), size))
        for best, side in zip(out, worth, strict=True):
            most = side[rows].max(axis=1)
            best[begin : begin + len(rows)] = np.where(np.isinf(most), np.nan, sign * most)
    return out


def _area(ratio: Floats, tau_max: float) -> Floats:
    """AUP of ratios[draw, method, task]: a task adds the width from its first point of the axis on."""
    first = np.searchsorted(np.linspace(0, tau_max, POINTS), np.log10(ratio))
    return np.asarray(np.maximum(POINTS - 1 - first, 0).mean(axis=2) * tau_max / (POINTS - 1), dtype=np.float64)
