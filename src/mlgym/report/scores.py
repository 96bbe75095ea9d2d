"""The tables of scores: methods with progress and AUP, what a model adds to the controls, the scores of each task."""

import numpy as np

from mlgym.metrics import best_at_k
from mlgym.report.estimates import Estimate, Estimates
from mlgym.report.rows import Row, by_method, by_task, empty, estimate, first, heads, is_oracle, marked, money, score
from mlgym.report.study import BASELINE, NAN, Method, Study, TaskScale
from mlgym.report.tables import MARKS, NONE, Cell, Table, fixed, missing, short, word

NOTHING = Estimate(NAN, NAN, NAN)


def methods(study: Study, found: Estimates) -> Table:
    """The first table: progress, AUP, rank and cost of each method."""
    aups: dict[str, tuple[Estimate, Estimate]] = {}
    if found.aup:
        both = zip(found.aup.attempt, found.aup.submission, strict=True)
        aups = dict(zip(found.aup.methods, both, strict=True))
    iqms = [found.iqm[method.name].value for method in study.methods if not is_oracle(method)]
    top = max((value for value in iqms if not np.isnan(value)), default=NAN)

    def row(method: Method) -> Row:
        scored = sum(len(study.values(method.name, task.name, "steps")) for task in study.tasks)
        gaps = sum(study.gaps(method.name, task.name) for task in study.tasks)
        attempt, submission = aups.get(method.name, (NOTHING, NOTHING))
        middle, mean = found.iqm[method.name], found.mean[method.name]
        return (
            Cell(f"{scored} of {scored + gaps}" if gaps else str(scored), scored, "missing" if gaps else ""),
            estimate(middle, "best" if middle.value == top and not is_oracle(method) else ""),
            estimate(mean),
            word(found.letters.get(method.name, NONE)),
            estimate(attempt),
            estimate(submission),
            fixed(found.rank.get(method.name, NAN), 1),
            money(study, method),
        )

    zero = fixed(NAN if np.isnan(top) else 0.0)
    base_aup = aups.get(BASELINE, (NOTHING, NOTHING))
    base = (
        word(NONE), zero, zero, word(NONE), estimate(base_aup[0]), estimate(base_aup[1]),
        fixed(found.rank.get(BASELINE, NAN), 1), word(NONE),
    )  # fmt: skip
    notes = [
        f"Progress: 0 the baseline, 1 the best result known, −1 no valid score; IQM is the interquartile mean. In "
        f"brackets {found.percent} bootstrap intervals, stratified by task.",
        "Ties: methods that share a letter do not differ at 5% after Holm's correction for all pairs.",
        f"AUP: area under the performance profile of this pool, over {len(found.aup.tasks)} tasks."
        if found.aup
        else found.no_aup,
    ]
    if found.aup and found.aup.left_out:
        notes.append(f"Not in AUP, because a method has no result there: {', '.join(found.aup.left_out)}.")
    columns = (
        "episodes",
        "progress IQM",
        "progress mean",
        "ties",
        "AUP attempt",
        "AUP submission",
        "mean rank",
        "dollars each",
    )
    return by_method(
        study, "methods", "Methods", columns, row, base, notes,
        "One row a method: the final submissions on the test split, over all tasks and seeds.",
    )  # fmt: skip


def controls(study: Study, found: Estimates) -> Table | None:
    """What each compared method adds to each control, over the tasks that both have, at the same budget."""
    others = [method for method in study.methods if method.kind == "control"]
    if not others or not study.compared:
        return None
    known = {frozenset((pair.a, pair.b)): pair for pair in found.comparison.pairs}

    def cell(method: Method, control: Method) -> Cell:
        pair = known.get(frozenset((method.name, control.name)))
        if pair is None or not pair.tasks:
            return word(NONE)
        sign, low, high = (1, pair.low, pair.high) if pair.a == method.name else (-1, -pair.high, -pair.low)
        value = Estimate(sign * pair.difference, low, high)
        return estimate(value, "best" if pair.better == method.name else "", signed=True)

    rows = tuple(
        (*first(study, method), *(cell(method, control) for control in others), marked(method))
        for method in study.compared
    )
    return Table(
        "controls",
        "What a language model adds",
        (*heads(study), *(f"over {control.name}" for control in others), MARKS),
        (("", rows),),
        "Difference in mean progress between each method and each control, on the tasks that both ran under the same "
        "limits.",
        (
            "Bold: better after Holm's correction for all pairs. The oracle hands in a hidden solution: nobody need "
            "beat it.",
        ),
    )


