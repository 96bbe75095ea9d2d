"""Permutation tests of pairs of methods: labels exchanged among the runs of each task, signs exchanged over tasks."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from mlgym.metrics.intervals import BLOCK
from mlgym.metrics.scores import Floats

CLOSE = 1e-9  # of the largest value: what rounding may add to a sum
LABELS = 1 << 26  # bytes of labels that are kept
Cells = dict[tuple[str, str], Floats]
Marks = NDArray[np.bool_]


class Exchanges:
    """The tests of the pairs `asked` over `cells`, the values of the runs of each (method, task).

    On a task all ways to share the runs out are listed where these are at most `n`, otherwise `n` are drawn, the same
    ones for all pairs with as many runs. For all tasks together one way of each task is drawn, `n` times.
    `p[i]` is that of pair i over the tasks that it has in `common`, `p_task[i, task]` that on one of them.
    """

    def __init__(self, cells: Cells, asked: list[tuple[str, str]], seed: int, n: int) -> None:
        self.cells, self.asked, self.n = cells, asked, n
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._labels: dict[tuple[int, int], Marks] = {}
        self._signs: dict[int, Floats] = {}
        tasks = sorted({task for _, task in cells})
        self.common = [[t for t in tasks if (a, t) in cells and (b, t) in cells] for a, b in asked]
        self.gaps = [self._gaps(i) for i in range(len(asked))]
        self._close = [CLOSE * self._largest(i) for i in range(len(asked))]
        self.p_task: dict[tuple[int, str], float] = {}
        self.p = np.full(len(asked), np.nan)
        most = max(1, BLOCK // n)
        for begin in range(0, len(asked), most):
            self._test(range(begin, min(begin + most, len(asked))), tasks)

    def p_over_tasks(self, i: int) -> float:
        """The exchange of the signs of a pair's differences on tasks: all ways where they are few, else draws."""
        gaps = self.gaps[i]
        if not gaps.size:
            return math.nan
        exact = 2**gaps.size <= self.n
        if gaps.size not in self._signs:
            every = itertools.product((-1.0, 1.0), repeat=gaps.size)
            drawn = None if exact else self._rng.choice((-1.0, 1.0), size=(self.n, gaps.size))
            self._signs[gaps.size] = np.array(list(every)) if drawn is None else drawn
        return _part(self._signs[gaps.size] @ gaps, gaps.sum(), self._close[i], exact)

    def _gaps(self, i: int) -> Floats:
        """The differences of the means of a pair, one for each task that both have."""
        a, b = self.asked[i]
        return np.array([self.cells[a, task].mean() - self.cells[b, task].mean() for task in self.common[i]])

    def _largest(self, i: int) -> float:
        return max((float(np.abs(self.cells[m, t]).max()) for m in self.asked[i] for t in self.common[i]), default=0.0)

    def _test(self, pairs: range, tasks: list[str]) -> None:
        total = np.zeros((self.n, len(pairs)))
        for task in tasks:
            drawn = np.zeros((self.n, len(pairs)))
            sizes: dict[tuple[int, int], list[int]] = {}
            for i in pairs:
                if task in self.common[i]:
                    a, b = self.asked[i]
                    sizes.setdefault((self.cells[a, task].size, self.cells[b, task].size), []).append(i)
            for size, members in sorted(sizes.items()):
                drawn[:, [i - pairs.start for i in members]] = self._on_task(task, size, members)
            total += drawn[self._rng.permutation(self.n)]
        for i in pairs:
            if self.common[i]:
                self.p[i] = _part(total[:, i - pairs.start], self.gaps[i].sum(), self._close[i], False)

    def _on_task(self, task: str, size: tuple[int, int], members: list[int]) -> Floats:
        """The differences of means for `n` exchanges, a column a pair; the p of each pair on the task is noted."""
        labels = self._ways(*size)
        runs = np.array([np.concatenate([self.cells[m, task] for m in self.asked[i]]) for i in members]).T
        block = max(1, BLOCK // len(runs))
        sums = [labels[begin : begin + block].astype(float) @ runs for begin in range(0, len(labels), block)]
        left, right = size
        found: Floats = np.concatenate(sums) * (1 / left + 1 / right) - runs.sum(axis=0) / right
        exact = len(labels) != self.n
        for column, i in enumerate(members):
            gap = self.gaps[i][self.common[i].index(task)]
            self.p_task[i, task] = _part(found[:, column], gap, self._close[i], exact)
        return found[self._rng.integers(len(found), size=self.n)] if exact else found

    def _ways(self, left: int, right: int) -> Marks:
        """Ways to call `left` of the runs a and `right` b: all of them (then fewer than n), or n drawn ones."""
        if sum(labels.nbytes for labels in self._labels.values()) > LABELS:
            self._labels.clear()
        if (left, right) not in self._labels:
            self._labels[left, right] = self._made(left, right)
        return self._labels[left, right]

    def _made(self, left: int, right: int) -> Marks:
        if math.comb(left + right, left) < self.n:
            chosen = list(itertools.combinations(range(left + right), left))
            labels = np.zeros((len(chosen), left + right), dtype=np.bool_)
            labels[np.arange(len(chosen))[:, None], chosen] = True
            return labels
        one = np.arange(left + right) < left
        return np.random.default_rng([self._seed, left, right]).permuted(np.tile(one, (self.n, 1)), axis=1)


def _part(drawn: Floats, observed: float, close: float, exact: bool) -> float:
    """The part of the exchanges that are at least as far from 0; where they were drawn, the observed one is counted."""
    beyond = int(np.count_nonzero(np.abs(drawn) >= abs(observed) - close))
    return beyond / drawn.size if exact else (beyond + 1) / (drawn.size + 1)
