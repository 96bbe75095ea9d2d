"""What the tables and figures of a pool are made from: its cells (method, task), and the estimates over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlgym.metrics import iqm
from mlgym.report.console import safe
from mlgym.report.pool import Columns, Pool, kind_of

Array = np.ndarray[Any, Any]
NAN = float("nan")
BASELINE = "baseline"


@dataclass(frozen=True)
class Method:
    """What is compared: its name, `model`, `agent` or `control`, its protocol's letter, what marks its episodes."""

    name: str
    kind: str
    protocol: str
    marks: str

    def short(self, longest: int = 26) -> str:
        """The name, its middle left out where it is long."""
        if len(self.name) <= longest:
            return self.name
        return f"{self.name[: longest // 2]}…{self.name[-(longest - longest // 2 - 1) :]}"


@dataclass(frozen=True)
class TaskScale:
    """A task's metric and anchors; nan where there is none."""

    name: str
    metric: str
    direction: str
    baseline: float
    best: float

    @property
    def arrow(self) -> str:
        """Which way is better; a question mark where nobody knows."""
        return {"maximize": "↑", "minimize": "↓"}.get(self.direction, "?")

    @property
    def heading(self) -> str:
        """The task with its metric and which way is better."""
        return safe(f"{self.name} ({self.metric or 'score'} {self.arrow})")


class Study:
    """A pool, cut into cells. The reference `baseline` joins the tables where no method has that name."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.columns = pool.episodes
        self.scored: Array = pool.episodes["scored"].astype(bool)
        self.tasks = _tasks(pool.episodes)
        self._rows = _groups(pool.episodes)
        self.expected = _expected(pool)
        self.methods = self._methods()

    def _methods(self) -> tuple[Method, ...]:
        """What is compared first, best progress first; then the controls."""
        columns = self.columns
        first: dict[str, int] = {}
        for row, name in enumerate(columns["method"]):
            first.setdefault(name, row)
        marks: dict[str, set[str]] = {name: set() for name in first}
        for name, isolation, text in zip(columns["method"], columns["isolation"], columns["marks"], strict=True):
            marks[name].update(part.strip() for part in str(text).split(",") if part.strip())
            if isolation and isolation != "full":
                marks[name].add(f"isolation {isolation}")
        found = [
            Method(
                str(name),
                kind_of(str(columns["agent"][row]), str(columns["model"][row])),
                self.pool.protocol.get(name, ""),
                ", ".join(sorted(marks[name])),
            )
            for name, row in first.items()
        ]
        return tuple(sorted(found, key=lambda m: (m.kind == "control", -_or(self._middle(m.name), -9), m.name)))

    def _middle(self, method: str) -> float:
        values = self.all_values(method, "progress")
        return float(iqm(values[np.isfinite(values)]))

    def rows(self, method: str, task: str) -> Array:
        """The rows of the cell's episodes, ended or not."""
        return self._rows.get((method, task), np.zeros(0, int))

    def values(self, method: str, task: str, column: str) -> Array:
        """A column's values in the scored episodes of a cell."""
        rows = self.rows(method, task)
        return np.asarray(self.columns[column][rows[self.scored[rows]]], dtype=float)

    def gaps(self, method: str, task: str) -> int:
        """How many episodes of a begun cell are missing: not ended, lost to infrastructure, or never begun."""
        return self.expected.get((method, task), 0) - int(self.scored[self.rows(method, task)].sum())

    def all_values(self, method: str, column: str) -> Array:
        """A column's values in all scored episodes of a method."""
        parts = [self.values(method, task.name, column) for task in self.tasks]
        return np.concatenate(parts) if parts else np.zeros(0)

    @cached_property
    def directed(self) -> tuple[TaskScale, ...]:
        """The tasks of which it is known which way is better."""
        return tuple(task for task in self.tasks if task.direction in ("maximize", "minimize"))

    @cached_property
    def compared(self) -> tuple[Method, ...]:
        """The methods that are no controls."""
        return tuple(method for method in self.methods if method.kind != "control")

    @cached_property
    def shown_baseline(self) -> bool:
        """Whether the tables get a row of the baseline, because no method is it."""
        return all(method.name.partition(" · ")[0] != BASELINE for method in self.methods)

    def named(self, name: str) -> Method:
        """The method of that name; the reference `baseline` is a control."""
        found = (method for method in self.methods if method.name == name)
        return next(found, Method(name, "control", "", ""))

    def missing(self) -> Iterator[tuple[Method, TaskScale, int, str]]:
        """The cells that lack episodes, how many, and what is known of why."""
        for method in self.methods:
            for task in self.tasks:
                gaps = self.gaps(method.name, task.name)
                if gaps <= 0:
                    continue
                rows = self.rows(method.name, task.name)
                unscored = rows[~self.scored[rows]]
                yield method, task, gaps, self._why(unscored, gaps)

    def _why(self, rows: Array, gaps: int) -> str:
        whys: dict[str, int] = {}
        for row in rows:
            boundary, ended = str(self.columns["boundary"][row]), str(self.columns["ended"][row])
            why = f"{boundary} failed" if boundary else "not ended" if not ended else f"unscored ({ended})"
            whys[why] = whys.get(why, 0) + 1
        if gaps > len(rows):
            whys["not begun or not readable"] = gaps - len(rows)
        return ", ".join(f"{number} {why}" for why, number in whys.items())


def _tasks(columns: Columns) -> tuple[TaskScale, ...]:
    found: dict[str, TaskScale] = {}
    anchors = (columns[key] for key in ("task", "metric", "direction", "baseline_test", "best_known"))
    for name, metric, direction, baseline, best in zip(*anchors, strict=True):
        known = found.get(name)
        if known is None or (not known.metric and metric) or (np.isnan(known.baseline) and not np.isnan(baseline)):
            found[name] = TaskScale(str(name), str(metric), str(direction), float(baseline), float(best))
    return tuple(found[name] for name in sorted(found))


def _groups(columns: Columns) -> dict[tuple[str, str], Array]:
    groups: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(columns["method"], columns["task"], strict=True)):
        groups.setdefault(key, []).append(row)
    return {key: np.array(rows) for key, rows in groups.items()}


def _expected(pool: Pool) -> dict[tuple[str, str], int]:
    """How many episodes each begun cell should have: those that there are, and the seeds that its run's grid has."""
    seeds: dict[tuple[str, str, str], set[int]] = {}
    columns = pool.episodes
    names = zip(columns["run"], columns["method"], columns["task"], columns["seed"].tolist(), strict=True)
    for run, method, task, seed in names:
        seeds.setdefault((run, method, task), set()).add(seed)
    out: dict[tuple[str, str], int] = {}
    for (run, method, task), there in seeds.items():
        asked = pool.planned.get((run, method.partition(" · ")[0] if pool.mixed else method), set())
        out[method, task] = out.get((method, task), 0) + len(there | asked)
    return out


def _or(value: float, other: float) -> float:
    return other if np.isnan(value) else value
