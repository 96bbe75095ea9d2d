"""Models behind Anthropic's messages."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym.errors import ModelError
from mlgym.models.endpoint import Endpoint, timeout_s
from mlgym.models.facts import facts
from mlgym.models.failures import explain
from mlgym.models.openai import named
from mlgym.records import Message, Reply, ToolCall

MAX_TOKENS = 16_000
MARK = {"cache_control": {"type": "ephemeral"}}  # all up to here is kept for five minutes
THOUGHTS = ("thinking", "redacted_thinking")


class AnthropicModel:
    """A model at Anthropic's address or one like it.

    The API demands `max_tokens`: 16,000 unless the sampling says otherwise. `cache` (on by default) marks the system
    text with the tools and the whole conversation for the provider's cache, so that the next call reads it from there.
    Every other sampling setting goes into the request as it stands; one named `cache_control` takes the marks' place.
    Thinking that came with tool calls is sent back with them, as the API wants it. Raises UsageError at once where a
    key is missing, ModelError when called. Asks once: what failed is tried again by Retried.
    """

    def __init__(self, place: Endpoint, sampling: Mapping[str, Any]) -> None:
        key = place.key()
        import anthropic

        self.place = place
        self._sampling = {**sampling}
        self._max_tokens = self._sampling.pop("max_tokens", MAX_TOKENS)
        theirs = "cache_control" in self._sampling
        self._marks = MARK if self._sampling.pop("cache", True) and not theirs else {}
        price = place.price
        self._price = price.changed(written=2 * price.sent) if price and theirs else price  # it may ask for an hour
        self._errors = (anthropic.AnthropicError, ValueError)
        direct = anthropic.DefaultHttpxClient(trust_env=False) if place.local else None
        self._client = anthropic.Anthropic(
            api_key=key, base_url=place.url, max_retries=0, timeout=timeout_s(), http_client=direct
        )

    @property
    def context(self) -> int | None:
        """The model's window in tokens, None where nobody tells."""
        return facts(self.place).context

    @property
    def native(self) -> bool | None:
        """Whether the model takes native tool calls, None where nobody tells."""
        return facts(self.place).native

    def close(self) -> None:
        """Close the connections; the model cannot be called afterwards."""
        self._client.close()

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """One answer to the conversation."""
        system = "\n\n".join(message.content for message in messages if message.role == "system")
        request: Any = {
            "model": self.place.model,
            "max_tokens": self._max_tokens,
            "messages": self._sent(messages),
            "timeout": timeout_s(),  # given, lest the client refuse a large max_tokens without streaming
        }
        if system:
            request["system"] = [{"type": "text", "text": system, **self._marks}]
        if tools:
            request["tools"] = [_tool(tool["function"]) for tool in tools]
            request["tools"][-1] |= {} if system else self._marks  # tools come before the system text, which marks both
        if self._sampling:
            request["extra_body"] = self._sampling
        try:
            answer: Any = self._client.messages.create(**request)
        except self._errors as error:
            raise explain(error, self.place, bool(tools)) from error
        if not isinstance(getattr(answer, "content", None), list):
            what = f"{self.place.url} sent no message; is it the address of an Anthropic-compatible server?"
            raise ModelError(what, doubtful=True)
        return self._reply(answer)

    def _reply(self, answer: Any) -> Reply:
        calls = tuple(
            ToolCall(id=block.id, name=block.name, arguments=json.dumps(block.input))
            for block in answer.content
            if block.type == "tool_use"
        )
        thoughts = [block.to_dict() for block in answer.content if block.type in THOUGHTS]
        fresh, written, read, tokens_out = (
            getattr(answer.usage, f"{kind}_tokens", 0) or 0
            for kind in ("input", "cache_creation_input", "cache_read_input", "output")
        )
        tokens_in = fresh + written + read
        return Reply(
            text="".join(block.text for block in answer.content if block.type == "text"),
            calls=calls,
            extra=tuple(thoughts) if calls else (),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            tokens_cached=read,
            money=self._price.of(tokens_in, tokens_out, read, written) if self._price else None,
            stop=answer.stop_reason or "",
            model=answer.model or self.place.model,
            reasoning="\n".join(filter(None, (block.get("thinking") for block in thoughts))),
        )

    def _sent(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The conversation in blocks; neighbours of one role are joined, as parallel tool results must be."""
        turns: list[dict[str, Any]] = []
        for message in messages:
            if message.role == "system":
                continue
            role = "assistant" if message.role == "assistant" else "user"
            if not turns or turns[-1]["role"] != role:
                turns.append({"role": role, "content": []})
            turns[-1]["content"] += self._blocks(message)
        turns = [turn for turn in turns if turn["content"]]
        if turns and turns[-1]["content"][-1]["type"] not in THOUGHTS:
            turns[-1]["content"][-1] |= self._marks
        return turns

    def _blocks(self, message: Message) -> list[dict[str, Any]]:
        if message.role == "tool":
            return [{"type": "tool_result", "tool_use_id": message.id, "content": message.content}]
        text = message.content.rstrip()  # the API refuses empty text, and blanks at the end of its own turn
        said = [{"type": "text", "text": text}] if text else []
        used = [
            {"type": "tool_use", "id": call.id, "name": named(call.name), "input": _object(call.arguments)}
            for call in message.calls
        ]
        thoughts = [block for block in message.extra if block.get("type") in THOUGHTS]
        return [*thoughts, *said, *used]


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": function["name"],
        "description": function.get("description", ""),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }


def _object(arguments: str) -> dict[str, Any]:
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
