"""Is one method better than another, on which tasks, how sure: permutation tests, Holm's correction, groups of ties."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlgym.errors import UsageError
from mlgym.metrics.exchange import Cells, Exchanges
from mlgym.metrics.intervals import BLOCK, percentiles, superiority
from mlgym.metrics.scores import Floats, Runs, axes, floats

RESAMPLES, FEWEST = 2000, 10_000


@dataclass(frozen=True)
class OnTask:
    """Two methods on one task: means of their runs, the difference, its p, and p corrected for the tasks of the pair.

    `better` names the better one where the corrected p is below alpha, else it is empty.
    """

    task: str
    mean_a: float
    mean_b: float
    difference: float
    p: float
    p_holm: float
    better: str


@dataclass(frozen=True)
class Pair:
    """Two methods over the tasks that both have.

    `difference` is the mean over tasks of the difference of means with its bootstrap interval, `probability` that of
    improvement. `p` asks about these tasks (labels exchanged among the runs of each task), `p_holm` is corrected for
    all pairs, `p_tasks` asks about tasks like these (signs of the tasks' differences exchanged). `better` names the
    better one where `p_holm` is below alpha, else it is empty.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    probability: float
    p: float
    p_holm: float
    p_tasks: float
    better: str
    tasks: tuple[OnTask, ...]


@dataclass(frozen=True)
class Comparison:
    """All pairs, and the groups of methods within which no pair differs; `methods` from the best mean to the worst."""

    methods: tuple[str, ...]
    pairs: tuple[Pair, ...]
    groups: tuple[tuple[str, ...], ...]
    alpha: float


def holm(p_values: ArrayLike) -> Floats:
    """p values corrected for their number m (Holm 1979): the i-th smallest times m − i + 1, never falling, at most 1.

    NaN, no test at all, stays and is not counted.
    """
    p = np.array(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    steps = p[order] * np.arange(order.size, 0, -1)
    p[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return p


def groups(methods: Sequence[str], different: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """The largest groups of `methods` in which no pair is `different`, in the order of the methods.

    A method may stand in several: who ties with both neighbours need not make them tie (letters as of Piepho 2004).
    """
    found = [frozenset(methods)] if methods else []
    for a, b in different:
        split = [part for one in found for part in ((one - {a}, one - {b}) if {a, b} <= one else (one,))]
        split = list(dict.fromkeys(split))
        found = [one for one in split if not any(one < other for other in split)]
    place = {method: i for i, method in enumerate(methods)}
    ordered = [tuple(sorted(one, key=place.__getitem__)) for one in found]
    return tuple(sorted(ordered, key=lambda one: [place[method] for method in one]))


def compare(
    values: Runs,
    pairs: Iterable[tuple[str, str]] | None = None,
    *,
    seed: int = 0,
    n: int | None = None,
    alpha: float = 0.05,
    level: float = 0.95,
) -> Comparison:
    """Compare methods by the `values` of their runs, more being better: progress, which counts an invalid run as −1.

    All pairs are tested, or only `pairs`. Values that are no numbers (a missing run, a task without a scale) are left
    out, and so is, for a pair, a task that only one of the two has. `n` exchanges are drawn where there are more:
    10,000, or 40 for each pair, since p times the number of pairs must be able to fall below alpha.
    """
    cells = {cell: x[~np.isnan(x)] for cell, x in ((c, floats(v).ravel()) for c, v in values.items())}
    cells = {cell: np.sort(x) for cell, x in cells.items() if x.size}
    methods = _ordered(cells, axes(values)[0])
    asked = list(itertools.combinations(methods, 2) if pairs is None else pairs)
    unknown = next((method for pair in asked for method in pair if method not in methods), None)
    if unknown is not None:
        raise UsageError(f"There is no method {unknown}; there are: {', '.join(methods)}.")
    tests, means = Exchanges(cells, asked, seed, n or max(FEWEST, 40 * len(asked))), _Means(cells, seed)
    corrected = holm(tests.p)
    done = tuple(_pair(tests, means, i, float(corrected[i]), alpha, level) for i in range(len(asked)))
    differ = [(pair.a, pair.b) for pair in done if pair.better]
    return Comparison(methods, done, groups(methods, differ), alpha)


def _ordered(cells: Cells, methods: tuple[str, ...]) -> tuple[str, ...]:
    """The methods by their mean over the tasks that all have, or over their own where there is none such."""
    have = {method: {task for m, task in cells if m == method} for method in methods}
    common = set.intersection(*have.values()) if have else set()
    mean = {m: np.mean([cells[m, t].mean() for t in common or have[m]] or [-np.inf]) for m in methods}
    return tuple(sorted(methods, key=lambda method: (-mean[method], method)))


class _Means:
    """Means of resampled runs, drawn once for each cell that is asked for."""

    def __init__(self, cells: Cells, seed: int) -> None:
        self._cells, self._seed = cells, seed
        self._drawn: dict[tuple[str, str], Floats] = {}

    def of(self, cell: tuple[str, str]) -> Floats:
        """RESAMPLES means of the cell's runs drawn with replacement."""
        if cell not in self._drawn:
            x = self._cells[cell]
            rng = np.random.default_rng([self._seed, *"\0".join(cell).encode()])
            block = max(1, BLOCK // x.size)
            parts = [min(block, RESAMPLES - begin) for begin in range(0, RESAMPLES, block)]
            drawn = [x[rng.integers(x.size, size=(rows, x.size))].mean(axis=1) for rows in parts]
            self._drawn[cell] = np.concatenate(drawn)
        return self._drawn[cell]


def _pair(tests: Exchanges, means: _Means, i: int, p_holm: float, alpha: float, level: float) -> Pair:
    """All that there is to say of pair `i`."""
    (a, b), tasks, gaps, cells = tests.asked[i], tests.common[i], tests.gaps[i], tests.cells
    none = math.nan
    if not tasks:
        return Pair(a, b, none, none, none, none, none, none, none, "", ())
    ps = [tests.p_task[i, task] for task in tasks]
    rows = tuple(
        OnTask(
            task, float(cells[a, task].mean()), float(cells[b, task].mean()), float(gap), p, float(corrected),
            _who(a, b, gap, corrected < alpha),
        )
        for task, gap, p, corrected in zip(tasks, gaps, ps, holm(ps), strict=True)
    )  # fmt: skip
    drawn = np.mean([means.of((a, task)) - means.of((b, task)) for task in tasks], axis=0)
    low, high = percentiles(drawn, level)
    probability = float(np.mean([superiority(cells[a, t], cells[b, t]) for t in tasks]))
    gap = float(gaps.mean())
    better = _who(a, b, gap, p_holm < alpha)
    return Pair(
        a, b, gap, float(low), float(high), probability, float(tests.p[i]), p_holm, tests.p_over_tasks(i), better, rows
    )


def _who(a: str, b: str, difference: float, sure: bool) -> str:
    return "" if not sure or difference == 0 else a if difference > 0 else b
