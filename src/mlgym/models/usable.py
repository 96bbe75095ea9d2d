"""Which providers can be used now, which models they serve, and what is missing to use the others."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import NamedTuple

from mlgym.models import data
from mlgym.models.endpoint import LITELLM, LOCAL, Provider, endpoint, providers
from mlgym.models.facts import ask
from mlgym.models.local import known as known_here
from mlgym.models.prices import FILE, Price

WAIT_S = 1.0


class Usable(NamedTuple):
    """A provider: its address, what is `missing` to use it (empty: nothing), the models that it serves, as far as it
    tells within a second, and those whose price is known.
    """

    provider: str
    url: str
    missing: str
    served: tuple[str, ...]
    priced: tuple[str, ...]


def usable() -> list[Usable]:
    """All providers, those first that can be used; asks those with a key and all servers of one's own, at once."""
    known = {**data.shipped(FILE, Price, "prices"), **data.own(FILE, Price, "prices")}
    table = providers()
    with ThreadPoolExecutor(len(table)) as pool:
        found = list(pool.map(lambda name: _one(name, table[name], known), table))
    return sorted([*found, *_libraries()], key=lambda one: bool(one.missing))


def _one(name: str, kind: Provider, known: Iterable[str]) -> Usable:
    place = endpoint(f"{name}/-")
    priced = tuple(each.partition("/")[2] for each in known if each.startswith(f"{name}/"))
    own = place.own or not place.usual or not place.key_variable
    missing = "" if own or os.environ.get(kind.key) else f"set {kind.key}"
    served = () if missing else ask(place, WAIT_S).names
    if own and served is None:
        missing = f"no server at {place.url}"
    return Usable(name, place.url, missing, served or (), priced)


def _libraries() -> Iterator[Usable]:
    """Models by a library, and those in this process, which name an extra each."""
    for name, modules, extra, served in (
        (LITELLM, ("litellm",), "litellm", ()),
        (LOCAL, ("xllamacpp", "transformers"), "local", tuple(known_here())),
    ):
        missing = "" if any(map(find_spec, modules)) else f"pip install 'mlgym-env[{extra}]'"
        yield Usable(name, "", missing, served, ())
