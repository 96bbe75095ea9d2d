"""The tables of a study: methods, scores of each task, AUP, cost, behaviour, what is missing. A row is a method's."""

from collections.abc import Callable

import numpy as np

from mlgym.metrics import Estimate, best_at_k
from mlgym.report.behaviour import Shares, actions, ends, failures
from mlgym.report.estimates import Estimates
from mlgym.report.study import BASELINE, NAN, Method, Study, TaskScale
from mlgym.report.tables import NONE, Cell, Table, between, count, figure, fixed, missing, short, word

HEADINGS = {"model": "Language models", "agent": "Agents", "control": "Controls, without a language model"}
Row = tuple[Cell, ...]


def tables(study: Study, found: Estimates) -> list[Table]:
    """All tables, in the order of the page."""
    made = [
        methods(study, found),
        controls(study, found),
        best(study, "best-attempt", "best_attempt", "Best attempt"),
        best(study, "best-submission", "best_submission", "Best submission"),
        mean_scores(study, found),
        task_progress(study),
        aup(study, found),
        cost(study),
        shares(study, actions(study), "actions", "Actions by kind", "Actions of all episodes."),
        shares(study, ends(study), "ended", "How episodes ended", "Episodes, those without a score too."),
        shares(study, failures(study, "method"), "failures", "Failures by method", "Episodes that failed, by boundary."),
        task_failures(study),
        pairs(study, found),
        lost(study),
        protocols(study),
    ]
    return [table for table in made if table is not None]


