"""Methods at equal compute: progress against the seconds of experiments, and what the reference needs to match each.

The reference is hyperparameter optimisation, `tuner`; its budget on a task, the median of what its runs took, is what
every method is read off at. `mlgym.metrics.compute` has the definitions.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgym.metrics import Curve, Outcomes, bootstrap, equivalent_compute, outcomes
from mlgym.metrics import mean as mean_of
from mlgym.metrics import noise as noise_of
from mlgym.report import ink
from mlgym.report.curves import Course
from mlgym.report.estimates import Estimate, Estimates
from mlgym.report.figures import Picture, canvas, legend, looks_of
from mlgym.report.rows import Row, by_method, by_task, estimate, is_oracle, money
from mlgym.report.study import NAN, Method, Study, TaskScale
from mlgym.report.tables import NONE, Cell, Table, fixed, word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
SHARES = (0.25, 0.5, 1.0)
POINTS = 101
REFERENCE = "tuner"
EXPERIMENTS, WITH_MODEL = "experiment_s", "seconds"


@dataclass(frozen=True)
class Arena:
    """The curves of a study's methods; `budget` has the seconds of each task, `noise` that of its progress."""

    study: Study
    reference: str
    methods: tuple[Method, ...]
    tasks: tuple[TaskScale, ...]
    budget: dict[str, float]
    noise: dict[str, float]

    @cached_property
    def curves(self) -> dict[tuple[str, str, str], list[Curve]]:
        """The runs of each (method, task, clock), the clock being EXPERIMENTS or WITH_MODEL."""
        course, scored = Course(self.study), self.study.scored
        return {
            (method.name, task.name, clock): [
                Curve(*course.steps(row, "progress", clock))
                for row in self.study.rows(method.name, task.name).tolist()
                if scored[row]
            ]
            for method in self.methods
            for task in self.tasks
            for clock in (EXPERIMENTS, WITH_MODEL)
        }

    def reached(self, method: str, task: str, share: float, clock: str = EXPERIMENTS) -> Array:
        """What each run had reached at that share of the budget."""
        return np.array([curve.at(share * self.budget[task]) for curve in self.curves[method, task, clock]], float)

    def middle(self, method: str, share: float, clock: str = EXPERIMENTS) -> Estimate:
        """The mean of `reached` over the runs of all tasks, with its interval."""
        runs = {task.name: self.reached(method, task.name, share, clock) for task in self.tasks}
        values = np.concatenate(list(runs.values()))
        if not values.size:
            return Estimate(NAN, NAN, NAN)
        several = any(len(x) > 1 for x in runs.values())
        return Estimate(float(values.mean()), *(bootstrap(runs, mean_of) if several else (NAN, NAN)))

    def against(self, method: str) -> Outcomes:
        """Wins, ties and losses against the reference at the whole budget, the mean over tasks."""
        pairs = ((self.reached(method, t.name, 1.0), self.reached(self.reference, t.name, 1.0), t) for t in self.tasks)
        found = [outcomes(a, b, self.noise[task.name]) for a, b, task in pairs if a.size and b.size]
        return Outcomes(*map(float, np.mean(found, axis=0))) if found else Outcomes(NAN, NAN, NAN)

    def needed(self, method: str, task: str) -> Estimate:
        """The seconds of experiments that the reference needs to match the method on a task."""
        levels = self.reached(method, task, 1.0)
        return equivalent_compute(self.curves[self.reference, task, EXPERIMENTS], levels, self.noise[task])


def arena(study: Study, reference: str = "") -> Arena | None:
    """The arena of a study, if it has a reference and something to hold against it; None otherwise."""
    methods = tuple(method for method in study.methods if not is_oracle(method))
    tunes = [m.name for m in methods if m.name.partition(" · ")[0].partition("?")[0] == REFERENCE]
    first = sorted(tunes, key=lambda name: ("sampler=near" in name, "sampler=tpe" not in name, name))
    name = reference or next(iter(first), "")
    tasks = tuple(t for t in study.directed if np.isfinite(t.best) and study.values(name, t.name, "progress").size)
    if len(methods) < 2 or not tasks or name not in {method.name for method in methods}:
        return None
    budget = {
        task.name: float(np.median(sum(study.values(name, task.name, clock) for clock in ("command_s", "grader_s"))))
        for task in tasks
    }
    return Arena(study, name, methods, tasks, budget, {task.name: _noise(study, task) for task in tasks})


def _noise(study: Study, task: TaskScale) -> float:
    """The standard deviation of a task's progress from one grading to the next; nan where it is not known."""
    of = study.columns["task"] == task.name
    noise = study.columns["noise"][of].astype(float)
    scale = str(study.columns["scale"][of][0])
    known = noise[np.isfinite(noise)]
    if not known.size:
        return NAN
    return noise_of(float(known[0]), baseline_test=task.baseline, best=task.best, scale=scale)


