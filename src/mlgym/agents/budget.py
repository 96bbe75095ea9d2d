"""What an agent has used and has left, and when it must be told to submit."""

from collections.abc import Sequence
from typing import Any

from mlgym.models import Model
from mlgym.records import Brief, Message, Observation, Reply

NEXT = 1.2  # how much dearer than the dearest call so far the next one may be
SECONDS = 0.05  # of all command seconds, below which they are nearly used up


class Account:
    """A model that keeps account of what its calls took: all tokens, and the dearest call in dollars and in tokens."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.tokens = self.most_tokens = 0
        self.most_money = 0.0

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """The model's reply."""
        reply = self._model(messages, tools)
        tokens = reply.tokens_in + reply.tokens_out
        self.tokens += tokens
        self.most_tokens = max(self.most_tokens, tokens)
        self.most_money = max(self.most_money, reply.money or 0.0)
        return reply


class Budget:
    """What is left of an episode's limits. From `warn` steps on, and when another call of the model or the seconds of
    commands may not suffice any more, there is a reason for a last call; 0 tells none.
    """

    def __init__(self, brief: Brief, account: Account, warn: int) -> None:
        self._limits, self._account, self._warn = brief.limits, account, warn

    @property
    def tokens_left(self) -> int | None:
        """Tokens left, None without such a limit."""
        return None if self._limits.tokens is None else max(0, self._limits.tokens - self._account.tokens)

    def left(self, seen: Observation) -> str:
        """What is left, in one line; empty where nothing is limited."""
        return left(seen, self.tokens_left)

    def last(self, seen: Observation) -> str:
        """Why the next action should be the last; empty while there is no reason."""
        if not self._warn:
            return ""
        if seen.steps_left is not None and seen.steps_left <= self._warn:
            return "this is your last step" if seen.steps_left <= 1 else f"only {seen.steps_left} steps are left"
        if seen.money_left is not None and seen.money_left < NEXT * self._account.most_money:
            return "the money is nearly used up, and this may be your last reply"
        if self.tokens_left is not None and self.tokens_left < NEXT * self._account.most_tokens:
            return "the tokens are nearly used up, and this may be your last reply"
        if seen.seconds_left is not None and seen.seconds_left < SECONDS * (self._limits.seconds or 0.0):
            return "the seconds of commands are nearly used up"
        return ""


def left(seen: Observation, tokens: int | None = None) -> str:
    """What is left, `tokens` too where they are limited, in one line; empty where nothing is limited."""
    parts = [
        f"{seen.steps_left} steps" if seen.steps_left is not None else "",
        f"{seen.money_left:.3f} dollars" if seen.money_left is not None else "",
        f"{seen.seconds_left:.0f} seconds of commands" if seen.seconds_left is not None else "",
        f"{tokens:,} tokens" if tokens is not None else "",
    ]
    told = ", ".join(filter(None, parts))
    return f"(Left: {told}.)" if told else ""