def best(study: Study, key: str, column: str, title: str) -> Table:
    """The best over the runs of each cell."""
    what = "any attempt" if "attempt" in key else "the final submission"
    tops = {task.name: _top(study, task, column) for task in study.tasks}

    def cell(method: Method, task: TaskScale) -> Cell:
        values = study.values(method.name, task.name, column)
        value = best_at_k(values, task.direction) if values.size and task in study.directed else NAN
        top = value == tops[task.name] and not is_oracle(method)
        return score(study, method, task, values, value, "best" if top else "")

    return by_task(
        study, key, f"{title} of all seeds", cell,
        f"The best over the seeds, on test: {what} of each episode.",
    )  # fmt: skip


def _top(study: Study, task: TaskScale, column: str) -> float:
    """The best score of a task, the oracle's left aside; nan where there is nothing to be better than."""
    values = [study.values(method.name, task.name, column) for method in study.methods if not is_oracle(method)]
    values = [one for one in values if np.isfinite(one).any()]
    return best_at_k(np.concatenate(values), task.direction) if len(values) > 1 and task in study.directed else NAN


def mean_scores(study: Study, found: Estimates) -> Table:
    """The mean final score of each cell with its interval."""

    def cell(method: Method, task: TaskScale) -> Cell:
        value = found.per_task.get((method.name, task.name), NOTHING)
        values = study.values(method.name, task.name, "best_submission")
        shown = score(study, method, task, values, value.value)
        interval = f" [{short(value.low)}, {short(value.high)}]" if values.size > 1 and value.low < value.high else ""
        return Cell(shown.text + interval, shown.value, shown.look)

    return by_task(
        study, "mean", "Mean over seeds", cell,
        f"The mean of the final submissions that have a score, on test, with {found.percent} bootstrap intervals.",
    )  # fmt: skip


def task_progress(study: Study) -> Table:
    """The mean progress of each cell, those without a valid score at −1."""

    def cell(method: Method, task: TaskScale) -> Cell:
        values = study.values(method.name, task.name, "progress")
        if not values.size:
            return empty(study, method, task)
        return fixed(float(np.nanmean(values)) if np.isfinite(values).any() else NAN)

    about = "Mean progress of the final submissions on test; an episode without a valid score counts −1."
    return by_task(study, "progress-by-task", "Progress by task", cell, about, reference=False)


def aup(study: Study, found: Estimates) -> Table | None:
    """AUP with intervals, and what it is when one of the others leaves the pool."""
    if found.aup is None:
        return None
    one, without = found.aup, found.aup.without
    where = {name: place for place, name in enumerate(one.methods)}
    row_of = {name: place for place, name in enumerate(without.methods)}

    def row(method: Method) -> Row:
        if method.name not in where:
            return (missing(),) * 4
        place, at = where[method.name], row_of[method.name]
        changes = np.abs(without.aup[:, at] - without.full[at])
        most = int(np.nanargmax(changes)) if np.isfinite(changes).any() else 0
        who = f" [without {study.named(without.left_out[most]).short()}]" if changes[most] > 5e-4 else ""
        return (
            estimate(one.attempt[place]),
            estimate(one.submission[place]),
            Cell(f"{without.low[at]:.3f} to {without.high[at]:.3f}", None),
            word(f"{changes[most]:.3f}{who}" if np.isfinite(changes).any() else NONE),
        )

    notes = [
        f"τ goes up to {one.tau_max:.1f}; over {len(one.tasks)} tasks. Intervals of a best of several runs lie low: a "
        "resample cannot have a better best.",
    ]
    if without.swaps:
        swapped = "; ".join(f"{a} and {b}" for a, b in without.swaps[:6])
        notes.append(
            f"The order of these depends on who else is in the pool: {swapped}{'; …' * (len(without.swaps) > 6)}."
        )
    columns = ("AUP attempt", "AUP submission", "with another pool", "largest change")
    about = "As published for MLGym, with intervals, and with each method left out of the pool in turn."
    base = row(Method(BASELINE, "control", "", "")) if BASELINE in where else None
    return by_method(study, "aup", "AUP, and how it hangs on the pool", columns, row, base, notes, about)  # fmt: skip
