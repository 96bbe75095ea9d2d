"""What stands in the workspace after each step, and what each step changed in it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlgym.store import Episode
from mlgym.viewer.folder import Folder
from mlgym.viewer.visible import visible

How = Literal["recorded", "attempt", "edit", "starter"]
LARGEST = 200_000  # bytes of a file of the starter that is looked at


@dataclass(frozen=True)
class Version:
    """A file as it stands after the step `since`, and how that is known; `read` gives None for what was let go."""

    since: int
    how: How
    key: str  # what differs where the content does
    read: Callable[[], bytes | None] = field(compare=False)


State = dict[str, Version]


def starter(of: Folder) -> State:
    """The sources that the agent found; none where the task is not here."""
    task = of.task
    if task is None:
        return {}
    found = {}
    for path in sorted(task.workspace.rglob("*")):
        name = path.relative_to(task.workspace).as_posix()
        hidden = name in task.without or name.startswith("data/") or "__pycache__" in name
        if path.is_file() and not hidden and path.stat().st_size <= LARGEST:
            data = path.read_bytes()
            found[name] = Version(0, "starter", str(hash(data)), functools.partial(_same, data))
    return found


def states(of: Folder) -> list[State]:
    """What stands in the workspace after each step, the starter first."""
    stored, out = Episode(of.folder), [starter(of)]
    attempts = {attempt.step: attempt for attempt in of.attempts if not attempt.fallback}
    for n in range(1, of.count("steps.jsonl") + 1):
        state = out[-1]
        if attempt := attempts.get(n):
            state = dict(state)
            for name, digest in {**attempt.code, **attempt.files}.items():
                data = _stored(stored.file(digest))
                if name in state and state[name].read() == data:
                    continue
                state[name] = Version(n, "attempt", digest, functools.partial(_stored, stored.file(digest)))
        out.append(state)
    return out


def changed(of: Folder, first: int, last: int) -> dict[int, list[dict[str, Any]]]:
    """What the cards of the steps `first` to `last` call `changed`, by number; without those that changed nothing."""
    found, all_states = {}, states(of)
    for n in range(max(1, first), min(last, len(all_states) - 1) + 1):
        before, after = all_states[n - 1], all_states[n]
        if rows := [_row(name, before.get(name), after.get(name)) for name in differing(before, after)]:
            found[n] = rows
    return found


def differing(before: State, after: State) -> list[str]:
    """The files that are not the same in two states."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _row(name: str, before: Version | None, after: Version | None) -> dict[str, Any]:
    kind = "added" if before is None else "removed" if after is None else "modified"
    return {"path": visible(name), "change": kind, "plus": None, "minus": None}


def _same(data: bytes) -> bytes:
    return data


def _stored(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
