"""The documents that the page shows: `answer` finds which one an address means. The server and bundles ask here."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from mlgym.errors import UsageError
from mlgym.records import clean
from mlgym.viewer import calls, comparing, episode, files, steps
from mlgym.viewer.folder import Folder
from mlgym.viewer.store import Store

Query = Mapping[str, str]
Document = dict[str, Any]


class NotFound(UsageError):
    """There is no such document, or no such episode."""


def answer(store: Store, path: str, query: Query) -> Document:
    """The document at `path`, such as `runs` or `e/RUN/TASK/METHOD/SEED/steps`.

    Raises NotFound where there is none, UsageError where the query is wrong.
    """
    parts = path.split("/")
    if parts[0] == "e" and 5 <= len(parts) <= 7:
        key, what, number = "/".join(parts[1:5]), *[*parts[5:], "", ""][:2]
        if (number != "") == (what in NUMBERED) and what in OF_EPISODE:
            return OF_EPISODE[what](_folder(store, key), {**query, "n": number})
    elif path in OF_STORE:
        return OF_STORE[path](store, query)
    raise NotFound(f"There is no document {path[:200]!a}.")


def as_json(value: Document) -> bytes:
    """A document as JSON; what is no number is null, and signs that cannot be written are replaced."""
    try:
        return to_json(value, inf_nan_mode="null")
    except PydanticSerializationError:
        return to_json(clean(value), inf_nan_mode="null")


def _folder(store: Store, key: str) -> Folder:
    """The episode of a key; a key is looked up among those that are known and never taken for a path."""
    try:
        return Folder(store, key)
    except UsageError as error:
        raise NotFound(str(error)) from error


def _two(store: Store, query: Query) -> tuple[Folder, Folder]:
    return _folder(store, query.get("a", "")), _folder(store, query.get("b", ""))


def _number(query: Query, name: str, default: int | None = None) -> int:
    """A whole number of the query; raises UsageError where it is none, or missing without a default."""
    given = query.get(name, "")
    if not given and default is not None:
        return default
    if not given.isascii() or not given.isdigit() or len(given) > 12:
        raise UsageError(f"'{name}' must be a whole number, not {given[:40]!a}.")
    return int(given)


def _part(query: Query) -> tuple[int, int]:
    """Which part of a long text: from which character on, and how many."""
    return _number(query, "from", 0), _number(query, "count", steps.PAGE)


OF_STORE: dict[str, Callable[[Store, Query], Document]] = {
    "runs": lambda store, query: store.runs(),
    "episodes": lambda store, query: store.episodes(query.get("run", "")),
    "search": lambda store, query: store.search(
        query.get("q", ""),
        query.get("run", ""),
        query.get("in", "all"),
        query.get("after", ""),
        _number(query, "limit", 50),
    ),
    "compare/files": lambda store, query: comparing.listing(*_two(store, query)),
    "compare/file": lambda store, query: comparing.difference(*_two(store, query), query.get("path", "")),
}
NUMBERED = ("step", "call")
OF_EPISODE: dict[str, Callable[[Folder, Query], Document]] = {
    "": lambda of, query: episode.document(of),
    "steps": lambda of, query: steps.cards(of, _number(query, "from", 1), _number(query, "count", 50)),
    "step": lambda of, query: steps.card(of, _number(query, "n")),
    "text": lambda of, query: steps.page(of, _number(query, "step"), query.get("field", ""), *_part(query)),
    "calls": lambda of, query: calls.listed(of),
    "call": lambda of, query: calls.one(of, _number(query, "n"), _number(query, "from") if "from" in query else None),
    "calltext": lambda of, query: calls.page(of, _number(query, "call"), query.get("field", ""), *_part(query)),
    "files": lambda of, query: files.listing(of, _number(query, "step")),
    "file": lambda of, query: files.content(
        of, _number(query, "step"), query.get("path", ""), query.get("against", "none")
    ),
}
