"""What stood in the workspace after each step, and what each step changed: as it was recorded, else retraced."""

import functools
import hashlib
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlgym.disk import content
from mlgym.records import Changes
from mlgym.store import states
from mlgym.viewer import differences
from mlgym.viewer.folder import LARGEST, Folder
from mlgym.viewer.retraced import retraced
from mlgym.viewer.states import History, Version, starter, stored, text_of, there
from mlgym.viewer.visible import visible

NAME = "changes.jsonl"
HISTORIES = 4  # those of several episodes side by side
MOST, TOGETHER = 100_000_000, 2_000_000  # bytes of the records, and files of all states together
BUDGET_S = 1.0  # of the processor, for the counts of a document: later ones are not known
_KEPT: dict[tuple[Any, ...], History] = {}
_LOCK = threading.Lock()  # documents are made side by side
PARTLY = "Not all of the workspace could be looked at after this step: there was too much in it, or it was gone."


def history(of: Folder) -> History:
    """The history of an episode, kept as long as its files stay as they are."""
    names = NAME, "steps.jsonl", "attempts", "result.json"
    key = str(of.folder), *(_stamp(of.folder / name) for name in names)
    with _LOCK:
        found = _KEPT.pop(key, None)
    if found is None:
        records = _records(of)
        found = _recorded(of, records) if records and records[0].n == 0 else retraced(of)
    with _LOCK:
        _KEPT[key] = found
        while len(_KEPT) > HISTORIES:
            del _KEPT[next(iter(_KEPT))]
    return found


def changed(of: Folder, first: int, last: int) -> dict[int, list[dict[str, Any]]]:
    """What the cards of the steps `first` to `last` call `changed`, by number; without those that changed nothing."""
    told, found, end = history(of), dict[int, list[dict[str, Any]]](), time.thread_time() + BUDGET_S
    for n in told.steps(first, last):
        before, after = told.before(n), told.after(n)
        names = (name for name in sorted({*before, *after}) if _own(n, before.get(name), after.get(name)))
        if rows := [_row(name, there(before, name), there(after, name), end) for name in names]:
            found[n] = rows
    return found


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
        return about.st_size, about.st_mtime_ns
    except OSError:
        return 0, 0


def _records(of: Folder) -> list[Changes]:
    """What was recorded, up to the first line that cannot be read."""
    found: list[Changes] = []
    try:
        rows = content(of.folder / NAME, MOST).split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        of.problem(f"{NAME} cannot be read: {error.strerror}.")
        return []
    for line in rows:
        try:
            found.append(Changes.model_validate_json(line))
        except ValidationError:
            of.problem(f"Line {len(found) + 1} of {NAME} cannot be read.")
            break
    return found


def _recorded(of: Folder, records: list[Changes]) -> History:
    given = {name: path for name, path in starter(of).items() if path.stat().st_size <= LARGEST}
    digests = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in given.values()}

    def version(n: int, digest: str) -> Version:
        places = (*stored(of, digest), *filter(None, [digests.get(digest)]))
        return Version(n, "recorded" if n else "starter", digest, places)

    rest = states(records, version)
    first, _, start = next(rest)
    told = History(start, exact=True)
    told.add(0, start, start, "" if first.whole else PARTLY)
    left = TOGETHER
    for record, before, after in rest:
        if (left := left - len(after)) < 0:
            of.problem(f"{NAME} is shown up to step {record.n - 1} only: it tells of too many files.")
            break
        told.add(record.n, before, after, "" if record.whole else PARTLY)
    return told


def _own(n: int, before: Version | None, after: Version | None) -> bool:
    """Whether a file's change is the step's doing; what the files of an attempt show was done before it."""
    return after is not None and after.since == n and after.how != "attempt" and after != before


def _row(name: str, before: Version | None, after: Version | None, end: float) -> dict[str, Any]:
    kind = "added" if before is None else "removed" if after is None else "modified"
    plus, minus = _counts(before, after) if time.thread_time() < end else (None, None)
    return {"path": visible(name), "change": kind, "plus": plus, "minus": minus}


@functools.lru_cache(maxsize=10_000)
def _counts(before: Version | None, after: Version | None) -> tuple[int | None, int | None]:
    """How many lines were added and removed; None where the contents are not known or no text."""
    old, new = text_of(before), text_of(after)
    if old is None or new is None:
        return None, None
    rows = [text.split("\n") if version else [] for text, version in ((old, before), (new, after))]
    same = sum(size for _, _, size in differences.matches(*rows))
    return len(rows[1]) - same, len(rows[0]) - same
