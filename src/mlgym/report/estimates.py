"""The estimates over a study: progress and AUP with intervals, ranks, comparisons of pairs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlgym.metrics import (
    Comparison,
    Estimate,
    Sensitivity,
    aup_intervals,
    aup_table,
    best_table,
    bootstrap,
    compare,
    iqm,
    mean,
    ranks,
    sensitivity,
)
from mlgym.report.study import BASELINE, NAN, Study

__all__ = ["Aup", "Estimate", "Estimates", "estimates"]

Array = np.ndarray[Any, Any]
NOTHING = Estimate(NAN, NAN, NAN)


@dataclass(frozen=True)
class Aup:
    """Profiles and AUP of best attempts and best submissions, over `tasks`; the lists go along `methods`."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    tau: Array
    tau_max: float
    attempt_curves: Array
    submission_curves: Array
    attempt: list[Estimate]
    submission: list[Estimate]
    without: Sensitivity


@dataclass(frozen=True)
class Estimates:
    """What is estimated of each method, by its name. `letters` are the groups within which no pair differs."""

    iqm: dict[str, Estimate]
    mean: dict[str, Estimate]
    per_task: dict[tuple[str, str], Estimate]
    rank: dict[str, float]
    ranked: tuple[str, ...]
    aup: Aup | None
    no_aup: str
    comparison: Comparison
    letters: dict[str, str] = field(default_factory=dict)
    level: float = 0.95
    resamples: int = 2000

    @property
    def percent(self) -> str:
        """The level of the intervals in words."""
        return f"{100 * self.level:g}%"


def progress_runs(study: Study) -> dict[tuple[str, str], Array]:
    """Progress of the final submissions of each cell that has a scored episode; tasks without a scale left out."""
    runs = {
        (method.name, task.name): study.values(method.name, task.name, "progress")
        for method in study.methods
        for task in study.tasks
    }
    return {cell: values for cell, values in runs.items() if np.isfinite(values).any()}


def estimates(study: Study, *, seed: int = 0, n: int = 2000, level: float = 0.95) -> Estimates:
    """All estimates of a study; the same for the same episodes and seed."""
    runs = progress_runs(study)
    by_task = {m.name: {t: x for (name, t), x in runs.items() if name == m.name} for m in study.methods}
    tests = compare(runs, seed=seed, level=level)
    aup, why = _aup(study, seed, n, level)
    rank = ranks(_finals(study), {task.name: task.direction for task in study.directed})
    return Estimates(
        {name: _over(tasks, iqm, seed, n, level) for name, tasks in by_task.items()},
        {name: _over(tasks, mean, seed, n, level) for name, tasks in by_task.items()},
        _each(study, seed, n, level),
        dict(zip(rank.methods, map(float, rank.mean), strict=True)),
        rank.tasks,
        aup,
        why,
        tests,
        _letters(tests),
        level,
        n,
    )


def _over(tasks: dict[str, Array], statistic: Any, seed: int, n: int, level: float) -> Estimate:
    values = [x[np.isfinite(x)] for x in tasks.values()]
    if not values:
        return NOTHING
    several = any(x.size > 1 for x in values)  # single runs say nothing of their spread
    interval = bootstrap(tasks, statistic, seed, n, level) if several else (NAN, NAN)
    return Estimate(float(statistic(np.concatenate(values))), *interval)


def _each(study: Study, seed: int, n: int, level: float) -> dict[tuple[str, str], Estimate]:
    """The mean score of the final submissions of each cell, over the runs that have one."""
    out = {}
    for method in study.methods:
        for task in study.tasks:
            x = study.values(method.name, task.name, "best_submission")
            if x.size:
                out[method.name, task.name] = (
                    _over({task.name: x}, mean, seed, n, level) if np.isfinite(x).any() else NOTHING
                )
    return out


def _finals(study: Study) -> dict[tuple[str, str], float]:
    """The mean final score of each cell, nan where no run of it has one: what the ranks go by."""
    cells = (
        (m.name, t.name, study.values(m.name, t.name, "best_submission")) for m in study.methods for t in study.directed
    )
    found = {(m, t): float(np.nanmean(x)) if np.isfinite(x).any() else NAN for m, t, x in cells if x.size}
    if study.shown_baseline and not any(np.isnan(task.baseline) for task in study.directed):
        found |= {(BASELINE, task.name): task.baseline for task in study.directed}
    return found


def _aup(study: Study, seed: int, n: int, level: float) -> tuple[Aup | None, str]:
    """AUP over the tasks on which every method has a scored episode: a missing cell must not count as a bad score."""
    names = [method.name for method in study.methods if study.all_values(method.name, "best_submission").size]
    have = {t.name: all(study.values(name, t.name, "best_submission").size for name in names) for t in study.directed}
    tasks = tuple(name for name, complete in have.items() if complete)
    if not tasks or not names:
        return None, "There is no task on which every method has a scored episode, so there is no AUP."
    attempts, submissions = (
        {(m, t): study.values(m, t, column) for m in names for t in tasks}
        for column in ("best_attempt", "best_submission")
    )
    directions = {task.name: task.direction for task in study.tasks}
    base: Any = {task.name: task.baseline for task in study.tasks if task.name in tasks}
    if not study.shown_baseline:
        base = BASELINE if BASELINE in names else base
    tables = best_table(attempts, directions), best_table(submissions, directions)
    whole = aup_table(*tables, directions, base)
    bounds = aup_intervals(attempts, submissions, directions, base, seed, n, level)
    order = sorted(whole.methods, key=lambda name: -float(whole.best_attempt[whole.methods.index(name)]))
    rows = [whole.methods.index(name) for name in order]
    aup = Aup(
        tuple(order),
        tasks,
        tuple(name for name, complete in have.items() if not complete),
        whole.attempts.tau,
        whole.tau_max,
        whole.attempts.curves[rows],
        whole.submissions.curves[rows],
        [bounds[name][0] for name in order],
        [bounds[name][1] for name in order],
        sensitivity(tables[0], directions, base, tables[1]),
    )
    return aup, ""


def _letters(tests: Comparison) -> dict[str, str]:
    """For each method the letters of the groups it stands in: two that share one are a statistical tie."""
    out: dict[str, str] = {}
    for number, group in enumerate(tests.groups):
        letter = chr(ord("a") + number % 26) + str(number // 26 or "")
        for name in group:
            out[name] = out.get(name, "") + letter
    return out
