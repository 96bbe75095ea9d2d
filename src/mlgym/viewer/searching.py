"""Search over the steps of a store: by its index, and where there is none by the records themselves."""

import time
from collections.abc import Collection, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from mlgym.disk import reading
from mlgym.errors import UsageError
from mlgym.viewer import words
from mlgym.viewer.index import Index
from mlgym.viewer.lines import LINE, whole

BUDGET_S = 0.2  # seconds of one answer: what was not looked through then comes with the next
MOST = 200  # hits of an answer
Document = dict[str, Any]


class Candidate(NamedTuple):
    """A step that may be a hit, its line, and what goes on after it."""

    key: str
    n: int
    line: bytes
    after: str


@dataclass(frozen=True)
class Scope:
    """What is searched: episodes' folders by key, of which the index, if any, holds `indexed`; all runs, or the one in
    the folder `run`.
    """

    folders: dict[str, str]
    indexed: Collection[str]
    index: Index | None
    run: str


def search(scope: Scope, query: str, within: str, after: str, limit: int) -> Document:
    """Document 3; raises UsageError where it cannot be asked so."""
    if within not in ("all", *words.FIELDS):
        raise UsageError(f"A search is in {', '.join(words.FIELDS)} or all, not in {within[:40]!a}.")
    if len(query) > words.QUERY:
        return _answer([], note=f"Look for at most {words.QUERY} characters at a time.")
    wanted, fields = words.parsed(query), words.FIELDS if within == "all" else (within,)
    if not wanted:
        return _answer([], note="Type the words to look for.")
    if len(wanted) > words.WORDS:
        return _answer([], note=f"Look for at most {words.WORDS} words at a time.")
    hits: list[Document] = []
    until, last = time.monotonic() + BUDGET_S, after
    with closing(_candidates(scope, words.match(wanted, fields), after)) as found:
        for key, n, line, then in found:
            if line and (hit := words.hit(line, wanted, fields)):
                if len(hits) == max(1, min(limit, MOST)):
                    return _answer(hits, last)
                hits.append({"key": key, "n": n, "field": hit[0], "snippet": hit[1]})
            last = then
            if time.monotonic() > until:
                return _answer(hits, last, "Not all steps have been looked through yet.")
    return _answer(hits)


def _answer(hits: list[Document], after: str = "", note: str = "") -> Document:
    return {"hits": hits, "more": bool(after), "after": after, "note": note}


def _candidates(scope: Scope, match: str, after: str) -> Generator[Candidate, None, None]:
    """The steps that may be hits: those that the index finds, then all of the episodes that it does not hold."""
    known = scope.indexed if scope.index and match else ()
    if scope.index and match and not after.startswith("~"):
        keys = {scope.folders[key]: key for key in known}
        number = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
        with closing(scope.index.places(match, scope.run, number)) as places:
            for place in places:
                if place.folder in keys:
                    line = _line(place.folder, place.start, place.stop)
                    yield Candidate(keys[place.folder], place.n, line, str(place.id))
        if not scope.index.sound:
            known = ()
        after = ""
    told, _, beyond = after.removeprefix("~").partition(" ")
    skip = int(told) if told.isascii() and told.isdigit() and len(told) < 19 else 0
    for key in sorted(scope.folders.keys() - {*known}):
        if key >= beyond:
            yield from _all(key, scope.folders[key], skip if key == beyond else 0)


def _line(folder: str, start: int, stop: int) -> bytes:
    if stop - start > LINE:
        return b""
    with suppress(OSError), reading(f"{folder}/steps.jsonl") as file:
        file.seek(start)
        return file.read(stop - start)
    return b""


def _all(key: str, folder: str, skip: int) -> Generator[Candidate, None, None]:
    with suppress(OSError), reading(f"{folder}/steps.jsonl") as file:
        for n, (line, _) in enumerate(whole(file), 1):
            if n > skip:
                yield Candidate(key, n, line, f"~{n} {key}")
