"""What every table of a study is built from: a row a method, in blocks by kind, a cell a task, marks at the end."""

from collections.abc import Callable, Sequence

import numpy as np

from mlgym.report.estimates import Estimate
from mlgym.report.study import BASELINE, NAN, Array, Method, Study, TaskScale
from mlgym.report.tables import MARKS, NONE, Cell, Table, between, figure, fixed, missing, short, word

HEADINGS = {"model": "Language models", "agent": "Agents", "control": "Controls, without a language model"}
Row = tuple[Cell, ...]


def by_task(
    study: Study, key: str, title: str, cell: Callable[[Method, TaskScale], Cell], about: str, reference: bool = True
) -> Table:
    """A row a method, a column a task; with the baseline and the best known where they are a `reference`."""

    def row(method: Method) -> Row:
        return tuple(cell(method, task) for task in study.tasks)

    notes = [
        "“missing”: lost to infrastructure or not ended. “none”: no valid score. “–”: not run. (n of k): so many of "
        "the seeds have a result. Bold: the best, the oracle left aside."
    ]
    base = tuple(figure(task.baseline) for task in study.tasks) if reference and study.shown_baseline else None
    table = by_method(study, key, title, tuple(task.heading for task in study.tasks), row, base, notes, about)
    if not reference:
        return table
    known = tuple(figure(task.best) for task in study.tasks)
    last = (word("best known", "quiet"), *((word(""),) * (len(heads(study)) - 1)), *known, word(""))
    *others, (heading, block) = table.blocks
    return Table(key, title, table.columns, (*others, (heading, (*block, last))), about, table.notes, table.words)


def by_method(
    study: Study,
    key: str,
    title: str,
    columns: tuple[str, ...],
    row: Callable[[Method], Row],
    base: Row | None,
    notes: Sequence[str],
    about: str,
) -> Table:
    """A row for each method in blocks by kind; `base` is the row of the reference baseline."""
    blocks = []
    for kind, heading in HEADINGS.items():
        rows = [(*first(study, m), *row(m), marked(m)) for m in study.methods if m.kind == kind]
        if kind == "control" and base is not None and study.shown_baseline:
            rows.append((word(BASELINE), *((word(""),) * (len(heads(study)) - 1)), *base, word("reference")))
        if rows:
            blocks.append((heading, tuple(rows)))
    names = heads(study)
    blocks = [("", block) for _, block in blocks] if len(blocks) == 1 else blocks
    return Table(key, title, (*names, *columns, MARKS), tuple(blocks), about, tuple(notes), len(names))


def heads(study: Study) -> tuple[str, ...]:
    """The first columns: the method, and its protocol where several are mixed."""
    return ("method", "protocol") if study.pool.mixed else ("method",)


def first(study: Study, method: Method) -> Row:
    """The cells of the first columns."""
    return (word(method.name), word(method.protocol)) if study.pool.mixed else (word(method.name),)


def marked(method: Method) -> Cell:
    """The cell of what marks a method."""
    return word(method.marks, "quiet")


def score(study: Study, method: Method, task: TaskScale, values: Array, value: float, look: str = "") -> Cell:
    """A score, with how many of its seeds have a result where some are missing."""
    if not values.size:
        return empty(study, method, task)
    gaps = study.gaps(method.name, task.name)
    seeds = f" ({values.size} of {values.size + gaps})" if gaps else ""
    return Cell(("none" if np.isnan(value) else short(value)) + seeds, None if np.isnan(value) else value, look)


def empty(study: Study, method: Method, task: TaskScale) -> Cell:
    """A cell without a result: missing where it was begun, else a dash."""
    return missing() if study.rows(method.name, task.name).size else word(NONE, "quiet")


def estimate(value: Estimate, look: str = "", signed: bool = False) -> Cell:
    """A value with its interval in brackets."""
    shown = fixed(value.value, 3, look)
    interval = between(value.low, value.high)
    plus = "+" if signed and value.value > 0 else ""
    return Cell(plus + shown.text + (f" {interval}" if interval else ""), shown.value, look)


def money(study: Study, method: Method) -> Cell:
    """Mean dollars of an episode; unknown where the prices are."""
    money = study.all_values(method.name, "money")
    return fixed(mean(money), 3) if np.isfinite(money).any() else word("unknown" if money.size else NONE, "quiet")


def mean(values: Array) -> float:
    """The mean of what is known, nan for nothing."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else NAN


def is_oracle(method: Method) -> bool:
    """Whether a method hands in the hidden solutions."""
    return "oracle" in method.marks
