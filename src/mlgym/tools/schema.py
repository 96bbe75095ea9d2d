"""A tool's signature as a JSON schema, and arguments checked against it.

A tool is a function of the session and of arguments of the types str, int, float, bool, a Literal, or one of these or
None. The first paragraph of its docstring says what it does; lines `name: text` below say what an argument is.
"""

import inspect
import math
import re
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mlgym.tools.session import Tool, ToolError

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
WORDS = {str: "text (valid Unicode without NUL)", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Parameter:
    """One argument of a tool; `choices` are the values of a Literal."""

    name: str
    type: Any
    required: bool
    choices: tuple[Any, ...]
    text: str


def parameters(tool: Tool) -> dict[str, Parameter]:
    """The arguments of a tool, without the session, in order."""
    hints, texts = get_type_hints(tool), _texts(tool)[1]
    found = {}
    for name, given in list(inspect.signature(tool).parameters.items())[1:]:
        kind = hints[name]
        if get_origin(kind) in (Union, UnionType):
            (kind,) = (each for each in get_args(kind) if each is not NoneType)
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        required = given.default is inspect.Parameter.empty
        found[name] = Parameter(name, type(choices[0]) if choices else kind, required, choices, texts.get(name, ""))
    return found


def schema(tool: Tool) -> dict[str, Any]:
    """The tool as a function in the form that OpenAI's interface takes."""
    known = parameters(tool).values()
    return {
        "type": "function",
        "function": {
            "name": tool.__name__,
            "description": _texts(tool)[0],
            "parameters": {
                "type": "object",
                "properties": {each.name: _property(each) for each in known},
                "required": [each.name for each in known if each.required],
                "additionalProperties": False,
            },
        },
    }


def arguments(tool: Tool, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the tool's types; raises ToolError, status "format", for what does not fit."""
    known, name = parameters(tool), tool.__name__
    if unknown := [key for key in given if key not in known]:
        only = ", ".join(known) or "no argument"
        raise ToolError(
            f"`{name}` takes {only}; there is no place for {_brief(unknown[0])} = {_brief(given[unknown[0]])}.",
            "format",
        )
    fitting = {}
    for each in known.values():
        if given.get(each.name) is None:
            if each.required:
                about = f" ({each.text})" if each.text else ""
                raise ToolError(f"`{name}` needs `{each.name}`{about}; nothing was done.", "format")
            continue
        value = given[each.name]
        try:
            fitting[each.name] = _fitting(value, each)
        except (ValueError, OverflowError) as error:
            expected = " or ".join(map(repr, each.choices)) or WORDS[each.type]
            raise ToolError(f"`{name}` needs {expected} for `{each.name}`, not {_brief(value)}.", "format") from error
    return fitting


def _property(each: Parameter) -> dict[str, Any]:
    out: dict[str, Any] = {"type": TYPES[each.type]}
    if each.choices:
        out["enum"] = list(each.choices)
    if each.text:
        out["description"] = each.text
    return out


def _texts(tool: Tool) -> tuple[str, dict[str, str]]:
    """The docstring's first paragraph, and what it says of each argument."""
    first, _, rest = inspect.cleandoc(tool.__doc__ or "").partition("\n\n")
    told = re.findall(r"^(\w+): (.+(?:\n[ \t]+.+)*)", rest, re.MULTILINE)
    return " ".join(first.split()), {name: " ".join(text.split()) for name, text in told}


def _fitting(value: Any, each: Parameter) -> Any:
    """The value as the parameter's type, where nothing is lost by it; raises ValueError, OverflowError."""
    out = CONVERSIONS[each.type](value)
    if each.choices and out not in each.choices:
        raise ValueError(value)
    return out


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    text = str(value)
    text.encode()  # a lone surrogate, which JSON can hold, raises UnicodeEncodeError, a ValueError
    if "\0" in text:
        raise ValueError(value)  # bash would take a command to end there
    return text


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError(value)


CONVERSIONS = {str: _text, int: _whole, float: _number, bool: _truth}


def _brief(value: Any) -> str:
    """The value as it may stand in an error sentence: one line, short, valid Unicode."""
    text = repr(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:57] + "..."
