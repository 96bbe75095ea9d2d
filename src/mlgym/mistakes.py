"""What is wrong in a file of the user's, in one sentence: the key, what it may be, and what stands there."""

import difflib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def mistake(error: ValidationError, model: type[BaseModel], but: Collection[str] = ()) -> str:
    """The first thing that is wrong, with its key; `model` is what the file should have been, `but` are fields that
    no file gives.
    """
    first = error.errors()[0]
    key = spelled(first["loc"])
    if first["type"] == "extra_forbidden":
        known = [name for name in _keys(model, first["loc"]) if name not in but]
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        return f"unknown key '{key}' ({hint})" if known else f"unknown key '{key}'"
    if first["type"] == "missing":
        return f"the key '{key}' is missing"
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if first["type"] in ("tuple_type", "list_type"):
        wanted = 'should be a list such as ["name"]'
    wanted = f"{key}: {wanted[:1].lower()}{wanted[1:]}".removeprefix(": ")
    whole = first["type"] == "value_error" and isinstance(first["input"], dict)  # a table: the sentence names its keys
    return wanted if whole else f"{wanted}, but is {shown(first['input'])}"


def spelled(loc: Sequence[int | str]) -> str:
    """A place in a file as one would write it: `agents[0].model`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def shown(value: Any) -> str:
    """A value in at most 60 characters of one line."""
    return repr(value)[:60]


def _keys(model: type[BaseModel], loc: Sequence[int | str]) -> Iterator[str]:
    """The keys that are known where the last part of `loc` stands."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part)) if isinstance(part, str) else None
        if field is not None:
            found = _record(field.annotation)
            if found is None:
                return
            model = found
    yield from model.model_fields


def _record(annotation: Any) -> type[BaseModel] | None:
    """The record that an annotation such as `tuple[Source, ...] | None` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _record(part)) is not None), None)
