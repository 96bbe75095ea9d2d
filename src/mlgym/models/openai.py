"""Models behind OpenAI's chat completions: OpenAI, OpenRouter, vLLM, Ollama, llama.cpp and their like."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlgym.errors import ModelError
from mlgym.models.endpoint import Endpoint, timeout_s
from mlgym.models.facts import facts
from mlgym.models.failures import explain
from mlgym.models.prices import TOLD, Price
from mlgym.records import Message, Reply, ToolCall

KEPT = ("reasoning_details", "reasoning_content", "thinking_blocks")


class OpenAIModel:
    """A model at an OpenAI-compatible address; every sampling setting goes into the request as it stands.

    Raises UsageError at once where a key is missing, ModelError and ToolsRefused when called. Asks once: what failed is
    tried again by Retried.
    """

    def __init__(self, place: Endpoint, sampling: Mapping[str, Any]) -> None:
        key = place.key()
        import openai

        self.place = place
        self._sampling = dict(sampling)
        self._errors = (openai.OpenAIError, ValueError)
        # A proxy of the environment is not for the user's own machine.
        direct = openai.DefaultHttpxClient(trust_env=False) if place.local else None
        self._client = openai.OpenAI(
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
        """One completion of the conversation."""
        request: Any = {"model": self.place.model, "messages": [sent(message) for message in messages]}
        if tools:
            request["tools"] = list(tools)
        if self._sampling:
            request["extra_body"] = self._sampling
        try:
            answer: Any = self._client.chat.completions.create(**request)
        except self._errors as error:
            raise explain(error, self.place, bool(tools)) from error
        if not getattr(answer, "choices", None):
            said = (getattr(answer, "model_extra", None) or {}).get("error")  # OpenRouter fails so, with status 200
            why = f"it says {str(said)[:300]}" if said else "an OpenAI-compatible base URL usually ends in /v1"
            raise ModelError(f"{self.place.url} sent no completion; {why}.", doubtful=True)
        reply = completion(answer, request["messages"], self.place.price)
        return reply.changed(
            model=reply.model or self.place.model,
            quantization=facts(self.place).quantization,
            unpinned=self.place.provider == "openrouter" and not _pinned(self._sampling.get("provider")),
        )


def completion(answer: Any, messages: Sequence[Mapping[str, Any]], price: Price | None) -> Reply:
    """A chat completion as a Reply; `messages` are those that were sent, `price` is TOLD where the answer tells it."""
    message = answer.choices[0].message
    text, reasoning = _apart(message)
    asked = [call for call in message.tool_calls or () if getattr(call, "function", None)]
    calls = tuple(
        ToolCall(
            id=call.id or f"call_{len(messages)}_{number}",
            name=call.function.name or "",
            arguments=_as_text(call.function.arguments),
        )
        for number, call in enumerate(asked)
    )
    tokens_in, tokens_out, cached, written = _usage(getattr(answer, "usage", None), messages, text, calls)
    told = _more(getattr(answer, "usage", None), "cost")
    told = float(told) if isinstance(told, int | float) else None
    known = None if price is None or price == TOLD else price.of(tokens_in, tokens_out, cached, written)
    return Reply(
        text=text,
        calls=calls,
        extra=tuple(_kept(message, asked, calls)),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=cached,
        money=told if price == TOLD else known,
        told_money=told,
        stop=answer.choices[0].finish_reason or "",
        model=answer.model or "",
        reasoning=reasoning,
        upstream=str(_more(answer, "provider") or ""),
    )


def _more(item: Any, key: str) -> Any:
    """A field that the client knows or that the server adds to the interface."""
    found = getattr(item, key, None)
    return (getattr(item, "model_extra", None) or {}).get(key) if found is None else found


def _apart(message: Any) -> tuple[str, str]:
    """The text of a message and its thinking, which is in a field of its own or in parts of the content."""
    content = message.content or ""
    thought = _more(message, "reasoning_content") or _more(message, "reasoning") or ""
    if isinstance(content, list):  # Mistral's
        parts = [part for part in content if isinstance(part, dict)]
        thought = thought or _joined(part.get("thinking") for part in parts)
        content = _joined(part.get("text") for part in parts)
    return content, thought if isinstance(thought, str) else json.dumps(thought)


def _joined(parts: Iterable[Any]) -> str:
    """The text of parts, each text itself or a list of parts with a text."""
    return "".join(
        part if isinstance(part, str) else _joined(inner.get("text") for inner in part if isinstance(inner, dict))
        for part in parts
        if isinstance(part, str | list)
    )


def _kept(message: Any, asked: Sequence[Any], calls: Sequence[ToolCall]) -> Iterable[dict[str, Any]]:
    """What must go back as it came: OpenRouter's details of the reasoning; where tools were called, the reasoning
    itself (DeepSeek, Moonshot; Anthropic's by litellm) and what hangs on a call (Gemini's signatures).
    """
    for key in KEPT:
        if (calls or key == "reasoning_details") and (found := _more(message, key)):
            yield {key: found}
    for call, made in zip(asked, calls, strict=True):
        if extra := _more(call, "extra_content"):
            yield {"call": made.id, "extra_content": extra}


def _usage(
    usage: Any, messages: Sequence[Mapping[str, Any]], text: str, calls: Sequence[ToolCall]
) -> tuple[int, int, int, int]:
    """Tokens sent and received, and of those sent the ones read from the provider's cache and written to it."""
    if usage is None:  # so that a limit in tokens holds all the same, four characters are taken for one
        written = len(text) + sum(len(call.arguments) for call in calls)
        return len(json.dumps(messages)) // 4, written // 4, 0, 0
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", 0) or _more(usage, "prompt_cache_hit_tokens") or 0  # DeepSeek's name
    return (
        usage.prompt_tokens or 0,
        usage.completion_tokens or 0,
        min(cached, usage.prompt_tokens or 0),
        _more(details, "cache_write_tokens") or 0,
    )


def _pinned(provider: Any) -> bool:
    """Whether OpenRouter's routing preferences leave it a single provider."""
    wish = provider if isinstance(provider, dict) else {}
    only, order = wish.get("only") or [], wish.get("order") or []
    return len(only) == 1 or (len(order) == 1 and wish.get("allow_fallbacks") is False)


def _as_text(arguments: Any) -> str:
    """Tool arguments as JSON text; some servers send an object, or nothing."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})


def sent(message: Message) -> dict[str, Any]:
    """A message as the interface has it."""
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.id, "content": message.content}
    kept = {key: value for block in message.extra for key, value in block.items() if key in KEPT}
    if not message.calls:
        return {"role": message.role, "content": message.content, **kept}
    signed = {block["call"]: {"extra_content": block["extra_content"]} for block in message.extra if "call" in block}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": named(call.name), "arguments": _valid(call.arguments)},
            **signed.get(call.id, {}),
        }
        for call in message.calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls, **kept}


def named(name: str) -> str:
    """A tool's name that a server takes back: several fail on the odd ones that their models made up."""
    return re.sub("[^a-zA-Z0-9_-]", "_", name)[:64] or "_"


def _valid(arguments: str) -> str:
    """Arguments that a server can parse: several fail on the malformed ones that they produced themselves."""
    try:
        return arguments if isinstance(json.loads(arguments), dict) else "{}"
    except ValueError:
        return "{}"
