"""OpenAI's chat completions as records and back."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mlgym.records import Message, Reply, ToolCall, clean

TAKEN = ("model", "messages", "tools", "stream", "stream_options", "tool_choice", "parallel_tool_calls", "n")
NAME, MOST = re.compile(r"[a-zA-Z0-9_-]{1,64}"), 20  # of a tool, and settings that are told of
ROLES = {"developer": "system", "function": "tool"}
STOPS = {"length": "length", "max_tokens": "length", "refusal": "content_filter", "content_filter": "content_filter"}


class Unfit(Exception):
    """A request that cannot be passed on; the sentence goes to the program."""


class Talk:
    """What a program and a model have said so far, as far as the program's form of it loses something.

    Providers want blocks of their own back, such as signed thinking, which have no place in OpenAI's form: they are put
    back where the program repeats the reply that had them. `ignored` are the settings that were asked for in vain.
    """

    def __init__(self) -> None:
        self.ignored: dict[str, None] = {}
        self._extra: dict[tuple[str, tuple[ToolCall, ...]], tuple[dict[str, Any], ...]] = {}

    def asked(self, body: Any) -> tuple[list[Message], list[dict[str, Any]]]:
        """The messages and tools of a request; raises Unfit."""
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
            raise Unfit("A request is a JSON object with a list of messages.")
        if body.get("n") not in (None, 1):
            raise Unfit("One reply is given to a request: leave out n.")
        asked = [str(key)[:40] for key in body if key not in TAKEN]
        self.ignored |= dict.fromkeys(asked[: MOST - len(self.ignored)])
        try:
            messages = [self._message(each) for each in body["messages"]]
            return messages, [_tool(each) for each in body.get("tools") or ()]
        except (TypeError, LookupError, AttributeError, ValueError) as error:  # a ValidationError is a ValueError
            raise Unfit(f"The messages or tools are not of OpenAI's form ({type(error).__name__}).") from error

    def replied(self, reply: Reply) -> None:
        """Keep what the program's form of a reply loses."""
        if reply.extra:
            self._extra[reply.text, reply.calls] = reply.extra

    def _message(self, given: dict[str, Any]) -> Message:
        role = ROLES.get(given["role"], given["role"])
        text = _text(given.get("content"))
        calls = tuple(
            ToolCall(id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"] or "{}")
            for call in given.get("tool_calls") or ()
        )
        extra = self._extra.get((text, calls), ()) if role == "assistant" else ()
        return Message(role=role, content=text, calls=calls, id=given.get("tool_call_id") or "", extra=extra)


def _text(content: Any) -> str:
    """A message's text, which may come in parts; raises Unfit for images and their like."""
    if content is None or isinstance(content, str):
        return content or ""
    if strange := [part["type"] for part in content if "text" not in part]:
        raise Unfit(f"Only text is passed on to the model, no {str(strange[0])[:40]}.")
    return "\n".join(part["text"] for part in content)


def _tool(given: dict[str, Any]) -> dict[str, Any]:
    function = given["function"]
    if not NAME.fullmatch(function["name"]) or not isinstance(function.get("parameters", {}), dict):
        raise Unfit("A tool has a name of letters, digits, - and _, at most 64, and a JSON schema of its parameters.")
    known = {key: function[key] for key in ("description", "parameters", "strict") if function.get(key) is not None}
    json.dumps(known := clean(known), allow_nan=False)  # as clients write it
    return {"type": "function", "function": {"name": function["name"], **known}}


def answer(reply: Reply, number: int) -> dict[str, Any]:
    """A reply as the completion of that number."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.calls
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or (None if calls else "")}
    message |= {"tool_calls": calls} if calls else {}
    message |= {"reasoning_content": reply.reasoning} if reply.reasoning else {}
    stop = STOPS.get(reply.stop, "tool_calls" if calls else "stop")
    usage = {"prompt_tokens": reply.tokens_in, "completion_tokens": reply.tokens_out}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": reply.model,
        "choices": [{"index": 0, "message": message, "finish_reason": stop, "logprobs": None}],
        "usage": {**usage, "total_tokens": reply.tokens_in + reply.tokens_out},
    }


def streamed(whole: dict[str, Any], with_usage: bool) -> bytes:
    """A completion as the events of a stream: the whole reply in one piece."""
    return b"".join(f"data: {text}\n\n".encode() for text in [*map(json.dumps, _chunks(whole, with_usage)), "[DONE]"])


def _chunks(whole: dict[str, Any], with_usage: bool) -> Iterator[dict[str, Any]]:
    head = {key: whole[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choice = whole["choices"][0]
    calls: Sequence[dict[str, Any]] = choice["message"].get("tool_calls", ())
    numbered = [{"index": place, **call} for place, call in enumerate(calls)]
    delta = choice["message"] | ({"tool_calls": numbered} if numbered else {})
    yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    if with_usage:
        yield {**head, "choices": [], "usage": whole["usage"]}
