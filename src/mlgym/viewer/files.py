"""Documents 7 and 8: the workspace's files after a step, and one of them, alone or against what it was."""

from typing import Any

from mlgym.errors import UsageError
from mlgym.records import LARGE
from mlgym.viewer import differences
from mlgym.viewer.changes import history
from mlgym.viewer.folder import Folder
from mlgym.viewer.ink import inked, language
from mlgym.viewer.states import LARGEST, LINES, History, State, Version, text_of, there
from mlgym.viewer.visible import visible

Document = dict[str, Any]
TOO_LARGE = "The file was too large at this step to be shown."
LET_GO = "The content of the file at this step was not kept."


def listing(of: Folder, step: int) -> Document:
    """Document 7: the files after a step, also those of the starter that are gone, and what the step removed."""
    told = _told(of, step)
    now = told.after(step)
    names = (name for name in sorted(now) if now[name].since == step or there(now, name) or there(told.start, name))
    rows = [_row(name, told.start, now) for name in names]
    return {"step": step, "exact": told.exact, "files": rows, "note": told.note(step)}


def content(of: Folder, step: int, path: str, against: str = "none") -> Document:
    """Document 8: one file after a step, and its difference `against` the starter or what the step found."""
    told = _told(of, step)
    now, states = told.after(step), {"starter": told.start, "previous": told.before(step), "none": None}
    if against not in states:
        raise UsageError(f"A file is shown against {', '.join(states)}, not {against[:40]!a}.")
    before = states[against]
    named = {visible(name): name for name in {*now, *(before or {})}}
    if path not in named:
        raise UsageError(f"There is no file {path[:200]!a} after step {step}.")
    name = named[path]
    new, old = there(now, name), there(before or {}, name)
    size = new.size if new else 0
    lexer = language(name)
    document: Document = {"path": path, "size": size, "spans": None, "hunks": None}
    document |= {"binary": False, "cut": False, "note": ""}
    if max((each.size or 0) if each else 0 for each in (new, old)) > LARGEST:
        return {**document, "note": TOO_LARGE}
    return {**document, **_shown(lexer, (new, old), before is not None)}


def _shown(lexer: str, versions: tuple[Version | None, Version | None], compared: bool) -> Document:
    """The content as it is shown, and the difference from what it was."""
    new, old = map(text_of, versions)
    if new is None:
        data = versions[0].read() if versions[0] else b""
        return (
            {"binary": True}
            if data is not None
            else {"note": TOO_LARGE if versions[0] and versions[0].key == LARGE else LET_GO}
        )
    lines = inked(visible(new), lexer) if versions[0] else []
    shown: Document = {"spans": lines[:LINES], "cut": len(lines) > LINES}
    if compared and old is None:
        return {**shown, "note": "What the file was before is not known."}
    return {**shown, "hunks": differences.between(old or "", new, lexer) if compared else None}


def _told(of: Folder, step: int) -> History:
    if not 0 <= step <= len(of.facts):
        raise UsageError(f"There is no step {step}: the episode has {len(of.facts)}.")
    return history(of)


def _row(name: str, starts: State, state: State) -> Document:
    start, now, version = there(starts, name), there(state, name), state[name]
    kind = "removed" if now is None else "added" if start is None else "same" if now.key == start.key else "modified"
    size = now.size if now else 0
    return {"path": visible(name), "size": size, "change": kind, "since": version.since, "how": version.how}
