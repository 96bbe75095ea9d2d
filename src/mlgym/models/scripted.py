"""The shipped test double: a model whose replies are written down beforehand."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlgym import names
from mlgym.errors import ModelError, ToolsRefused, UsageError
from mlgym.records import Message, Reply, ToolCall

SETTINGS = ("refuse_tools", "delay_s", "context")
Script = Sequence[Any] | Callable[[Sequence[Message], Sequence[dict[str, Any]]], Any]


class Scripted:
    """Answers from a list, or by a function of the messages and tools.

    The n-th reply of a list answers a conversation with n - 1 replies in it, so that the model keeps no state and a
    continued episode gets the same ones. A reply is a Reply, its text, or a table of Reply's fields whose calls are
    tables of `name` and `arguments` (an object, or text as the model wrote it). With `refuse_tools` a call with native
    tools raises ToolsRefused; `delay_s` is slept before each answer; `context` is the window that it says it has.
    """

    def __init__(
        self, script: Script, *, refuse_tools: bool = False, delay_s: float = 0.0, context: int | None = None
    ) -> None:
        self.context = context
        self._script = script
        self._refuse_tools = refuse_tools
        self._delay_s = delay_s

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """The reply that the script has for this conversation. Raises ModelError after its last one."""
        time.sleep(self._delay_s)
        if tools and self._refuse_tools:
            raise ToolsRefused("The script refuses native tool calls.")
        number = sum(message.role == "assistant" for message in messages)
        if callable(self._script):
            return as_reply(self._script(messages, tools), number)
        if number >= len(self._script):
            raise ModelError(f"The script has {len(self._script)} replies, and one more was asked for.", lasting=True)
        return as_reply(self._script[number], number)


def as_reply(item: Any, number: int = 0) -> Reply:
    """A script's item as a Reply; calls without an id get one made of `number`."""
    if isinstance(item, Reply):
        return item
    if isinstance(item, str):
        return Reply(text=item, model="scripted", stop="stop")
    if not isinstance(item, Mapping):
        raise ModelError(f"Reply {number} of the script is neither text nor a table: {item!r:.80}.")
    fields = {"text": "", "model": "scripted", **item}
    fields["calls"] = tuple(_call(call, f"call_{number}_{place}") for place, call in enumerate(fields.get("calls", ())))
    return Reply(**fields)


def _call(call: Mapping[str, Any], default: str) -> ToolCall:
    arguments = call.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id=call.get("id", default), name=call["name"], arguments=text)


def load_script(where: str, sampling: Mapping[str, Any]) -> Scripted:
    """The model of `scripted/WHERE`: a JSON list, a JSONL file, or `package.module:attribute`.

    `sampling` may set SETTINGS. Raises UsageError for a file that is not there or not of that form.
    """
    if unknown := sorted(set(sampling) - {*SETTINGS}):
        raise UsageError(f"A scripted model has no setting '{unknown[0]}'; it has {', '.join(SETTINGS)}.")
    path = Path(where)
    if ":" in where and not path.exists():
        return Scripted(names.resolve(where, {}, "script"), **sampling)
    try:
        text = path.read_text("utf-8")
        script = (
            json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"The script '{where}' cannot be read as JSON or JSONL: {error}.") from error
    if not isinstance(script, list):
        raise UsageError(f"The script '{where}' must be a list of replies.")
    return Scripted(script, **sampling)
