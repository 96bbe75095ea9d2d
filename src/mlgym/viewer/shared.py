"""Documents in which what stands there several times is stored once, as compression alone cannot find it far apart."""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from pydantic_core import to_json

WORTH = 60  # bytes of JSON
REFERENCE = "="


def once(documents: dict[str, Any]) -> dict[str, Any]:
    """`{documents, shared}`: each object and list of some size that stands there more than once is put into the list
    `shared`, behind those that it holds itself, and named by `{"=": its place}` wherever it stood.
    """
    counts: Counter[bytes] = Counter()
    _count(documents, counts)
    places: dict[bytes, int] = {}
    shared: list[Any] = []
    return {"documents": _replaced(documents, counts, places, shared), "shared": shared}


def _count(value: Any, counts: Counter[bytes]) -> None:
    for inner in _inside(value):
        if mark := _mark(inner):
            counts[mark] += 1
            if counts[mark] == 1:
                _count(inner, counts)


def _replaced(value: Any, counts: Counter[bytes], places: dict[bytes, int], shared: list[Any]) -> Any:
    """A copy of a value with references inside."""
    if isinstance(value, dict):
        return {key: _reference(inner, counts, places, shared) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_reference(inner, counts, places, shared) for inner in value]
    return value


def _reference(value: Any, counts: Counter[bytes], places: dict[bytes, int], shared: list[Any]) -> Any:
    if not isinstance(value, dict | list | tuple):
        return value
    mark = _mark(value)
    alike = isinstance(value, dict) and set(value) == {REFERENCE}  # would be taken for one
    if not alike and counts.get(mark, 0) < 2:
        return _replaced(value, counts, places, shared)
    mark = mark or blake2b(to_json(value), digest_size=16).digest()
    if mark not in places:
        copy = _replaced(value, counts, places, shared)
        places[mark] = len(shared)
        shared.append(copy)
    return {REFERENCE: places[mark]}


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()


def _mark(value: Any) -> bytes:
    """What tells a value from others, empty for one that is too small."""
    if not isinstance(value, dict | list | tuple):
        return b""
    data = to_json(value)
    return blake2b(data, digest_size=16).digest() if len(data) >= WORTH else b""