def methods(study: Study, found: Estimates) -> Table:
    """The first table: progress, AUP, rank and cost of each method."""
    aups = dict(zip(found.aup.methods, zip(found.aup.attempt, found.aup.submission, strict=True))) if found.aup else {}
    top = max((e.value for e in found.iqm.values() if not np.isnan(e.value)), default=NAN)

    def row(method: Method) -> Row:
        scored = sum(len(study.values(method.name, task.name, "steps")) for task in study.tasks)
        gaps = sum(study.gaps(method.name, task.name) for task in study.tasks)
        attempt, submission = aups.get(method.name, (Estimate(NAN, NAN, NAN),) * 2)
        middle, mean = found.iqm[method.name], found.mean[method.name]
        return (
            Cell(f"{scored} of {scored + gaps}" if gaps else str(scored), scored, "missing" if gaps else ""),
            _estimate(middle, "best" if middle.value == top else ""),
            _estimate(mean),
            word(found.letters.get(method.name, NONE)),
            _estimate(attempt),
            _estimate(submission),
            fixed(found.rank.get(method.name, NAN), 1),
            _money(study, method),
        )

    base_aup = aups.get(BASELINE, (Estimate(NAN, NAN, NAN),) * 2)
    base = (
        word(NONE), fixed(0.0), fixed(0.0), word(NONE), _estimate(base_aup[0]), _estimate(base_aup[1]),
        fixed(found.rank.get(BASELINE, NAN), 1), word(NONE),
    )  # fmt: skip
    notes = [
        f"Progress: 0 the baseline, 1 the best result known, −1 no valid score; IQM is the interquartile mean. In "
        f"brackets {found.percent} bootstrap intervals, stratified by task.",
        "Ties: methods that share a letter do not differ at 5% after Holm's correction for all pairs.",
        f"AUP: area under the performance profile of this pool, over {len(found.aup.tasks)} tasks." if found.aup else found.no_aup,
    ]
    if found.aup and found.aup.left_out:
        notes.append(f"Not in AUP, because a method has no score there: {', '.join(found.aup.left_out)}.")
    columns = ("episodes", "progress IQM", "progress mean", "ties", "AUP attempt", "AUP submission", "mean rank", "dollars each")
    return _by_method(
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
        return _estimate(value, "best" if pair.better == method.name else "", signed=True)

    rows = tuple(
        (*_first(study, method), *(cell(method, control) for control in others), _marks(method)) for method in study.compared
    )
    return Table(
        "controls",
        "What a language model adds",
        (*_heads(study), *(f"over {control.name}" for control in others), "marks"),
        (("", rows),),
        "Difference in mean progress between each method and each control, on the tasks that both ran under the same "
        "limits.",
        ("Bold: better after Holm's correction for all pairs. The oracle hands in a hidden solution: nobody need beat it.",),
    )


def best(study: Study, key: str, column: str, title: str) -> Table:
    """The best over the runs of each cell."""
    tops = {task.name: _top(study, task, column) for task in study.tasks}

    def cell(method: Method, task: TaskScale) -> Cell:
        values = study.values(method.name, task.name, column)
        value = best_at_k(values, task.direction) if values.size else NAN
        return _score(study, method, task, values, value, "best" if value == tops[task.name] else "")

    return _by_task(
        study, key, f"{title} of all seeds", cell,
        f"The best over the seeds, on test: the {'best attempt of any kind' if 'attempt' in key else 'final submission'} of each episode.",
    )  # fmt: skip


def _top(study: Study, task: TaskScale, column: str) -> float:
    values = [study.values(method.name, task.name, column) for method in study.methods if "oracle" not in method.marks]
    return best_at_k(np.concatenate(values), task.direction) if values else NAN


def mean_scores(study: Study, found: Estimates) -> Table:
    """The mean final score of each cell with its interval."""

    def cell(method: Method, task: TaskScale) -> Cell:
        value = found.per_task.get((method.name, task.name), Estimate(NAN, NAN, NAN))
        values = study.values(method.name, task.name, "best_submission")
        shown = _score(study, method, task, values, value.value)
        interval = f" [{short(value.low)}, {short(value.high)}]" if values.size > 1 and value.low < value.high else ""
        return Cell(shown.text + interval, shown.value, shown.look)

    return _by_task(
        study, "mean", "Mean over seeds", cell,
        f"The mean of the final submissions that have a score, on test, with {found.percent} bootstrap intervals.",
    )  # fmt: skip


def task_progress(study: Study) -> Table:
    """The mean progress of each cell, those without a valid score at −1."""

    def cell(method: Method, task: TaskScale) -> Cell:
        values = study.values(method.name, task.name, "progress")
        if not values.size:
            return _empty(study, method, task)
        return fixed(float(np.nanmean(values)) if np.isfinite(values).any() else NAN)

    about = "Mean progress of the final submissions on test; an episode without a valid score counts −1."
    return _by_task(study, "progress-by-task", "Progress by task", cell, about, reference=False)


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
        most = int(np.nanargmax(changes)) if np.isfinite(changes).any() else -1
        who = f", most without {without.left_out[most]}" if most >= 0 and changes[most] > 5e-4 else ""
        return (
            _estimate(one.attempt[place]),
            _estimate(one.submission[place]),
            Cell(f"{without.low[at]:.3f} to {without.high[at]:.3f}", None),
            word(f"{changes[most] if most >= 0 else 0:.3f}{who}"),
        )

    notes = [
        f"τ goes up to {one.tau_max:.1f}; over {len(one.tasks)} tasks. Intervals of a best of several runs lie low: a "
        "resample cannot have a better best.",
    ]
    if without.swaps:
        swapped = "; ".join(f"{a} and {b}" for a, b in without.swaps[:6])
        notes.append(f"The order of these depends on who else is in the pool: {swapped}{'; …' if len(without.swaps) > 6 else ''}.")
    columns = ("AUP attempt", "AUP submission", "with another pool", "largest change")
    base = row(Method(BASELINE, "control", "", "")) if BASELINE in where else None
    return _by_method(study, "aup", "Area under the performance profile", columns, row, base, notes, "As published for MLGym, with intervals, and with each method left out of the pool in turn.")  # fmt: skip


def cost(study: Study) -> Table:
    """What an episode of each method took, on average."""
    columns = ("dollars each", "dollars in all", "tokens in", "tokens out", "calls", "steps", "attempts", "command s", "model s", "grader s", "cpu s")  # fmt: skip
    keys = ("tokens_in", "tokens_out", "calls", "steps", "attempts", "command_s", "model_s", "grader_s", "cpu_s")

    def row(method: Method) -> Row:
        money = study.all_values(method.name, "money")
        means = [_mean(study.all_values(method.name, key)) for key in keys]
        return (
            _money(study, method),
            fixed(float(money[np.isfinite(money)].sum()), 2) if np.isfinite(money).any() else word(NONE),
            count(means[0]),
            count(means[1]),
            *(fixed(value, 1) for value in means[2:]),
        )

    return _by_method(study, "cost", "Cost", columns, row, None, (), "Means of an episode, over all scored ones; the three clocks are apart.")  # fmt: skip


def shares(study: Study, table: Shares, key: str, title: str, about: str) -> Table | None:
    """Counts of parts, a row a method."""
    used = table.used()
    if not used:
        return None
    of = dict(zip(table.rows, table.counts, strict=True))
    columns = ("all", *(table.parts[place].replace("_", " ") for place in used))

    def row(method: Method) -> Row:
        return (count(of[method.name].sum()), *(count(of[method.name][place]) for place in used))

    return _by_method(study, key, title, columns, row, None, (), about)


def task_failures(study: Study) -> Table | None:
    """Counts of failures, a row a task."""
    table = failures(study, "task")
    used = table.used()
    if not used:
        return None
    rows = tuple((word(name), *(count(x) for x in row[used])) for name, row in zip(table.rows, table.counts, strict=True))
    columns = ("task", *(table.parts[place] for place in used))
    return Table("failures-by-task", "Failures by task", columns, (("", rows),), "Episodes that failed, by boundary.")


def pairs(study: Study, found: Estimates) -> Table | None:
    """All pairs, the surest first."""
    if not found.comparison.pairs:
        return None
    ordered = sorted(found.comparison.pairs, key=lambda pair: (np.isnan(pair.p), pair.p_holm, -abs(pair.difference)))
    rows = []
    for pair in ordered:
        a, b, sign = (pair.a, pair.b, 1) if not pair.difference < 0 else (pair.b, pair.a, -1)
        low, high = (pair.low, pair.high) if sign > 0 else (-pair.high, -pair.low)
        likely = pair.probability if sign > 0 else 1 - pair.probability
        value = Estimate(sign * pair.difference, low, high)
        verdict = f"{pair.better} is better" if pair.better else "no difference shown"
        rows.append(
            (word(a), word(b), _estimate(value, signed=True), fixed(likely, 2), p_value(pair.p), p_value(pair.p_holm),
             word(verdict, "best" if pair.better else "quiet"))
        )  # fmt: skip
    columns = ("method", "against", "progress more", "P(better)", "p", "p, Holm", "verdict")
    notes = (
        "p: permutation test of the difference in mean progress, labels exchanged within each task; Holm's correction "
        "is for all pairs. P(better): how likely a run of the first beats one of the other on a task.",
    )
    return Table("pairs", "Pairs of methods", columns, (("", tuple(rows)),), "", notes, words=2)


def p_value(p: float) -> Cell:
    """A p value, small ones as a bound."""
    return Cell("< 0.001", p) if p < 0.001 else fixed(p, 3)


def lost(study: Study) -> Table | None:
    """The missing cells, and why."""
    rows = tuple(
        (word(method.name), word(task.name), count(gaps), word(why)) for method, task, gaps, why in study.missing()
    )
    if not rows:
        return None
    about = "Episodes that have no score through no fault of the agent. They count nowhere, neither as bad nor as good."
    return Table("missing", "Missing episodes", ("method", "task", "episodes", "why"), (("", rows),), about, words=2)


def protocols(study: Study) -> Table:
    """The protocol of each task, as recorded in the runs."""
    rows = tuple((word(task), word(key)) for task, key in sorted(study.pool.hashes.items()))
    about = "What must agree within a table: task, data, limits, feedback, tools, isolation and processors (a hash of them)."
    return Table("protocol", f"Task protocol {study.pool.letter}", ("task", "protocol"), (("", rows),), about, words=2)


def _by_task(
    study: Study, key: str, title: str, cell: Callable[[Method, TaskScale], Cell], about: str, reference: bool = True
) -> Table:
    def row(method: Method) -> Row:
        return tuple(cell(method, task) for task in study.tasks)

    notes = ["“missing”: lost to infrastructure or not ended. “none”: no valid score. “–”: not run. (n of k): seeds that have a result."]
    base = tuple(figure(task.baseline) for task in study.tasks) if reference and study.shown_baseline else None
    table = _by_method(study, key, title, tuple(task.heading for task in study.tasks), row, base, notes, about)
    if not reference:
        return table
    known = tuple(figure(task.best) for task in study.tasks)
    last = (word("best known", "quiet"), *((word(""),) * (len(_heads(study)) - 1)), *known, word(""))
    *others, (heading, block) = table.blocks
    return Table(key, title, table.columns, (*others, (heading, (*block, last))), about, table.notes, table.words)


def _by_method(
    study: Study,
    key: str,
    title: str,
    columns: tuple[str, ...],
    row: Callable[[Method], Row],
    base: Row | None,
    notes: "list[str] | tuple[str, ...]",
    about: str,
) -> Table:
    """A row for each method in blocks by kind; `base` is the row of the reference baseline."""
    blocks = []
    for kind, heading in HEADINGS.items():
        rows = [(*_first(study, m), *row(m), _marks(m)) for m in study.methods if m.kind == kind]
        if kind == "control" and base is not None and study.shown_baseline:
            rows.append((word(BASELINE), *((word(""),) * (len(_heads(study)) - 1)), *base, word("reference")))
        if rows:
            blocks.append((heading, tuple(rows)))
    heads = _heads(study)
    blocks = [("", block) for _, block in blocks] if len(blocks) == 1 else blocks
    return Table(key, title, (*heads, *columns, "marks"), tuple(blocks), about, tuple(notes), len(heads))


def _heads(study: Study) -> tuple[str, ...]:
    return ("method", "protocol") if study.pool.mixed else ("method",)


def _first(study: Study, method: Method) -> Row:
    return (word(method.name), word(method.protocol)) if study.pool.mixed else (word(method.name),)


def _marks(method: Method) -> Cell:
    return word(method.marks, "quiet")


def _score(study: Study, method: Method, task: TaskScale, values: "np.ndarray", value: float, look: str = "") -> Cell:  # type: ignore[type-arg]
    """A score, with how many of its seeds have a result where some are missing."""
    if not values.size:
        return _empty(study, method, task)
    gaps = study.gaps(method.name, task.name)
    seeds = f" ({values.size} of {values.size + gaps})" if gaps else ""
    return Cell(("none" if np.isnan(value) else short(value)) + seeds, None if np.isnan(value) else value, look)


def _empty(study: Study, method: Method, task: TaskScale) -> Cell:
    return missing() if study.rows(method.name, task.name).size else word(NONE, "quiet")


def _estimate(value: Estimate, look: str = "", signed: bool = False) -> Cell:
    shown = fixed(value.value, 3, look)
    interval = between(value.low, value.high)
    plus = "+" if signed and value.value > 0 else ""
    return Cell(plus + shown.text + (f" {interval}" if interval else ""), shown.value, look)


def _money(study: Study, method: Method) -> Cell:
    money = study.all_values(method.name, "money")
    return fixed(_mean(money), 3) if np.isfinite(money).any() else word("unknown" if money.size else NONE, "quiet")


def _mean(values: "np.ndarray") -> float:  # type: ignore[type-arg]
    return float(np.nanmean(values)) if np.isfinite(values).any() else NAN
