"""What an action is: a command, a change of a file, a look at one, a grading."""

import json
from typing import Any

from mlgym.records import Action, Step
from mlgym.viewer import differences
from mlgym.viewer.commands import inked_command, parts
from mlgym.viewer.ink import language
from mlgym.viewer.known import Known, replaced
from mlgym.viewer.shown import Shown, shown
from mlgym.viewer.visible import visible
from mlgym.viewer.windows import inside

LOOKS = ("view", "open", "goto", "scroll_up", "scroll_down", "search_dir", "search_file", "find_file", "search")
GRADES = ("validate", "submit")
NONE: Shown = shown("text", "")
REFUSED = " (not made)"
SHORT, LONGEST = 30_000, 300_000  # characters that are compared for a card among others, and for one alone


def acted(step: Step, known: Known, *, whole: bool = False) -> Shown:
    """What a step has done; `known` are the files as they were before it."""
    action = step.action
    args = {key: value if isinstance(value, str) else json.dumps(value) for key, value in action.args.items()}
    make = _MAKERS.get(action.tool) if action.tool else _command
    if make and (found := make(step, args, known, whole)):
        return found
    if action.tool in LOOKS or action.tool in GRADES:
        return {**NONE, "kind": action.tool if action.tool in GRADES else "view"}
    return shown("text", arguments(action), lexer="" if _short(action) else "json", whole=whole)


def _command(step: Step, args: dict[str, str], known: Known, whole: bool) -> Shown | None:
    command = args.get("command", args.get("text"))
    if command is None:
        return None
    written = [part for part in parts(command) if part.kind == "file"]
    hunks = None
    if len(written) == 1 and (old := known.before(written[0])) is not None:
        hunks = _between(old, written[0].text, written[0].lexer, whole)
    title = ", ".join(visible(inside(part.path)) for part in written[:9])
    return shown(
        "command", command, lexer="bash", ink=inked_command, title=title, hunks=hunks, ends=(24, 6), whole=whole
    )


def _create(step: Step, args: dict[str, str], known: Known, whole: bool) -> Shown | None:
    path, content = args.get("path", ""), args.get("content")
    if content is None:
        return {**NONE, "kind": "create"} if path else None
    lexer = language(path)
    old = known.text(path)
    hunks = _between(old, content, lexer, whole) if old is not None else None
    title = _title(path, step)
    return shown("create", content, lexer=lexer, title=title, hunks=hunks, ends=(24, 6), whole=whole)


def _between(old: str, new: str, lexer: str, whole: bool) -> differences.Hunks | None:
    """The difference, of texts that are not too long for it."""
    return differences.between(old, new, lexer) if len(old) + len(new) <= (LONGEST if whole else SHORT) else None


def _replace(step: Step, args: dict[str, str], known: Known, whole: bool) -> Shown | None:
    path, old, new = args.get("path", ""), args.get("old"), args.get("new")
    if old is None or new is None or len(old) + len(new) > (LONGEST if whole else SHORT):
        return None
    lexer = language(path)
    hunks = replaced(step, old, new, lexer) or differences.between(old, new, lexer, None)
    return _edit("edit", f"{old}\n{new}", path, step, hunks, whole)


def _change(step: Step, args: dict[str, str], known: Known, whole: bool) -> Shown | None:
    """The classic tools' change of lines of the open file, and `insert` of both sets."""
    text = args.get("text")
    if text is None:
        return None
    path, span = args.get("path") or known.open, _span(step.action)
    hunks = known.changed(step, path, span, text) if span else None
    if hunks is None:
        at = f", lines {args['lines']}" if "lines" in args else ""
        return shown(
            step.action.tool, text, lexer=language(path), title=_title(path + at, step), ends=(24, 6), whole=whole
        )
    return _edit(step.action.tool, text, path, step, hunks, whole, made=not known.stayed(step))


def _edit(
    kind: str, text: str, path: str, step: Step, hunks: differences.Hunks, whole: bool, *, made: bool = True
) -> Shown:
    if not hunks:
        return shown(kind, "", title=_title(path, step) + ": nothing changes")
    return shown(kind, text, lexer=language(path), title=_title(path, step, made=made), hunks=hunks, whole=whole)


def _span(action: Action) -> tuple[int, int] | None:
    """The lines that a change takes away, as (lines before them, lines up to their end)."""
    first, _, last = str(action.args.get("lines", action.args.get("line", ""))).partition(":")
    if not (first.isdecimal() and (last.isdecimal() or not last) and len(first + last) < 18):
        return None
    return (int(first) - 1, int(last)) if last else (int(first), int(first))


def _title(path: str, step: Step, *, made: bool = True) -> str:
    """The file; a change of which nothing is seen afterwards, as in a file that cannot be written, was not made."""
    return visible(inside(path)[:200]) + (REFUSED if step.observation.status != "ok" or not made else "")


def _job(step: Step, args: dict[str, str], known: Known, whole: bool) -> Shown | None:
    return _command(step, args, known, whole) if args.get("action") == "start" else {**NONE, "kind": "job"}


def _end(step: Step, args: dict[str, str], known: Known, whole: bool) -> Shown | None:
    return shown("end", args.get("why", ""), title=visible(args.get("reason", "")), whole=whole)


def _short(action: Action) -> bool:
    return all(not isinstance(value, dict | list) for value in action.args.values())


def arguments(action: Action) -> str:
    """Any other tool's arguments: one a line, or as JSON where they have parts of their own."""
    if _short(action):
        return "\n".join(f"{key}: {value}" for key, value in action.args.items())
    return json.dumps(action.args, indent=2, ensure_ascii=False)


_MAKERS: dict[str, Any] = {
    "bash": _command,
    "create": _create,
    "str_replace": _replace,
    "edit": _change,
    "insert": _change,
    "job": _job,
    "end": _end,
}
