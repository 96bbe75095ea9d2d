"""Is one method better than another: on which tasks, how sure; and all pairs with their groups of ties."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mlgym.errors import UsageError
from mlgym.metrics import Comparison, Estimate, Pair, compare, probability_of_improvement
from mlgym.report.console import safe
from mlgym.report.estimates import progress_runs
from mlgym.report.pool import load, pools
from mlgym.report.study import Study
from mlgym.report.tables import between, minus, p_value

WIDTH = 100


@dataclass(frozen=True)
class Compared:
    """The comparison of one pool's methods, of one pair where two were named; `likely` has its probability."""

    protocol: str
    comparison: Comparison
    named: bool
    likely: Estimate | None = None
    gaps: int = 0


def compared(runs: Sequence[Path], a: str = "", b: str = "", *, mixed: bool = False, seed: int = 0) -> list[Compared]:
    """Compare two methods, or all pairs, in each pool that has them.

    Raises UsageError for a name that no method or several have, and for methods that share no protocol.
    """
    studies = [Study(pool) for pool in pools(load(runs), mixed)]
    everyone = list(dict.fromkeys(method.name for study in studies for method in study.methods))
    if not a:
        return [Compared(s.pool.letter, compare(progress_runs(s), seed=seed), False, None, _gaps(s)) for s in studies]
    one, other = _named(a, everyone), _named(b, everyone)
    if one == other:
        raise UsageError(f"'{a}' and '{b}' are both {one}: name two methods.")
    both = [study for study in studies if {one, other} <= {method.name for method in study.methods}]
    if not both:
        raise UsageError(
            f"{one} and {other} were run under different task protocols; --mixed compares them all the same."
        )
    return [_pair(study, one, other, seed) for study in both]


def _pair(study: Study, a: str, b: str, seed: int) -> Compared:
    runs = {cell: values for cell, values in progress_runs(study).items() if cell[0] in (a, b)}
    if missing := {a, b} - {method for method, _ in runs}:
        raise UsageError(f"{sorted(missing)[0]} has no episode with progress, so there is nothing to compare.")
    found = compare(runs, [(a, b)], seed=seed)
    sides = [{task: x for (method, task), x in runs.items() if method == name} for name in (a, b)]
    return Compared(
        study.pool.letter, found, True, probability_of_improvement(sides[0], sides[1], seed), _gaps(study, (a, b))
    )


def _gaps(study: Study, names: Sequence[str] = ()) -> int:
    return sum(gaps for method, _, gaps, _ in study.missing() if not names or method.name in names)


def _named(text: str, everyone: list[str]) -> str:
    """The method of that name, or the only one that has the text in its name."""
    fits = [name for name in everyone if text in (name, name.partition(" · ")[0])] or [m for m in everyone if text in m]
    if len(fits) == 1:
        return fits[0]
    said = "Several methods have" if fits else "There is no method with"
    raise UsageError(f"{said} '{text}' in the name; there are: {', '.join(fits or everyone)}.")


def as_json(found: list[Compared]) -> str:
    """Everything, as JSON; what is not known is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return json.dumps(plain([asdict(one) for one in found]), indent=1)


def as_text(found: list[Compared]) -> str:
    """What to read in a terminal."""
    out = Console(file=StringIO(), width=WIDTH, highlight=False, color_system=None, markup=False, emoji=False)
    for one in found:
        if len(found) > 1:
            out.print(f"Protocol {one.protocol}\n")
        _print_pair(out, one) if one.named else _print_all(out, one)
        if one.gaps:
            out.print(f"\n{one.gaps} episodes are missing and count nowhere.")
        if len(found) > 1:
            out.print()
    assert isinstance(out.file, StringIO)
    return safe("\n".join(line.rstrip() for line in out.file.getvalue().splitlines()).rstrip())


def _print_pair(out: Console, one: Compared) -> None:
    pair = one.comparison.pairs[0]

    def say(line: str) -> None:
        out.print(line, soft_wrap=True)

    if not pair.tasks:
        say(f"{pair.a} and {pair.b} have no task in common, so nothing can be said.")
        return
    if pair.better:
        say(f"Yes: {pair.better} is better than {pair.b if pair.better == pair.a else pair.a}.")
    else:
        say(f"No difference shown between {pair.a} and {pair.b}: that is not to say that there is none.")
    more = f"{signed(pair.difference)} {between(pair.low, pair.high)}"
    say(f"  progress of {pair.a} minus {pair.b}: {more}, the mean over {_tasks(len(pair.tasks))}")
    if one.likely:
        chance = between(one.likely.low, one.likely.high, 2)
        say(f"  a run of {pair.a} beats one of {pair.b} with probability {one.likely.value:.2f} {chance}")
    say(f"  p = {p_value(pair.p).text} on these tasks (labels exchanged within each task)")
    say(f"  p = {p_value(pair.p_tasks).text} for tasks like these (signs of the differences exchanged)\n")
    out.print(_by_task(pair))
    out.print("Progress: 0 the baseline, 1 the best known. p of a task is corrected (Holm) for their number.")


def _by_task(pair: Pair) -> Table:
    table = _table("task")
    for name in (pair.a, pair.b, "difference", "p, Holm"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("better")
    for row in pair.tasks:
        means = (minus(f"{row.mean_a:.3f}"), minus(f"{row.mean_b:.3f}"), signed(row.difference))
        table.add_row(row.task, *means, p_value(row.p_holm).text, row.better or "–")
    return table


def _print_all(out: Console, one: Compared) -> None:
    groups = _table("group", "methods that do not differ")
    for number, group in enumerate(one.comparison.groups):
        groups.add_row(chr(ord("a") + number % 26), ", ".join(group))
    out.print("Groups of statistical ties, the best first:")
    out.print(groups)
    table = _table("better", "than")
    for name in ("progress more", "P(better)", "p, Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = [pair for pair in one.comparison.pairs if pair.better]
    for pair in sorted(shown, key=lambda pair: -abs(pair.difference)):
        first = pair.better == pair.a
        likely = pair.probability if first else 1 - pair.probability
        table.add_row(
            pair.better, pair.b if first else pair.a, f"+{abs(pair.difference):.3f}", f"{likely:.2f}",
            p_value(pair.p_holm).text,
        )  # fmt: skip
    out.print(f"\n{len(shown)} of {len(one.comparison.pairs)} pairs differ at 5% (Holm's correction):")
    if shown:
        out.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _tasks(number: int) -> str:
    return f"{number} task{'s' * (number != 1)}"


def signed(value: float) -> str:
    """A number with its sign."""
    return ("+" if value > 0 else "") + minus(f"{value:.3f}")
