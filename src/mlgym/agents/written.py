"""What a model writes into its text because its server does not take it apart: its thinking, and calls of tools."""

import json
import re
from itertools import islice
from typing import Any

from mlgym.records import ToolCall

MOST = 16  # calls that are read in one reply
_THINKING = re.compile(r"\s*<(think|thinking|thought|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_CLOSED = re.compile(r"(?:\A|\n)[ \t]*</think>")  # whose beginning stood in the server's own template
_CALL = re.compile(r"<(tool_call|function_call)>\s*|<\|python_tag\|>\s*(?=\{)")
_FUNCTION = re.compile(r"<function=([\w.-]{1,64})>(.*?)</function>", re.DOTALL)
# These two never look past where the next one begins: else a long reply could hold the host up for hours.
_ARGUMENT = re.compile(r"<parameter=([\w.-]{1,64})>\n?((?:(?!<parameter=).)*?)\n?</parameter>", re.DOTALL)
_BLOCK = re.compile(r"^```\w*[ \t]*\n((?:(?![ \t]*```).*\n)*)[ \t]*```[ \t]*$", re.MULTILINE)
_JSON = json.JSONDecoder(strict=False)  # which takes line breaks within texts


def thinking(text: str) -> tuple[str, str]:
    """The thinking at the head of a reply, in tags such as <think>, and what is left; one that is not closed is all."""
    thought: list[str] = []
    while found := _THINKING.match(text):
        thought.append(found[2].strip())
        text = text[found.end() :]
    if not thought and (closed := _CLOSED.search(text)):
        thought, text = [text[: closed.start()].strip()], text[closed.end() :]
    return "\n\n".join(filter(None, thought)), text.strip() if thought else text


def calls(text: str) -> tuple[ToolCall, ...]:
    """The calls of tools in a text: {"name": …, "arguments": {…}} within <tool_call> tags, as all of the text, or as
    its only fenced block; or <function=NAME> with <parameter=NAME> within such tags. At most MOST are read.
    """
    found = []
    for tag in islice(_CALL.finditer(text), MOST):
        function = _FUNCTION.match(text, tag.end())
        found.append(_by_tags(function) if function else _call(_value(text[tag.end() :])))
    blocks = _BLOCK.findall(text)
    return tuple(filter(None, found)) or alone(blocks[0] if len(blocks) == 1 else text)


def alone(text: str) -> tuple[ToolCall, ...]:
    """The call of a tool that is all of a text, as a JSON object."""
    call = _call(_value(text, whole=True))
    return (call,) if call else ()


def _value(text: str, whole: bool = False) -> Any:
    """The JSON object at the beginning of a text, or that is the whole of it; None where there is none."""
    text = text.strip()
    try:
        value, end = _JSON.raw_decode(text) if text.startswith("{") else (None, 0)
    except (ValueError, RecursionError):
        return None
    return None if whole and end != len(text) else value


def _call(value: Any) -> ToolCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments)
    return ToolCall(id="", name=value["name"], arguments=arguments) if isinstance(arguments, str) else None


def _by_tags(function: re.Match[str]) -> ToolCall:
    return ToolCall(id="", name=function[1], arguments=json.dumps(dict(_ARGUMENT.findall(function[2]))))
