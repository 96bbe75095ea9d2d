"""What an observation is: a window of a file, a traceback, scores, a difference, a log, JSON, or just text."""

import json
import re
from dataclasses import dataclass
from functools import partial

from mlgym.records import Scores, Step, better
from mlgym.viewer import differences
from mlgym.viewer.commands import reads
from mlgym.viewer.ink import Spans, language, plain
from mlgym.viewer.shown import Shown, shown
from mlgym.viewer.visible import visible
from mlgym.viewer.windows import window

LOOKED = 200_000  # characters in which something is recognised
TITLE = 200
SHELL = ("bash", "", "job")
_TRACE = re.compile(r"^(\S{0,80} ?)Traceback \(most recent call last\):", re.MULTILINE)
_PLACE = re.compile(r' +File ".*", line \d+|Traceback \(most')
_RAISED = re.compile(
    r"^(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning|Group|Iteration)(?::.*)?$", re.MULTILINE
)
_SYNTAX = re.compile(r'^ +File ".{1,300}", line \d+(?:.*\n){1,4}?(\w*Error: .*)', re.MULTILINE)
_BAR = re.compile(r"\d{1,3}%\|[^|]*\|")
_EPOCH = re.compile(
    r"^\W{0,4}(?:\d{4}-\d\d-\d\d\S* \S+ )?[\[({]?(?:epoch|step|iter(?:ation)?|ep|update|round|episode|batch|fold|trial)"
    r"\b\W{0,3}\d|.{0,100}\bloss\W{1,4}\d",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"^ERRORS:\n((?:- .*\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Scale:
    """By what scores are read: the task's metric and its direction, and the scores of the starter."""

    metric: str = ""
    direction: str = ""
    baseline: Scores | None = None


def observation(step: Step, scale: Scale, *, whole: bool = False) -> Shown:
    """What a step has seen."""
    body, tool = step.observation.text, step.action.tool
    make = partial(shown, whole=whole)
    if tool in ("validate", "submit") or step.observation.validation is not None:
        return _graded(step, scale, whole=whole)
    for one in (_window, _refused, _wrote, _traceback, _difference, _json, _listing, _log):
        if found := one(step, body, make):
            return found
    return make("text", body)


def _graded(step: Step, scale: Scale, *, whole: bool) -> Shown:
    """The scores as a small table, or why there are none."""
    scores, tool = step.observation.validation, step.action.tool
    if not scores:
        text, quiet = step.observation.text, step.observation.status in ("ok", "end")
        failed = _traceback(step, text, partial(shown, whole=whole))
        return failed or shown(tool, text, quiet=quiet, whole=whole)
    rows, base = list[list[str]](), scale.baseline or {}
    for name, score in sorted(scores.items(), key=lambda item: item[0] != scale.metric):
        if rows and name.lower() == scale.metric.lower() and score == scores.get(scale.metric):
            continue  # the same number under the name of another system
        row, before = [visible(name)[:80], number(score)], base.get(name)
        if before is not None:
            row += [f"baseline {number(before)}", _gap(score, before, scale if name == scale.metric else None)]
        rows.append(row)
    title = " ".join(rows[0][:2]) + (f" ({', '.join(rows[0][2:])})" if rows[0][2:] else "")
    out = shown(tool if tool == "submit" else "validate", step.observation.text, title=title, whole=whole)
    said = plain(visible(step.observation.text[:500])) if tool == "submit" else []
    return out if whole else {**out, "text": None, "tail": None, "spans": [*_table(rows), *said], "folded": False}


def number(value: float) -> str:
    """A score in four significant digits, as tables show it."""
    return f"{value:#.4g}"


def _gap(score: float, before: float, scale: Scale | None) -> str:
    gap = score - before
    signed = f"{'+' if gap > 0 else '−' if gap < 0 else '±'}{number(abs(gap))}"
    if scale is None or not scale.direction or not gap:
        return signed
    return f"{signed} {'better' if better(score, before, scale.direction) else 'worse'}"


def _table(rows: list[list[str]]) -> Spans:
    widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(max(map(len, rows)))]
    kinds = ("", "n", "c", "")
    return [
        [[kind, cell.ljust(width) + "  "] for cell, width, kind in zip(row, widths, kinds, strict=False)]
        for row in rows
    ]


