"""One short call with one tool before the first episode of a model: is it there, with this key and with tool calls."""

import difflib
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, NamedTuple

from mlgym.errors import ModelError, ToolsRefused
from mlgym.models import Metered, load
from mlgym.models.endpoint import LITELLM, LOCAL, endpoint, priced, served
from mlgym.models.facts import facts
from mlgym.models.prices import FREE, TOLD
from mlgym.models.retried import Retried
from mlgym.records import EpisodeSpec, Limits, Message, Reply

MOST_TOKENS = 300
TRIES = 2
NAMES = 8
ASK = (Message(role="user", content="Call the tool `ready` once, and write nothing else."),)
TOOL = {
    "type": "function",
    "function": {
        "name": "ready",
        "description": "Say that you are ready.",
        "parameters": {"type": "object", "properties": {}},
    },
}
_BOUNDS = ("max_tokens", "max_completion_tokens", "thinking", "reasoning", "reasoning_effort")


class Found(NamedTuple):
    """What the call told. `native` is None where the model was given the tool and did not call it."""

    name: str
    native: bool | None
    context: int | None
    seconds: float
    reply: Reply | None

    @property
    def line(self) -> str:
        """All of it in a sentence."""
        tools = {True: "native tool calls", False: "no native tool calls (text instead)", None: "did not call the tool"}
        answered = f"{self.name} answers in {self.seconds:.1f} s" if self.reply else f"{self.name} is there"
        parts = [answered, tools[self.native], f"{self.context:,} tokens of context" if self.context else ""]
        reply = self.reply
        if reply and reply.model not in ("", self.name.partition("/")[2]):
            parts.append(f"as {reply.model}")
        if reply and reply.upstream:
            parts.append(f"served by {reply.upstream}{', which the router chose' * reply.unpinned}")
        if reply and reply.money:
            parts.append(f"the call cost {reply.money:.5f} dollars")
        return ", ".join(filter(None, parts)) + "."


def reached(specs: Iterable[EpisodeSpec]) -> dict[str, EpisodeSpec]:
    """The models of episodes that are reached over a network, with one episode of each, by address and settings."""
    named = (spec for spec in specs if _remote(spec.model))
    return {repr((spec.model, spec.base_url, sorted(spec.sampling.items()))): spec for spec in named}


def _remote(name: str) -> bool:
    return served(name) and not name.startswith(f"{LOCAL}/")


def trial(name: str, base_url: str = "", sampling: Mapping[str, Any] | None = None) -> Found:
    """Make the call. Raises UsageError where the model cannot be loaded, ModelError where it does not answer; where its
    name is not among those that are served, the error names these, the nearest first.
    """
    settings = dict(sampling or {})
    if _remote(name) and not any(key in settings for key in _BOUNDS):
        openai = name.startswith("openai/") and endpoint(name, base_url).usual  # the others know the older name
        settings["max_completion_tokens" if openai else "max_tokens"] = MOST_TOKENS
    model = load(name, base_url=base_url, sampling=settings)
    if isinstance(model, Retried):
        model.tries = TRIES
    reply, began = None, time.monotonic()
    with closing(Metered(model, Limits())) as asked:
        try:
            reply = asked(ASK, [TOOL])
        except ToolsRefused:
            pass
        except ModelError as error:
            names = _served(name, base_url) if getattr(error.__cause__, "status_code", 0) in (400, 404) else ""
            if not names:
                raise
            raise ModelError(f"{str(error).rstrip('.')}; served there: {names}.", lasting=True) from error
        context = asked.context
    native = False if reply is None else True if reply.calls else None
    return Found(name, native, context, time.monotonic() - began, reply)


def _served(name: str, base_url: str) -> str:
    """The names that are served, the nearest first, where this one is not among them."""
    if not _remote(name) or name.startswith(f"{LITELLM}/"):
        return ""
    place = endpoint(name, base_url)
    names = facts(place).names or ()
    if place.model in names:
        return ""
    close = difflib.get_close_matches(place.model, names, n=NAMES, cutoff=0.0)
    return ", ".join(close) + (f" and {len(names) - len(close)} more" if len(names) > len(close) else "")


def cost(name: str, base_url: str = "") -> str:
    """What a model costs, in words."""
    price = priced(name, base_url) if served(name) else FREE
    if price is None:
        return "unknown"
    if price == TOLD:
        return "told with each answer"
    if price.free:
        return "nothing"
    cached = f", {price.cached:g} read from the cache" if price.cached is not None else ""
    return f"{price.sent:g} dollars a million tokens sent{cached}, {price.received:g} received"
