"""Permutation tests of pairs of methods: labels exchanged among the runs of each task, signs exchanged over tasks."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from mlgym.metrics.intervals import BLOCK
from mlgym.metrics.scores import Floats

CLOSE = 1e-9  # of the largest value: what rounding may add to a sum
Cells = dict[tuple[str, str], Floats]
Marks = NDArray[np.bool_]


class Exchanges:
    """The tests of the pairs `asked` over `cells`, the values of the runs of each (method, task).

    On a task all ways to share the runs out are listed where these are fewer than `n`, otherwise `n` are drawn, the
    same ones for all pairs with as many runs. For all tasks together one way of each task is drawn, `n` times.
    `p[i]` is that of pair i over the tasks that it has in `common`, `p_task[i, task]` that on one of them.
    """

    def __init__(self, cells: Cells, asked: list[tuple[str, str]], seed: int, n: int) -> None:
        self.cells, self.asked, self.n = cells, asked, n
        self._rng = np.random.default_rng(seed)
        self._signs: dict[int, Floats] = {}
        tasks = sorted({task for _, task in cells})
        self.common = [[t for t in tasks if (a, t) in cells and (b, t) in cells] for a, b in asked]
        self.gaps = [self._gaps(i) for i in range(len(asked))]
        self._close = [CLOSE * self._largest(i) for i in range(len(asked))]
        self.p_task: dict[tuple[int, str], float] = {}
        self.p = np.full(len(asked), np.nan)
        most = max(1, BLOCK // n)
        for begin in range(0, len(asked), most):
            self._test(range(begin, min(begin + most, len(asked))))

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

    def _test(self, pairs: range) -> None:
        total = np.zeros((len(pairs), self.n))
        for size, tasks in sorted(self._by_size(pairs).items()):
            labels = self._ways(*size)
            for task, members in tasks.items():
                total[[i - pairs.start for i in members]] += self._on_task(task, members, labels, size)
        for i in pairs:
            if self.common[i]:
                self.p[i] = _part(total[i - pairs.start], self.gaps[i].sum(), self._close[i], False)

    def _by_size(self, pairs: range) -> dict[tuple[int, int], dict[str, list[int]]]:
        """The pairs and tasks by the numbers of runs, the smaller one first."""
        out: dict[tuple[int, int], dict[str, list[int]]] = {}
        for i in pairs:
            for task in self.common[i]:
                small, large = sorted(self.cells[method, task].size for method in self.asked[i])
                out.setdefault((small, large), {}).setdefault(task, []).append(i)
        return out

    def _on_task(self, task: str, members: list[int], labels: Marks, size: tuple[int, int]) -> Floats:
        """The differences of means for `n` exchanges, a row a pair; the p of each pair on the task is noted."""
        sides = [[self.cells[method, task] for method in self.asked[i]] for i in members]
        turned = np.array([a.size > b.size for a, b in sides])
        runs = np.array(
            [np.concatenate(pair[::-1] if turn else pair) for pair, turn in zip(sides, turned, strict=True)]
        )
        block = max(1, BLOCK // runs.shape[1])
        sums = [runs @ labels[begin : begin + block].T.astype(float) for begin in range(0, len(labels), block)]
        found: Floats = np.concatenate(sums, axis=1) * (1 / size[0] + 1 / size[1])
        found -= runs.sum(axis=1, keepdims=True) / size[1]
        exact = len(labels) != self.n
        for row, i in enumerate(members):
            gap = self.gaps[i][self.common[i].index(task)]
            self.p_task[i, task] = _part(found[row], gap, self._close[i], exact)
        found[turned] *= -1
        order = self._rng.integers(found.shape[1], size=self.n) if exact else self._rng.permutation(self.n)
        return np.take(found, order, axis=1)

    def _ways(self, left: int, right: int) -> Marks:
        """Ways to choose `left` of the runs and leave `right`: all of them (then fewer than n), or n drawn ones."""
        if math.comb(left + right, left) < self.n:
            chosen = list(itertools.combinations(range(left + right), left))
            labels = np.zeros((len(chosen), left + right), dtype=np.bool_)
            labels[np.arange(len(chosen))[:, None], chosen] = True
            return labels
        labels = np.empty((self.n, left + right), dtype=np.bool_)
        block = max(1, BLOCK // (left + right))
        for begin in range(0, self.n, block):
            keys = self._rng.random(labels[begin : begin + block].shape)
            labels[begin : begin + block] = keys <= np.partition(keys, left - 1, axis=1)[:, left - 1, None]
        return labels


def _part(drawn: Floats, observed: float, close: float, exact: bool) -> float:
    """The part of the exchanges that are at least as far from 0; where they were drawn, the observed one is counted."""
    beyond = int(np.count_nonzero(np.abs(drawn) >= abs(observed) - close))
    return beyond / drawn.size if exact else (beyond + 1) / (drawn.size + 1)
