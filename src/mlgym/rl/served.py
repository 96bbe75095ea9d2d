"""Policies that servers sample: by tokens where the server tells them, else by the text of their replies alone."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from mlgym import models
from mlgym.errors import BudgetError, ModelError, UsageError
from mlgym.models import Model
from mlgym.models.tokens import TokenModel
from mlgym.records import Message, Reply
from mlgym.rl.policy import Sampled
from mlgym.rl.protocols import said
from mlgym.rl.render import Chat, Render, by_server, by_tokenizer
from mlgym.rl.scripted import END, REPLY, START

CUT = ("length", "max_tokens", "model_context_window_exceeded")
WITHHELD = ("content_filter", "refusal", "safety", "SAFETY")


class ServerPolicy:
    """The model `provider/NAME` of a server that takes and tells tokens (vLLM), at its usual address or `base_url`.

    The chat template is the server's own, asked for at /tokenize, or that of the `tokenizer` in a folder. vLLM's
    log-probabilities are of the distribution before the temperature unless it was started with
    `--logprobs-mode processed_logprobs`; at temperature 1 there is no difference.
    """

    parallel = tokens = True

    def __init__(
        self, name: str, base_url: str = "", *, tokenizer: str = "", temperature: float = 1.0, version: int = 0
    ) -> None:
        self.name, self.temperature, self.version = name, temperature, version
        self._model = TokenModel(name, base_url)
        self._tokenizer: Any = _tokenizer(tokenizer) if tokenizer else None
        render: Render = by_tokenizer(self._tokenizer) if tokenizer else by_server(self._model.tokens)
        try:
            self._chat = Chat(render, name)
        except Exception:
            self.close()
            raise
        self.begin, self.follow, self.end = self._chat.begin, self._chat.follow, self._chat.end

    def sample(
        self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int], seeds: Sequence[int]
    ) -> list[Sampled]:
        """A reply to each prompt, one after another."""
        return [self._one(*each) for each in zip(prompts, max_tokens, seeds, strict=True)]

    def text(self, ids: Sequence[int]) -> str:
        """What tokens of a reply say, without its end."""
        if self._tokenizer is not None:
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        rest = list(ids)
        while rest and rest[-1] in self.end:
            rest.pop()
        return self._model.text(rest) if rest else ""

    def close(self) -> None:
        """Close the connections."""
        self._model.close()

    def _one(self, prompt: Sequence[int], most: int, seed: int) -> Sampled:
        began = time.perf_counter()
        try:
            ids, logprobs, stop = self._model.complete(prompt, most, temperature=self.temperature, seed=seed)
        except (ModelError, BudgetError) as error:
            return failed(error)
        why = "" if ids else "The server's reply had no token."
        seconds = time.perf_counter() - began
        return Sampled(tuple(ids), tuple(logprobs), "length" if stop in CUT else "stop", seconds, why)


class TextPolicy:
    """A language model of which only the text of its replies is known: any that `models.load` has, or a Model.

    Its trajectories have messages and no tokens. Protocol "tools" gives it native calls. `sampling` is sent with each
    request; the engine's `max_tokens` and seeds are not.
    """

    parallel, tokens = True, False
    end = (END,)

    def __init__(self, model: str | Model, base_url: str = "", *, version: int = 0, **sampling: Any) -> None:
        self._model = models.load(model, base_url=base_url, sampling=sampling) if isinstance(model, str) else model
        self.name = model if isinstance(model, str) else type(model).__name__
        self.temperature, self.version = float(sampling.get("temperature", 1.0)), version

    def begin(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[int]:
        """The conversation as bytes, to be read by `sample`."""
        return _packed({"tools": list(tools), "messages": [each.model_dump(mode="json") for each in messages]})

    def follow(self, messages: Sequence[Message]) -> list[int]:
        """More of the conversation as bytes."""
        return _packed({"messages": [each.model_dump(mode="json") for each in messages]})

    def sample(
        self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int], seeds: Sequence[int]
    ) -> list[Sampled]:
        """A reply to each conversation, one after another."""
        return [self._one(prompt) for prompt in prompts]

    def text(self, ids: Sequence[int]) -> str:
        """The text of a reply; native calls stand in it as the chat templates of Hermes write them."""
        return bytes(each for each in ids if each < START).decode(errors="replace")

    def close(self) -> None:
        """Close the model's connections."""
        close = getattr(self._model, "close", None)
        if close:
            close()

    def _one(self, prompt: Sequence[int]) -> Sampled:
        messages, tools = _unpacked(prompt)
        began = time.perf_counter()
        try:
            reply = self._model(messages, tools)
        except (ModelError, BudgetError) as error:
            return failed(error)
        ids = (*_written(reply).encode(errors="replace"), END)
        stop = "refused" if reply.stop in WITHHELD else "length" if reply.stop in CUT else "stop"
        return Sampled(ids, (0.0,) * len(ids), stop, time.perf_counter() - began)  # type: ignore[arg-type]


def failed(error: ModelError | BudgetError) -> Sampled:
    """No reply: the context is full, or the server failed. Raises UsageError for what will not pass by itself."""
    if isinstance(error, BudgetError):
        return Sampled((), (), "context")
    if error.lasting:
        raise UsageError(str(error)) from error
    return Sampled((), (), why=str(error))


def _written(reply: Reply) -> str:
    """The reply as text with its native calls in it."""
    calls = [{"name": call.name, "arguments": call.arguments} for call in reply.calls]
    return "\n".join(filter(None, (reply.text, *(f"<tool_call>{json.dumps(call)}</tool_call>" for call in calls))))


def _packed(table: dict[str, Any]) -> list[int]:
    return [START, *json.dumps(table).encode(), END, REPLY]


def _unpacked(ids: Sequence[int]) -> tuple[list[Message], list[dict[str, Any]]]:
    """The conversation that tokens stand for, and the tools."""
    messages: list[Message] = []
    tools: list[dict[str, Any]] = []
    turn = 0
    for mark, text in _parts(ids):
        if mark == REPLY:
            turn += 1
            messages.append(said(text, "tools" if tools else "text", turn))
        else:
            table = json.loads(text)
            tools = table.get("tools", tools)
            messages += [Message.model_validate_json(json.dumps(each)) for each in table["messages"]]
    return messages, tools


def _parts(ids: Sequence[int]) -> Iterator[tuple[int, str]]:
    """What stands between a mark and the next END."""
    mark, held = 0, bytearray()
    for each in ids:
        if each < START:
            held.append(each)
        elif each == END:
            yield mark, held.decode(errors="replace")
        else:
            mark, held = each, bytearray()


def _tokenizer(folder: str) -> Any:
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of many kinds, each file's reader has its own
        said = " ".join(str(error).split())[:200].rstrip(".")
        raise UsageError(f"transformers cannot load the tokenizer of {folder} ({said}).") from error
