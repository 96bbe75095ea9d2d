"""Figures of what happens over an episode: the best score so far against steps and against time."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgym.report import ink
from mlgym.report.estimates import Estimates
from mlgym.report.figures import Picture, canvas, legend, looks_of, name_lines
from mlgym.report.pool import Columns
from mlgym.report.study import Study, TaskScale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
POINTS = 120
DIRECT = 7  # so many lines have their names at their ends; more have a legend
PANELS = 18


class Course:
    """The attempts of all episodes in order of time, so that the best so far can be read off at any step or second.

    "The best so far" at a time is the test score of the attempt with the best validation until then: what an agent
    that can see validation only would have handed in. Before its first valid attempt an episode stands at its baseline.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        attempts, scored = study.pool.attempts, study.scored
        ended = {key: row for row, key in enumerate(_keys(study.columns)) if scored[row]}
        self.of: dict[int, list[int]] = {}
        for row, key in enumerate(_keys(attempts)):
            if key in ended:
                self.of.setdefault(ended[key], []).append(row)
        self._down = {task.name: task.direction == "minimize" for task in study.tasks}

    def steps(self, episode: int, column: str, x: str) -> tuple[Array, Array]:
        """Where the best so far of an episode changes along `x`, and the value of `column` from there on."""
        attempts = self.study.pool.attempts
        rows = sorted(self.of.get(episode, []), key=lambda row: (attempts[x][row], attempts["n"][row]))
        down = self._down[self.study.columns["task"][episode]]
        at: list[float] = []
        value: list[float] = []
        best = math.nan
        for row in rows:
            shown, test = float(attempts["validation"][row]), float(attempts[column][row])
            shown = float(attempts["test"][row]) if math.isnan(shown) else shown  # imported: all that there is
            if math.isnan(shown) or math.isnan(test) or math.isnan(float(attempts[x][row])):
                continue
            if math.isnan(best) or (shown < best if down else shown > best):
                best = shown
                at.append(float(attempts[x][row]))
                value.append(test)
        return np.array(at), np.array(value)

    def mean(self, episodes: Array, column: str, x: str, grid: Array, start: Array) -> Array:
        """The mean over episodes of the best so far at each point of `grid`; `start[i]` before the first attempt."""
        total = np.zeros(len(grid))
        for episode, first in zip(episodes, start, strict=True):
            at, value = self.steps(episode, column, x)
            total += np.concatenate([[first], value])[np.searchsorted(at, grid, side="right")]
        return total / max(1, len(episodes))

    def last(self, x: str) -> float:
        """The furthest step or second of any attempt."""
        rows = [row for rows in self.of.values() for row in rows]
        values = self.study.pool.attempts[x][rows] if rows else np.zeros(0)
        return float(np.nanmax(values)) if np.isfinite(np.asarray(values, dtype=float)).any() else 0.0


