"""Names of things: a nickname, `package.module:attribute`, or a folder's path; options follow a question mark."""

import importlib
import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlgym.errors import UsageError

PROGRAM, MCP = "command", "mcp"  # agents outside: a command line, all that follows being its, and a client of MCP


def is_program(spec: str) -> bool:
    """Whether the spec of an agent is a command line."""
    return spec.split(" ")[0] == PROGRAM


def split(spec: str) -> tuple[str, dict[str, Any]]:
    """`react?window=5&strict=true` -> ("react", {"window": 5, "strict": True}); values are JSON where they parse.

    `command mini -y` -> ("command", {"line": "mini -y"}).
    """
    if is_program(spec):
        return PROGRAM, {"line": spec[len(PROGRAM) + 1 :]}
    name, _, query = spec.partition("?")
    options: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        key, equals, text = part.partition("=")
        if not key or not equals:
            raise UsageError(f"The option '{part}' in '{spec}' is not of the form key=value.")
        options[key] = value(text)
    return name, options


def value(text: str) -> Any:
    """The text as JSON where it parses, else the text itself: `0.2` is a number, `fast` a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def resolve(name: str, nicknames: Mapping[str, str], kind: str) -> Any:
    """The attribute that a nickname or `package.module:attribute` names.

    Raises UsageError with the known nicknames when there is no such thing.
    """
    target = nicknames.get(name, name)
    module, colon, attribute = target.partition(":")
    if not colon:
        known = ", ".join(sorted(nicknames))
        known = f"known: {known}, or " if known else ""
        raise UsageError(f"There is no {kind} '{name}'; {known}give package.module:attribute.")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        first = module.partition(".")[0]
        here = Path(f"{first}.py").exists() or Path(first, "__init__.py").exists()
        lost = isinstance(error, ModuleNotFoundError) and error.name == first
        hint = "; it lies in this folder, where Python looks once PYTHONPATH=. is set" if here and lost else ""
        raise UsageError(f"The {kind} '{name}' cannot be imported: {error}{hint}.") from error


def called(kind: str, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a function of the user's returns; raises UsageError with the place in its file where it failed."""
    try:
        return function(*args, **options)
    except UsageError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        file = getattr(getattr(function, "__code__", None), "co_filename", frames[-1].filename)
        at = next((each for each in reversed(frames) if each.filename == file), frames[-1])
        place = f"{Path(at.filename).name}, line {at.lineno}"
        said = f"{type(error).__name__}: {error}".rstrip(": ").rstrip(".")
        raise UsageError(f"The {kind} '{name}' failed in {place}: {said}.") from error
