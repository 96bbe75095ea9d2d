"""Models behind OpenAI's chat completions: OpenAI, OpenRouter, vLLM, Ollama, llama.cpp and their like."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym.errors import ModelError
from mlgym.models.endpoint import Endpoint, timeout_s
from mlgym.models.failures import explain
from mlgym.records import Message, Reply, ToolCall

RETRIES = 2


class OpenAIModel:
    """A model at an OpenAI-compatible address; every sampling setting goes into the request as it stands.

    Raises UsageError at once where a key is missing, ModelError and ToolsRefused when called. Rate limits and failures
    of the server are tried again twice by the client.
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
            api_key=key, base_url=place.url, max_retries=RETRIES, timeout=timeout_s(), http_client=direct
        )

    def close(self) -> None:
        """Close the connections; the model cannot be called afterwards."""
        self._client.close()

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """One completion of the conversation."""
        request: Any = {"model": self.place.model, "messages": [_sent(message) for message in messages]}
        if tools:
            request["tools"] = list(tools)
        if self._sampling:
            request["extra_body"] = self._sampling
        try:
            answer: Any = self._client.chat.completions.create(**request)
        except self._errors as error:
            raise explain(error, self.place, bool(tools)) from error
        return self._reply(answer, request["messages"])

    def _reply(self, answer: Any, sent: list[dict[str, Any]]) -> Reply:
        choices = getattr(answer, "choices", None)
        if not choices:
            said = (getattr(answer, "model_extra", None) or {}).get("error")  # OpenRouter fails so, with status 200
            why = f"it says {str(said)[:300]}" if said else "an OpenAI-compatible base URL usually ends in /v1"
            raise ModelError(f"{self.place.url} sent no completion; {why}.")
        message = choices[0].message
        text = message.content or ""
        asked = [call for call in message.tool_calls or () if getattr(call, "function", None)]
        calls = tuple(
            ToolCall(
                id=call.id or f"call_{len(sent)}_{number}",
                name=call.function.name or "",
                arguments=_as_text(call.function.arguments),
            )
            for number, call in enumerate(asked)
        )
        tokens_in, tokens_out, money = self._usage(answer.usage, sent, text, calls)
        return Reply(
            text=text,
            calls=calls,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            money=money,
            stop=choices[0].finish_reason or "",
            model=answer.model or self.place.model,
        )

    def _usage(self, usage: Any, sent: Any, text: str, calls: Sequence[ToolCall]) -> tuple[int, int, float | None]:
        if usage is None:  # so that a limit in tokens holds all the same, four characters are taken for one
            written = len(text) + sum(len(call.arguments) for call in calls)
            tokens = len(json.dumps(sent)) // 4, written // 4
        else:
            tokens = usage.prompt_tokens or 0, usage.completion_tokens or 0
        told = (getattr(usage, "model_extra", None) or {}).get("cost")  # OpenRouter tells dollars
        if self.place.provider == "openrouter" and isinstance(told, int | float):
            return *tokens, float(told)
        return *tokens, self.place.price.of(*tokens) if self.place.price else None


def _as_text(arguments: Any) -> str:
    """Tool arguments as JSON text; some servers send an object, or nothing."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})


def _sent(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.id, "content": message.content}
    if not message.calls:
        return {"role": message.role, "content": message.content}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _valid(call.arguments)}}
        for call in message.calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


def _valid(arguments: str) -> str:
    """Arguments that a server can parse: several fail on the malformed ones that they produced themselves."""
    try:
        return arguments if isinstance(json.loads(arguments), dict) else "{}"
    except ValueError:
        return "{}"