def equal_compute(found: Arena) -> Table:
    """A row a method: progress at shares of the budget, with the model's time, and against the reference."""
    columns = (*(f"at {share:.0%}" for share in SHARES), "with model time", "win", "tie", "loss", "HPO-equivalent",
               "dollars each")  # fmt: skip

    def row(method: Method) -> Row:
        if method not in found.methods:
            return (word(NONE, "quiet"),) * len(columns)
        versus = found.against(method.name)
        shares = [found.middle(method.name, share) for share in SHARES]
        ratios = [found.needed(method.name, task.name).value / found.budget[task.name] for task in found.tasks]
        known = [ratio for ratio in ratios if not math.isnan(ratio)]
        alone = method.name == found.reference
        return (
            *(fixed(share.value) for share in shares[:-1]),
            estimate(shares[-1]),
            estimate(found.middle(method.name, 1.0, WITH_MODEL)),
            *(word(NONE, "quiet") if alone else fixed(100 * part, 0) for part in versus),
            word("reference", "quiet") if alone else times(float(np.median(known)) if known else NAN),
            money(found.study, method),
        )

    about = (
        f"Progress on test of the best by validation, at the same seconds of experiments (commands and grading): "
        f"those that {found.reference} took, the median of its runs on each task."
    )
    notes = (
        "With model time: the same seconds must do for the model's replies too. Win, tie, loss: per cent of the pairs "
        f"of runs with {found.reference}; within the noise of a grading (95 %) two tie. HPO-equivalent: the compute "
        f"that {found.reference} needs to match the method, in budgets, the median over tasks; “never”: not within "
        "its own budget.",
    )
    return by_method(found.study, "equal-compute", "At equal compute", columns, row, None, notes, about)


def hpo_equivalent(found: Arena) -> Table:
    """A row a method, a column a task: the seconds of experiments that the reference needs to match it."""
    names = {task.name for task in found.tasks}

    def cell(method: Method, task: TaskScale) -> Cell:
        if method.name == found.reference or task.name not in names or method not in found.methods:
            return word("reference" if method.name == found.reference else NONE, "quiet")
        needed = found.needed(method.name, task.name)
        if math.isnan(needed.value):
            return word(NONE, "quiet")
        ends = f"[{seconds(needed.low)}, {seconds(needed.high)}]"
        return Cell(f"{seconds(needed.value)} of {found.budget[task.name]:.0f} s {ends}", needed.value)

    about = f"Seconds of experiments after which the mean of {found.reference} has what the method has at the budget."
    return by_task(found.study, "hpo-equivalent", "HPO-equivalent compute, task by task", cell, about, reference=False)


def seconds(value: float) -> str:
    """Seconds in words, `never` for an infinity."""
    return "never" if math.isinf(value) else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def times(value: float) -> Cell:
    """A multiple of the budget."""
    return Cell("never", value) if math.isinf(value) else fixed(value, 2)


def compute_picture(study: Study, found: Estimates, reference: str = "") -> Picture | None:
    """Mean progress against the part of the budget used, without and with the model's time."""
    of = arena(study, reference)
    if of is None:
        return None
    grid = np.linspace(0, 1, POINTS)
    names = [method.name for method in of.methods]
    panels = ((EXPERIMENTS, "experiments only"), (WITH_MODEL, "with the model's time"))
    lines = {(name, clock): _mean(of, name, clock, grid) for name in names for clock, _ in panels}

    def draw(narrow: bool) -> "Figure":
        figure, axes = canvas(narrow, 4.8 if narrow else 2.9, *((2, 1) if narrow else (1, 2)), sharey=True)
        handles: dict[str, Any] = {}
        for axis, (clock, title) in zip(axes, panels, strict=True):
            for name, look in zip(names, looks_of(study, names), strict=True):
                handles[name] = axis.step(100 * grid, lines[name, clock], where="post", **look)[0]
            axis.axhline(0, color=ink.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
            axis.set_title(title)
            axis.set_xlabel("per cent of the budget of seconds")
        axes[0].set_ylabel("progress of the best so far")
        legend(figure, list(handles.values()), [study.named(name).short() for name in handles], narrow)
        return figure

    said = "; ".join(f"{name} {lines[name, EXPERIMENTS][-1]:.2f}".replace("-", "−") for name in names)
    return Picture(
        "compute-over",
        "Progress at equal compute",
        f"Mean progress on test of the best by validation so far, against the seconds that {of.reference} took on each "
        "task; on the right the time of the model's replies is counted too. Dotted, the baseline.",
        f"Two panels of rising lines over the budget. At its end, without the model's time: {said}.",
        "equal-compute",
        draw,
    )


def _mean(of: Arena, method: str, clock: str, grid: Array) -> Array:
    """The mean over all runs of all tasks at each share of the budgets."""
    runs = [curve.at(grid * of.budget[task.name]) for task in of.tasks for curve in of.curves[method, task.name, clock]]
    return np.asarray(np.mean(runs, axis=0) if runs else np.full(len(grid), NAN))
