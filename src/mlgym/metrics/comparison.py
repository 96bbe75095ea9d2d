"""Is one method better than another, on which tasks, how sure: permutation tests, Holm's correction, groups of ties."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlgym.errors import UsageError
from mlgym.metrics.intervals import BLOCK, percentiles, wins
from mlgym.metrics.scores import Floats, Runs, axes, floats

CLOSE = 1e-9  # of the largest value: what rounding may add to a sum
Cells = dict[tuple[str, str], Floats]


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
    n: int = 10_000,
    alpha: float = 0.05,
    level: float = 0.95,
) -> Comparison:
    """Compare methods by the `values` of their runs, more being better: progress, which counts an invalid run as −1.

    All pairs are tested, or only `pairs`. Values that are no numbers (a missing run, a task without a scale) are left
    out, and so is, for a pair, a task that only one of the two has.
    """
    cells = {cell: x[~np.isnan(x)] for cell, x in ((c, floats(v).ravel()) for c, v in values.items())}
    cells = {cell: np.sort(x) for cell, x in cells.items() if x.size}
    methods = _ordered(cells, axes(values)[0])
    asked = list(itertools.combinations(methods, 2) if pairs is None else pairs)
    unknown = next((method for pair in asked for method in pair if method not in methods), None)
    if unknown is not None:
        raise UsageError(f"There is no method {unknown}; there are: {', '.join(methods)}.")
    tests = _Tests(cells, asked, np.random.default_rng(seed), n, level)
    corrected = holm([tests.p_overall(i) for i in range(len(asked))])
    done = tuple(tests.pair(i, float(corrected[i]), alpha) for i in range(len(asked)))
    differ = [(pair.a, pair.b) for pair in done if pair.better]
    return Comparison(methods, done, groups(methods, differ), alpha)


def _ordered(cells: Cells, methods: tuple[str, ...]) -> tuple[str, ...]:
    """The methods by their mean over the tasks that all have, or over their own where there is none such."""
    have = {method: {task for m, task in cells if m == method} for method in methods}
    common = set.intersection(*have.values()) if have else set()
    mean = {m: np.mean([cells[m, t].mean() for t in common or have[m]] or [-np.inf]) for m in methods}
    return tuple(sorted(methods, key=lambda method: (-mean[method], method)))


class _Tests:
    """The tests of the pairs `asked`: labels are exchanged once for all pairs, task by task, in blocks."""

    def __init__(
        self, cells: Cells, asked: list[tuple[str, str]], rng: np.random.Generator, n: int, level: float
    ) -> None:
        self.cells, self.asked, self.rng, self.n, self.level = cells, asked, rng, n, level
        tasks = sorted({task for _, task in cells})
        self.common = [[t for t in tasks if (a, t) in cells and (b, t) in cells] for a, b in asked]
        self.p_task: dict[tuple[int, str], float] = {}
        self.exchanged = np.zeros((n, len(asked)))
        for task in tasks:
            self._exchange(task)
        self.means = self._resampled()

    def gap(self, i: int, task: str) -> float:
        """The difference of the means of pair `i` on a task."""
        a, b = self.asked[i]
        return float(self.cells[a, task].mean() - self.cells[b, task].mean())

    def p_overall(self, i: int) -> float:
        """The part of the exchanges whose sum of differences is at least as large, this one among them."""
        if not self.common[i]:
            return math.nan
        return _part(self.exchanged[:, i], sum(self.gap(i, task) for task in self.common[i]), added=1)

    def pair(self, i: int, p_holm: float, alpha: float) -> Pair:
        """All that there is to say of pair `i`."""
        (a, b), tasks = self.asked[i], self.common[i]
        gaps = np.array([self.gap(i, task) for task in tasks])
        each = holm([self.p_task[i, task] for task in tasks])
        rows = []
        for task, gap, p in zip(tasks, gaps, each, strict=True):
            means = float(self.cells[a, task].mean()), float(self.cells[b, task].mean())
            rows.append(OnTask(task, *means, float(gap), self.p_task[i, task], float(p), _who(a, b, gap, p < alpha)))
        if not tasks:
            none = math.nan
            return Pair(a, b, none, none, none, none, none, none, none, "", ())
        drawn = np.mean([self.means[a, task] - self.means[b, task] for task in tasks], axis=0)
        low, high = percentiles(drawn, self.level)
        probability = float(np.mean([wins(self.cells[a, t], self.cells[b, t]).mean() for t in tasks]))
        difference = float(gaps.mean())
        better = _who(a, b, difference, p_holm < alpha)
        return Pair(
            a, b, difference, float(low), float(high), probability,
            self.p_overall(i), p_holm, self._signs(gaps), better, tuple(rows),
        )  # fmt: skip

    def _exchange(self, task: str) -> None:
        """Exchange labels among the runs of a task, the same exchanges for all pairs with as many runs."""
        sizes: dict[tuple[int, int], list[int]] = {}
        for i, (a, b) in enumerate(self.asked):
            if task in self.common[i]:
                sizes.setdefault((self.cells[a, task].size, self.cells[b, task].size), []).append(i)
        for (left, right), members in sizes.items():
            runs = np.array([np.concatenate([self.cells[m, task] for m in self.asked[i]]) for i in members]).T
            every = _all_labels(left, right) if math.comb(left + right, left) <= self.n else None
            block = max(1, BLOCK // (left + right))
            for begin in range(0, self.n, block):
                rows = min(block, self.n - begin)
                labels = (
                    _labels(self.rng, left, right, rows)
                    if every is None
                    else every[self.rng.integers(len(every), size=rows)]
                )
                self.exchanged[begin : begin + rows, members] += labels @ runs
                drawn = labels @ runs
                if every is None:
                    for column, i in enumerate(members):
                        found = _count(drawn[:, column], self.gap(i, task))
                        self.p_task[i, task] = self.p_task.get((i, task), 1 / (self.n + 1)) + found / (self.n + 1)
            if every is not None:
                sums = every @ runs
                for column, i in enumerate(members):
                    self.p_task[i, task] = _part(sums[:, column], self.gap(i, task), added=0)

    def _resampled(self) -> dict[tuple[str, str], Floats]:
        """Means of resampled runs of every cell that some pair needs."""
        out = {}
        for cell in sorted(self.cells):
            x = self.cells[cell]
            block = max(1, BLOCK // x.size)
            out[cell] = np.concatenate(
                [
                    x[self.rng.integers(x.size, size=(min(block, RESAMPLES - begin), x.size))].mean(axis=1)
                    for begin in range(0, RESAMPLES, block)
                ]
            )
        return out

    def _signs(self, gaps: Floats) -> float:
        """The sign test by exchange over tasks: exact up to some 13 tasks, else by draws."""
        if 2**gaps.size <= self.n:
            signs = np.array(list(itertools.product((-1.0, 1.0), repeat=gaps.size)))
            return _part(signs @ gaps, float(gaps.sum()), added=0)
        signs = self.rng.choice((-1.0, 1.0), size=(self.n, gaps.size))
        return _part(signs @ gaps, float(gaps.sum()), added=1)


RESAMPLES = 2000


def _who(a: str, b: str, difference: float, sure: bool) -> str:
    return "" if not sure or difference == 0 else a if difference > 0 else b


def _count(drawn: Floats, observed: float) -> int:
    """How many are at least as far from 0 as what was observed."""
    close = CLOSE * max(abs(observed), float(np.abs(drawn).max(initial=0.0)))
    return int(np.count_nonzero(np.abs(drawn) >= abs(observed) - close))


def _part(drawn: Floats, observed: float, *, added: int) -> float:
    return (_count(drawn, observed) + added) / (drawn.size + added)


def _all_labels(left: int, right: int) -> Floats:
    """Every way to call `left` of the runs a and the rest b, as weights of a difference of means."""
    chosen = list(itertools.combinations(range(left + right), left))
    out = np.full((len(chosen), left + right), -1 / right)
    out[np.arange(len(chosen))[:, None], chosen] = 1 / left
    return out


def _labels(rng: np.random.Generator, left: int, right: int, rows: int) -> Floats:
    """Random ones of these ways."""
    one = np.concatenate([np.full(left, 1 / left), np.full(right, -1 / right)])
    return rng.permuted(np.tile(one, (rows, 1)), axis=1)