def _window(step: Step, body: str, make: "partial[Shown]") -> Shown | None:
    """A window of a file tool, as the code that it shows; what a command prints is none, however it looks."""
    found = window(body) if "[File: " in body[:5000] and step.action.tool not in SHELL else None
    if not found:
        return None
    changed = step.action.tool in ("edit", "insert", "str_replace")
    title = visible(f"{found.told}{', after the change' if changed else ''}{found.above and f'. {found.above}'}")
    lexer, quiet = language(found.path), step.observation.status == "ok"
    return make("window", "\n".join(found.lines), lexer=lexer, title=title[:TITLE], quiet=quiet, first=found.first)


def _refused(step: Step, body: str, make: "partial[Shown]") -> Shown | None:
    """An edit that a linter did not let through: the problems; the windows below them come when it is unfolded."""
    found = _REFUSED.search(body[:5000]) if step.action.tool not in SHELL else None
    if not found:
        return None
    problems = list(dict.fromkeys(visible(line[2:]) for line in found[1].splitlines()))
    whole = make("refused", body, title="; ".join(problems)[:TITLE], ends=(0, 0))
    if make.keywords["whole"]:
        return whole
    return {**whole, "text": {**whole["text"], "text": "\n".join(problems)}, "tail": None, "folded": True}


def _wrote(step: Step, body: str, make: "partial[Shown]") -> Shown | None:
    """A success that is told in a line."""
    ok = step.observation.status == "ok" and step.action.tool not in SHELL
    return make("text", body, title=visible(body[:TITLE]), quiet=True) if ok and body.count("\n") < 2 else None


def _traceback(step: Step, body: str, make: "partial[Shown]") -> Shown | None:
    looked = body[-LOOKED:]
    if traces := list(_TRACE.finditer(looked)):
        title = _raised(looked[traces[-1].start() :], traces[-1][1])
    elif step.observation.status == "error" and (syntax := _SYNTAX.search(looked[:20_000])):
        title = syntax[1]
    else:
        return None
    return make("traceback", body, ink=_traced, title=visible(title)[:TITLE], ends=(4, 14))


def _raised(trace: str, before: str) -> str:
    """The first line below a traceback's places; each of its lines may stand behind the same words."""
    lines = [line.removeprefix(before) for line in trace.split("\n")[1:]]
    return next((line for line in lines if line and not line[0].isspace()), lines[-1] if lines else "Traceback")


def _traced(text: str) -> Spans:
    """The lines of a traceback: where it went through is quiet, what was raised stands out."""
    return [
        [["c" if _PLACE.match(line) else "k" if _RAISED.fullmatch(line) else "", line]] if line else []
        for line in text.split("\n")
    ]


def _difference(step: Step, body: str, make: "partial[Shown]") -> Shown | None:
    if not differences.is_diff(body):
        return None
    return make("diff", body, hunks=differences.read(body[:LOOKED]))


def _json(step: Step, body: str, make: "partial[Shown]") -> Shown | None:
    start = body.strip()
    if start[:1] not in ("{", "[") or len(start) > LOOKED or start[-1:] not in ("}", "]"):
        return None
    try:
        told = json.loads(start)
    except (ValueError, RecursionError):
        return None
    if "\n" not in start and len(start) > 100:
        try:
            body = json.dumps(told, indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return None
    return make("json", body, lexer="json")


def _listing(step: Step, body: str, make: "partial[Shown]") -> Shown | None:
    """A file that a command has printed."""
    path = reads(str(step.action.args.get("command", ""))) if step.action.tool == "bash" else ""
    lexer = language(path)
    if not lexer or step.observation.status != "ok" or body.count("\n") < 2:
        return None
    lines = body.count("\n") + (not body.endswith("\n"))
    return make("view", body, lexer=lexer, title=visible(f"{path}, {lines} lines")[:TITLE], quiet=lines > 12)


def _log(step: Step, body: str, make: "partial[Shown]") -> Shown | None:
    """What a training prints while it goes on: of bars that were drawn again and again the last, and the end first."""
    rows = visible(body[:LOOKED]).split("\n")
    bars = [bool(_BAR.search(row[:400])) for row in rows]
    if sum(bars) >= 2:
        kept = [row for row, bar, after in zip(rows, bars, [*bars[1:], False], strict=True) if not (bar and after)]
        if len(kept) < len(rows) and not make.keywords["whole"]:
            out = make("progress", "\n".join(kept), ends=(4, 12))
            return {**out, "size": len(body), "lines": len(rows), "folded": True}
        return make("progress", body, ends=(4, 12))
    if any(bars) or sum(bool(_EPOCH.match(row[:200])) for row in rows[:2000]) >= 3:
        return make("progress", body, ends=(4, 12))
    return None
