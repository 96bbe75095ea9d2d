"""Documents 7 and 8: the workspace's files after a step, and one of them, alone or against what it was."""

import difflib
from typing import Any

from mlgym.errors import UsageError
from mlgym.viewer.changes import State, Version, states
from mlgym.viewer.folder import Folder
from mlgym.viewer.visible import visible

Document = dict[str, Any]
LINES = 5_000
NOTE = "This episode was recorded without the files of each step: they are known where an attempt was graded."


def listing(of: Folder, step: int) -> Document:
    """Document 7: the files after a step, also those of the starter that are gone."""
    all_states = states(of)
    start, now = all_states[0], _at(all_states, step)
    rows = [_row(name, start.get(name), now.get(name)) for name in sorted({*start, *now})]
    return {"step": step, "exact": False, "files": rows, "note": NOTE}


def content(of: Folder, step: int, path: str, against: str = "none") -> Document:
    """Document 8: one file after a step, and its difference `against` the starter or the step before."""
    all_states = states(of)
    now = _at(all_states, step)
    before = {"starter": all_states[0], "previous": all_states[max(0, step - 1)], "none": None}.get(against, {})
    named = {visible(name): name for state in (before or {}, now) for name in state}
    if path not in named:
        raise UsageError(f"There is no file '{path}' after step {step}.")
    new = now.get(named[path])
    data = new.read() if new else b""
    text = (data or b"").decode(errors="replace")
    binary = "\0" in text
    document = {"path": path, "size": len(data or b""), "language": _language(path), "binary": binary}
    if binary:
        return {**document, "spans": None, "hunks": None, "cut": False}
    lines = visible(text).splitlines()
    hunks = None if before is None else _hunks(_lines(before.get(named[path])), lines)
    spans = [[["", line]] for line in lines[:LINES]]
    return {**document, "spans": spans, "hunks": hunks, "cut": len(lines) > LINES}


def _at(all_states: list[State], step: int) -> State:
    if not 0 <= step < len(all_states):
        raise UsageError(f"There is no step {step}: the episode has {len(all_states) - 1}.")
    return all_states[step]


def _row(name: str, start: Version | None, now: Version | None) -> Document:
    kind = "removed" if now is None else "added" if start is None else "same" if now == start else "modified"
    version = now or start
    assert version
    size = len(version.read() or b"") if now else 0
    return {"path": visible(name), "size": size, "change": kind, "since": version.since, "how": version.how}


def _lines(version: Version | None) -> list[str]:
    return visible(((version and version.read()) or b"").decode(errors="replace")).splitlines()


def _language(path: str) -> str:
    return {"py": "python", "sh": "bash", "md": "markdown"}.get(path.rpartition(".")[2], "")


def _hunks(old: list[str], new: list[str]) -> list[Document]:
    """The differences of two texts with three lines around each."""
    hunks = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3):
        rows: list[list[Any]] = []
        for tag, a, b, c, d in group:
            if tag == "equal":
                rows += [["=", i + 1, j + 1, [["", old[i]]]] for i, j in zip(range(a, b), range(c, d), strict=True)]
                continue
            rows += [["-", i + 1, None, [["", old[i]]]] for i in range(a, b)]
            rows += [["+", None, j + 1, [["", new[j]]]] for j in range(c, d)]
        hunks.append({"old": group[0][1] + 1, "new": group[0][3] + 1, "lines": rows})
    return hunks
