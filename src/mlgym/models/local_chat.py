"""What the engines of local models share: settings, the conversation as templates take it, and what is too long."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import Field

from mlgym.errors import BudgetError
from mlgym.models.openai import sent
from mlgym.records import Message, Record, Reply

Chat = list[dict[str, Any]]


class Settings(Record):
    """How a local model samples, and how much it is given.

    `n_ctx` bounds the window in tokens, `threads` the processors (half of them by default: the sandboxes need some
    too). What `temperature` and `top_p` leave open is decided by the model's own files. With `cache` False each reply
    is the same whatever was asked before it, and slower.
    """

    max_tokens: int = Field(default=1024, gt=0)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    n_ctx: int = Field(default=8192, ge=128)
    threads: int = Field(default_factory=lambda: max(1, (os.cpu_count() or 1) // 2), gt=0)
    cache: bool = True


class Engine(Protocol):
    """A loaded model. `context` is its window in tokens, `native` says whether its template takes tools."""

    context: int
    native: bool

    def answer(self, chat: Chat, tools: Sequence[dict[str, Any]], settings: Settings, seed: int, who: object) -> Reply:
        """The reply to a conversation. What was read for the one before need not be read anew where `who` asked it."""
        ...

    def close(self) -> None:
        """End a reply that is under way, and let the model go."""
        ...


def as_chat(messages: Sequence[Message]) -> Chat:
    """The conversation as chat templates take it: as OpenAI's interface does, but each message with its text."""
    return [{**sent(message), "content": message.content} for message in messages]


def too_long(tokens: int, context: int, name: str) -> BudgetError:
    """The error for a conversation that leaves no room for a reply."""
    return BudgetError(
        f"The conversation of {tokens:,} tokens is too long for the {context:,} of {name}; a smaller react?window=N "
        "keeps less of it.",
        limit="context",
    )
