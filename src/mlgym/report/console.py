"""Parts of an episode as text in a terminal: a step, the table of results; what agents printed made harmless."""

import re
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from mlgym.records import Attempt, EpisodeSpec, Result, Scores, Step

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def safe(text: str) -> str:
    """Text that an agent printed, without control characters, terminal escapes and direction marks."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def cell(text: str) -> Text:
    """Such a text on one line in a table, where nothing in it is markup."""
    return Text(safe(text).replace("\n", " "))


def number(value: float | None) -> str:
    """A score in four significant digits, a dash for none."""
    return "–" if value is None else f"{value:#.4g}"


def ends(text: str, lines: int = 3, width: int = 160) -> str:
    """The first and the last lines of a text, long ones cut."""
    rows = [row[:width] + ("…" if len(row) > width else "") for row in safe(text).splitlines() if row.strip()]
    if len(rows) > 2 * lines:
        rows = [*rows[:lines], f"… {len(rows) - 2 * lines} lines …", *rows[-lines:]]
    return "\n".join(rows)


def action_line(step: Step) -> str:
    """A step's action on one line."""
    args = step.action.args
    shown = (
        args.get("command") or args.get("text") or " ".join(str(value).replace("\n", "⏎") for value in args.values())
    )
    return ends(f"{step.action.tool} {shown!s}".strip(), 1, 140).replace("\n", " ⏎ ")


def marks_line(step: Step) -> str:
    """What was saved before a step, and from where it was taken, on one line."""
    words = [f"saved as {mark[1:]}" for mark in step.marks if mark[0] == "+" and mark[1:]]
    back = next((mark[1:] or "where it was" for mark in reversed(step.marks) if mark[0] == "-"), None)
    return ends(", ".join([*words, *([f"back to {back}"] if back is not None else [])]), 1, 140)


def live(spec: EpisodeSpec, step: Step, best: float | None, several: bool) -> Text:
    """A step as `mlgym run` shows it while it happens."""
    out = Text()
    if several:
        out.append(safe(f"[{Path(spec.task).name} {spec.agent} seed {spec.seed}] "), "dim")
    clock = step.command_s + step.model_s + step.grader_s
    out.append(f"step {step.n} ", "bold")
    out.append(f"({clock:.1f} s", "dim")
    if best is not None:
        out.append(f", best {number(best)}", "dim")
    if step.observation.money_left is not None:
        out.append(f", {step.observation.money_left:.3f} dollars left", "dim")
    out.append(")\n", "dim")
    if step.action.thought:
        out.append(ends(step.action.thought, 2) + "\n", "italic")
    if step.marks:
        out.append(f"  ({marks_line(step)})\n", "dim")
    out.append(f"  {action_line(step)}\n", "cyan")
    body = ends(step.observation.text)
    if body:
        out.append(
            "".join(f"    {line}\n" for line in body.splitlines()),
            "dim" if step.observation.status == "ok" else "yellow",
        )
    return out


def results(rows: Iterable[tuple[EpisodeSpec, Result]]) -> Table:
    """The table at the end of a run, in 80 columns."""
    rows = list(rows)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    several = len({(spec.agent, spec.model, spec.seed) for spec, _ in rows}) > len({spec.agent for spec, _ in rows})
    table.add_column("task", min_width=max((len(Path(spec.task).name) for spec, _ in rows), default=0))
    for name in ("seed",) * several + ("baseline\nval./test", "best attempt\nval./test", "final\ntest"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("progress", "sec."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("isolation")
    for spec, result in rows:
        key, cost, base = result.metric, result.cost, result.baseline
        chosen = chosen_attempt(result)
        marks = [
            result.data,
            "imported" if result.imported else "",
            "own python" if result.python else "",
            "oracle" if result.oracle else "",
            "network" if result.network is not None else "",
            f"from step {result.source.rpartition('@')[2]}" if result.source else "",
            "feedback=test" if result.feedback == "test" else "",
        ]
        table.add_row(
            cell(" ".join([Path(spec.task).name, *(f"({mark})" for mark in marks if mark)])),
            *((str(spec.seed),) if several else ()),
            _pair(base.get("validation"), base.get("test"), key),
            _pair(chosen.validation if chosen else None, chosen.test if chosen else None, key),
            number(score(result.final, key)),
            "–" if result.progress is None else f"{result.progress:.3f}",
            f"{cost.command_s + cost.model_s + cost.grader_s:.1f}",
            result.isolation,
        )
    return table


def _pair(validation: Scores | None, test: Scores | None, key: str) -> str:
    return f"{number(score(validation, key))}/{number(score(test, key))}"


def score(scores: Scores | None, metric: str) -> float | None:
    """The metric's value among scores, None without scores."""
    return None if scores is None else scores.get(metric)


def chosen_attempt(result: Result) -> Attempt | None:
    """The attempt with the best validation, whose test scores are `selected`; of an imported episode the best one."""
    wanted = result.best if result.imported else result.selected
    for attempt in result.attempts:
        if attempt.valid and attempt.test is not None and attempt.test == wanted:
            return attempt
    return None
