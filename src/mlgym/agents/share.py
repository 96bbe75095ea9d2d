"""A part of an episode's budget, kept to by an agent that is told of no other."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from mlgym.errors import BudgetError
from mlgym.models import Model
from mlgym.records import Limits, Message, Observation, Reply

N = TypeVar("N", int, float)


class Share:
    """The part of the budget `whole` that a try has, its `limits`; to the agent it is a model that keeps to them."""

    def __init__(self, model: Model | None, whole: Limits) -> None:
        self.limits = whole
        self._model, self._whole = model, whole
        self._tokens, self._money = 0, 0.0  # of all tries, and of this one
        self._last_token = math.inf
        self._first = Observation(text="")

    def __getattr__(self, name: str) -> Any:
        """What else is known of the model, such as its window."""
        return getattr(self._model, name)

    def begin(self, left: Observation, tries: int) -> bool:
        """Give a try its part of what is left to so many `tries`; False where that is nothing.

        One step is kept for the end, and one of each try to validate what it leaves.
        """
        tokens = None if self._whole.tokens is None else max(0, self._whole.tokens - self._tokens) // tries
        self._first, self._money = left, 0.0
        self._last_token = math.inf if tokens is None else self._tokens + tokens
        self.limits = self._whole.changed(
            steps=None if left.steps_left is None else (left.steps_left - 1) // tries - 1,
            seconds=None if left.seconds_left is None else left.seconds_left / tries,
            money=None if left.money_left is None else left.money_left / tries,
            tokens=tokens,
        )
        parts = (self.limits.steps, self.limits.seconds, self.limits.money, tokens)
        return all(part is None or part > 0 for part in parts)

    def seen(self, seen: Observation) -> Observation:
        """An observation as the try is shown it, with what is left to the try."""
        first = self._first
        return seen.changed(
            steps_left=_left(self.limits.steps, first.steps_left, seen.steps_left),
            seconds_left=_left(self.limits.seconds, first.seconds_left, seen.seconds_left),
            money_left=_left(self.limits.money, first.money_left, seen.money_left),
        )

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """The model's reply; raises BudgetError where this try's part of dollars or tokens is used up."""
        assert self._model
        if self.limits.money is not None and self._money >= self.limits.money:
            raise BudgetError(f"The {self.limits.money:.2f} dollars of this try are used up.", "money")
        if self._tokens >= self._last_token:
            raise BudgetError(f"The {self.limits.tokens:,} tokens of this try are used up.", "tokens")
        reply = self._model(messages, tools)
        self._tokens += reply.tokens_in + reply.tokens_out
        self._money += reply.money or 0.0
        return reply


def _left(part: N | None, first: N | None, now: N | None) -> N | None:
    """What is left of a part; None without a limit."""
    if part is None or first is None or now is None:
        return None
    left = part - (first - now)
    return left if left > 0 else part - part