def progress_over(study: Study, found: Estimates) -> Picture | None:
    """Mean progress of the best so far, against steps and against time."""
    course = Course(study)
    has_scale = np.isfinite(np.asarray(study.columns["progress"], dtype=float)) & study.scored
    names = [m.name for m in study.methods if has_scale[_of(study, m.name)].any()]
    if not names or course.last("step") <= 0:
        return None
    steps = np.arange(0, course.last("step") + 1)
    seconds = _times(course.last("seconds"))
    lines = {}
    for name in names:
        rows = np.array([row for row in _of(study, name) if has_scale[row]])
        zero = np.zeros(len(rows))
        lines[name] = [
            course.mean(rows, "progress", x, grid, zero) for x, grid in (("step", steps), ("seconds", seconds))
        ]

    def draw(narrow: bool) -> "Figure":
        figure, axes = canvas(narrow, 4.8 if narrow else 2.9, *((2, 1) if narrow else (1, 2)), sharey=True)
        drawn = []
        for name, look in zip(names, looks_of(study, names), strict=True):
            drawn.append(axes[0].step(steps, lines[name][0], where="post", **look)[0])
            axes[1].step(seconds, lines[name][1], where="post", **look)
        axes[0].set_xlabel("step")
        axes[0].locator_params(axis="x", integer=True)
        axes[1].set_xlabel("time, seconds (logarithmic)")
        axes[1].set_xscale("log")
        axes[1].xaxis.set_major_formatter("{x:g}")
        axes[1].xaxis.set_minor_formatter("")
        axes[0].set_ylabel("progress of the best so far")
        if narrow:
            axes[1].set_ylabel("progress of the best so far")
        short = [study.named(name).short() for name in names]
        if narrow or len(names) > DIRECT:
            legend(figure, drawn, short, narrow)
        else:
            ends = [
                (lines[name][1][-1], label, line.get_color())
                for name, label, line in zip(names, short, drawn, strict=True)
            ]
            name_lines(axes[1], ends)
        return figure

    said = "; ".join(f"{name} {lines[name][0][-1]:.2f}".replace("-", "−") for name in names)
    return Picture(
        "progress-over",
        "Progress against steps and against time",
        "Mean progress on test of the attempt with the best validation so far, over all tasks and seeds. An episode "
        "stands at 0, its baseline, until its first valid attempt, and at its last value once it has ended. Time is "
        "that of commands, model and grader.",
        f"Two panels of rising lines, up to step {steps[-1]:.0f} and to {seconds[-1]:.0f} seconds. At the end: {said}.",
        "methods",
        draw,
    )


def scores_over(study: Study, found: Estimates) -> Picture | None:
    """For each task the best score so far against steps, in a panel of its own."""
    course = Course(study)
    tasks = [task for task in study.directed if not np.isnan(task.baseline)][:PANELS]
    if not tasks or course.last("step") <= 0:
        return None
    grid = np.arange(0, course.last("step") + 1)
    names = [method.name for method in study.methods]
    lines = {(task.name, name): values for task in tasks for name, values in _lines(study, course, task, grid)}

    def draw(narrow: bool) -> "Figure":
        across = min(len(tasks), 2 if narrow else 3)
        down = math.ceil(len(tasks) / across)
        figure, axes = canvas(narrow, 0.5 + 1.5 * down, down, across)
        looks = dict(zip(names, looks_of(study, names), strict=True))
        handles: dict[str, Any] = {}
        for axis, task in zip(axes, tasks, strict=False):
            for name in names:
                if (task.name, name) in lines:
                    handles[name] = axis.step(grid, lines[task.name, name], where="post", **looks[name])[0]
            axis.axhline(task.baseline, color=ink.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
            axis.set_title(task.name, fontsize=7.5 if narrow else 8.5)
            axis.set_ylabel(f"{task.metric} {task.arrow}", fontsize=7)
            axis.locator_params(nbins=4)
        for axis in axes[len(tasks) :]:
            axis.set_visible(False)
        for axis in axes[(down - 1) * across : len(tasks)]:
            axis.set_xlabel("step")
        legend(figure, list(handles.values()), [study.named(name).short() for name in handles], narrow)
        return figure

    return Picture(
        "scores-over",
        "Best score against steps, task by task",
        "Mean over seeds of the test score of the attempt with the best validation so far; dotted, the baseline. "
        "The arrow says which way is better.",
        f"{len(tasks)} small panels, one a task, each with a line a method; the tables of scores have where they end.",
        "best-attempt",
        draw,
    )


def _lines(study: Study, course: Course, task: TaskScale, grid: Array) -> Iterator[tuple[str, Array]]:
    for method in study.methods:
        rows = study.rows(method.name, task.name)
        rows = rows[study.scored[rows]]
        if len(rows):
            yield method.name, course.mean(rows, "test", "step", grid, np.full(len(rows), task.baseline))


def _of(study: Study, name: str) -> Array:
    return np.flatnonzero(study.columns["method"] == name)


def _times(last: float) -> Array:
    return np.geomspace(max(0.1, last / 3000), max(last, 1.0), POINTS)


def _keys(columns: Columns) -> Iterator[tuple[Any, ...]]:
    return zip(columns["run"], columns["task"], columns["method"], columns["seed"].tolist(), strict=True)
