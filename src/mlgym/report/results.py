"""All tables of a study, in the order of the page: those of scores, cost, behaviour, pairs, what is missing."""

import numpy as np

from mlgym.report import compute as at_compute
from mlgym.report import protocols
from mlgym.report.behaviour import Shares, actions, by_step, ends, failures
from mlgym.report.estimates import Estimate, Estimates
from mlgym.report.rows import Row, by_method, estimate, first, heads, mean, money
from mlgym.report.scores import aup, best, controls, mean_scores, methods, task_progress
from mlgym.report.study import Method, Study
from mlgym.report.tables import NONE, Table, count, fixed, p_value, word


def tables(study: Study, found: Estimates, reference: str = "") -> list[Table]:
    """All tables, in the order of the page; `reference` is what methods are held against at equal compute."""
    equal = at_compute.arena(study, reference)
    made = [
        methods(study, found),
        controls(study, found),
        best(study, "best-attempt", "best_attempt", "Best attempt"),
        best(study, "best-submission", "best_submission", "Best submission"),
        mean_scores(study, found),
        task_progress(study),
        aup(study, found),
        *([at_compute.equal_compute(equal), at_compute.hpo_equivalent(equal)] if equal else []),
        cost(study),
        shares(study, actions(study), "actions", "Actions by kind", "Actions of all episodes."),
        step_actions(study),
        shares(study, ends(study), "ended", "How episodes ended", "Episodes, those without a score too."),
        shares(
            study, failures(study, "method"), "failures", "Failures by method", "Episodes that failed, by boundary."
        ),
        task_failures(study),
        pairs(study, found),
        lost(study),
        protocols.table(study),
    ]
    return [table for table in made if table is not None]


def cost(study: Study) -> Table:
    """What an episode of each method took, on average."""
    columns = (
        "dollars each", "dollars in all", "tokens in", "tokens out", "calls", "steps", "attempts", "command s",
        "model s", "grader s", "cpu s",
    )  # fmt: skip
    about = "Means of an episode, over all scored ones; the three clocks are apart."
    keys = ("tokens_in", "tokens_out", "calls", "steps", "attempts", "command_s", "model_s", "grader_s", "cpu_s")

    def row(method: Method) -> Row:
        spent = study.all_values(method.name, "money")
        means = [mean(study.all_values(method.name, key)) for key in keys]
        return (
            money(study, method),
            fixed(float(spent[np.isfinite(spent)].sum()), 2) if np.isfinite(spent).any() else word(NONE),
            count(means[0]),
            count(means[1]),
            *(fixed(value, 1) for value in means[2:]),
        )

    return by_method(study, "cost", "What an episode takes", columns, row, None, (), about)


def shares(study: Study, table: Shares, key: str, title: str, about: str) -> Table | None:
    """Counts of parts, a row a method."""
    used = table.used()
    if not used:
        return None
    of = dict(zip(table.rows, table.counts, strict=True))
    columns = ("all", *(table.parts[place].replace("_", " ") for place in used))

    def row(method: Method) -> Row:
        return (count(of[method.name].sum()), *(count(of[method.name][place]) for place in used))

    return by_method(study, key, title, columns, row, None, (), about)


def step_actions(study: Study) -> Table | None:
    """Counts of actions by kind, a row a method and step."""
    counts = by_step(study)
    if not counts:
        return None
    rows = []
    for name, kinds in counts.items():
        for n, row in enumerate(zip(*kinds.values(), strict=True)):
            if sum(row):
                rows.append((*first(study, study.named(name)), count(n), *map(count, map(int, row))))
    columns = (*heads(study), "step", *next(iter(counts.values())))
    return Table(
        "actions-by-step",
        "Actions by step",
        columns,
        (("", tuple(rows)),),
        "Actions of all episodes.",
        (),
        len(heads(study)),
    )


def task_failures(study: Study) -> Table | None:
    """Counts of failures, a row a task."""
    table = failures(study, "task")
    used = table.used()
    if not used or study.pool.mixed:  # a task's row would have several protocols
        return None
    rows = tuple(
        (word(name), *(count(x) for x in row[used])) for name, row in zip(table.rows, table.counts, strict=True)
    )
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
        verdict = "better" if pair.better else "no difference shown"
        rows.append(
            (word(a), word(b), estimate(value, signed=True), fixed(likely, 2), p_value(pair.p), p_value(pair.p_holm),
             word(verdict, "best" if pair.better else "quiet"))
        )  # fmt: skip
    columns = ("method", "against", "progress more", "P(better)", "p", "p, Holm", "verdict")
    notes = (
        "p: permutation test of the difference in mean progress, labels exchanged within each task; Holm's correction "
        "is for all pairs. P(better): how likely a run of the first beats one of the other on a task.",
    )
    return Table("pairs", "Pairs of methods", columns, (("", tuple(rows)),), "", notes, words=2)


def lost(study: Study) -> Table | None:
    """The missing cells, and why."""
    rows = tuple(
        (word(method.name), word(task.name), count(gaps), word(why)) for method, task, gaps, why in study.missing()
    )
    if not rows:
        return None
    about = (
        "Episodes that have no result through no fault of the agent. They count nowhere, neither as bad nor as good."
    )
    return Table("missing", "Missing episodes", ("method", "task", "episodes", "why"), (("", rows),), about, words=2)
