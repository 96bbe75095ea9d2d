"""Models behind Anthropic's messages."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym.errors import ModelError
from mlgym.models.endpoint import Endpoint, timeout_s
from mlgym.models.failures import explain
from mlgym.records import Message, Reply, ToolCall

MAX_TOKENS = 16_000
RETRIES = 2


class AnthropicModel:
    """A model at Anthropic's address or one like it.

    The API demands `max_tokens`: 16,000 unless the sampling says otherwise. Every other sampling setting goes into the
    request as it stands. Thinking that came with tool calls is sent back with them, as the API wants it. Raises
    UsageError at once where a key is missing, ModelError when called.
    """

    def __init__(self, place: Endpoint, sampling: Mapping[str, Any]) -> None:
        key = place.key()
        import anthropic

        self.place = place
        self._sampling = {**sampling}
        self._max_tokens = self._sampling.pop("max_tokens", MAX_TOKENS)
        self._errors = (anthropic.AnthropicError, ValueError)
        direct = anthropic.DefaultHttpxClient(trust_env=False) if place.local else None
        self._client = anthropic.Anthropic(
            api_key=key, base_url=place.url, max_retries=RETRIES, timeout=timeout_s(), http_client=direct
        )

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
            request["system"] = system
        if tools:
            request["tools"] = [_tool(tool["function"]) for tool in tools]
        if self._sampling:
            request["extra_body"] = self._sampling
        try:
            answer: Any = self._client.messages.create(**request)
        except self._errors as error:
            raise explain(error, self.place, bool(tools)) from error
        if not isinstance(getattr(answer, "content", None), list):
            raise ModelError(f"{self.place.url} sent no message; is it the address of an Anthropic-compatible server?")
        return self._reply(answer)

    def _reply(self, answer: Any) -> Reply:
        calls = tuple(
            ToolCall(id=block.id, name=block.name, arguments=json.dumps(block.input))
            for block in answer.content
            if block.type == "tool_use"
        )
        thoughts = [block.to_dict() for block in answer.content if block.type in ("thinking", "redacted_thinking")]
        fresh, written, read, tokens_out = (
            getattr(answer.usage, f"{kind}_tokens", 0) or 0
            for kind in ("input", "cache_creation_input", "cache_read_input", "output")
        )
        tokens_in = fresh + written + read
        # Writing to the cache (only when the sampling asks for it) costs up to twice the price; reading costs less.
        money = self.place.price.of(tokens_in + written, tokens_out) if self.place.price else None
        return Reply(
            text="".join(block.text for block in answer.content if block.type == "text"),
            calls=calls,
            extra=tuple(thoughts) if calls else (),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            money=money,
            stop=answer.stop_reason or "",
            model=answer.model or self.place.model,
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
        return [turn for turn in turns if turn["content"]]

    def _blocks(self, message: Message) -> list[dict[str, Any]]:
        if message.role == "tool":
            return [{"type": "tool_result", "tool_use_id": message.id, "content": message.content}]
        text = message.content.rstrip()  # the API refuses empty text, and blanks at the end of its own turn
        said = [{"type": "text", "text": text}] if text else []
        used = [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": _object(call.arguments)}
            for call in message.calls
        ]
        return [*message.extra, *said, *used]


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
