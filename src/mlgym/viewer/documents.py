"""The documents that the page shows: `answer` finds which one an address means. The server and bundles ask here."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from mlgym.errors import UsageError
from mlgym.viewer.store import Store

Query = Mapping[str, str]
Document = dict[str, Any]


class NotFound(UsageError):
    """There is no such document, or no such episode."""


def answer(store: Store, path: str, query: Mapping[str, list[str]]) -> Document:
    """The document at `path`, such as `runs` or `e/RUN/TASK/METHOD/SEED/steps`; a query's names may repeat.

    Raises NotFound where there is none, UsageError where the query is wrong.
    """
    what, *rest = path.split("/")
    if what == "e":
        return _of_episode(store, rest, query)
    if rest or what not in OF_STORE:
        raise NotFound(f"There is no document '{path}'.")
    return OF_STORE[what](store, query)
