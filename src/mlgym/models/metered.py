"""Metered: counts tokens and dollars of a model, stops at the limits, records each reply, and plays recorded ones."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlgym.errors import BudgetError, MlgymError, ModelError, ToolsRefused, Unanswerable, UsageError
from mlgym.models.retried import Retried
from mlgym.records import Cost, Limits, Message, Reply

if TYPE_CHECKING:
    from mlgym.models import Model

REFUSED, TOO_LONG = "tools_refused", "too_long"
PLAIN = (Message(role="user", content="Answer with the word yes."),)
OnCall = Callable[[Sequence[Message], Sequence[dict[str, Any]], Reply], None]
OnFacts = Callable[[dict[str, Any]], None]


class Metered:
    """A model that keeps account of another one; `cost` is what was used so far.

    Recorded replies in `replay` are played first: counted like fresh ones, but neither asked for nor told to
    `on_call`. A refusal of native tools is a reply whose `stop` is "tools_refused", that of a conversation which is too
    long one whose `stop` is "too_long"; both are raised again in a replay. Where it fails on a conversation that has
    the agent's words in it, a plain question shows whether they are to blame: then Unanswerable is raised.
    What is known of the model (`context`, `native`) is found out once, at the first fresh call or when it is asked for,
    and told to `on_facts`; recorded `facts` take the place of that.
    """

    def __init__(
        self,
        model: "Model",
        limits: Limits,
        *,
        replay: Iterable[Reply] = (),
        on_call: OnCall | None = None,
        facts: Mapping[str, Any] | None = None,
        on_facts: OnFacts | None = None,
    ) -> None:
        self.cost = Cost()
        self.closed = ""  # why only recorded replies may be given now, a sentence
        self.before: Callable[[], None] = lambda: None  # called before a fresh call, which what it raises prevents
        self.doubts = False  # whether the first call too is the agent's own words
        self._model = model
        self._limits = limits
        self._replay = deque(replay)
        self._on_call = on_call
        self._facts, self._on_facts = facts, on_facts

    @property
    def context(self) -> int | None:
        """The model's window in tokens, None where nobody tells."""
        found = self._known().get("context")
        return found if isinstance(found, int) else None

    @property
    def native(self) -> bool | None:
        """Whether the model takes native tool calls, None where nobody tells."""
        found = self._known().get("native")
        return found if isinstance(found, bool) else None

    @property
    def money_left(self) -> float | None:
        """Dollars left of the limit; None without a limit or with an unknown price."""
        if self._limits.money is None or self.cost.money is None:
            return None
        return max(0.0, self._limits.money - self.cost.money)

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """The next recorded reply, else the model's, told to `on_call` before it is returned.

        Raises BudgetError (its `limit` is "money" or "tokens") when a limit was reached by the calls before.
        """
        self._check()
        if self._replay:
            reply = self._replay.popleft()
        elif self.closed:
            raise UsageError(self.closed)
        else:
            self.before()
            reply = self._ask(messages, tools)
            self._known()  # after the call: a server that loads its models when asked tells more of them then
            if self._on_call:
                self._on_call(messages, tools, reply)
        self._count(reply)
        if reply.stop == REFUSED:
            raise ToolsRefused(reply.text)
        if reply.stop == TOO_LONG:
            raise BudgetError(reply.text, limit="context")
        return reply

    def drain(self) -> None:
        """Count the recorded replies that were not asked for again."""
        while self._replay:
            self._count(self._replay.popleft())

    def close(self) -> None:
        """Close the model's connections, if it has any."""
        close = getattr(self._model, "close", None)
        if close:
            close()

    def _known(self) -> Mapping[str, Any]:
        if self._facts is None:
            told = {key: getattr(self._model, key, None) for key in ("context", "native")}
            if self._on_facts:
                self._on_facts(told)
            self._facts = told
        return self._facts

    def _ask(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        if isinstance(self._model, Retried):
            self._model.check = self.before
        if hasattr(self._model, "number"):  # its luck is that of the call
            self._model.number = self.cost.calls
        began = time.monotonic()
        try:
            reply = self._answer(messages, tools)
        except ToolsRefused as error:
            reply = Reply(text=str(error), stop=REFUSED)
        except BudgetError as error:
            if error.limit != "context":
                raise
            reply = Reply(text=str(error), stop=TOO_LONG)
        return reply.model_copy(update={"seconds": time.monotonic() - began})

    def _answer(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """The model's reply; a failure that may pass counts against the conversation if it comes again after the plain
        question was answered.
        """
        try:
            return self._called(messages, tools)
        except ModelError as error:
            if not error.doubtful or not (self.doubts or self.cost.calls) or not self._answers():
                raise
            failed = error
        if not failed.lasting:
            try:
                return self._called(messages, tools)
            except ModelError as error:
                if not error.doubtful:
                    raise
        why = f"The model answers a plain question, but not what the agent sent: {failed}"
        raise Unanswerable(why, lasting=True) from failed

    def _answers(self) -> bool:
        """Whether the model answers a plain question, which is not recorded."""
        try:
            self._called(PLAIN, ())
        except (ModelError, BudgetError):
            return False
        return True

    def _called(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        try:
            reply = self._model(messages, tools)
        except MlgymError:
            raise
        except Exception as error:
            what = f"The model's client failed ({type(error).__name__}: {error})."
            raise ModelError(what, doubtful=True) from error
        if min(reply.tokens_in, reply.tokens_out) < 0 or not 0 <= (reply.money or 0.0) < math.inf:  # also for NaN
            told = f"{reply.tokens_in} and {reply.tokens_out} tokens, {reply.money} dollars"
            raise ModelError(f"The model's provider told a use that no limit could be held by: {told}.")
        return reply

    def _count(self, reply: Reply) -> None:
        cost = self.cost
        known = cost.money is not None and reply.money is not None
        self.cost = cost.model_copy(
            update={
                "money": (cost.money or 0.0) + (reply.money or 0.0) if known else None,
                "tokens_in": cost.tokens_in + reply.tokens_in,
                "tokens_out": cost.tokens_out + reply.tokens_out,
                "tokens_cached": cost.tokens_cached + reply.tokens_cached,
                "calls": cost.calls + 1,
                "model_s": cost.model_s + reply.seconds,
            }
        )

    def _check(self) -> None:
        limits, cost = self._limits, self.cost
        if limits.money is not None and cost.money is not None and cost.money >= limits.money:
            raise BudgetError(f"The episode's {limits.money:.2f} dollars are used up.", limit="money")
        if limits.money is not None and cost.money is None and limits.tokens is None:
            kept = f"the limit of {limits.money:.2f} dollars cannot be kept"
            raise BudgetError(f"A reply came without its price, so {kept}.", limit="money")
        if limits.tokens is not None and cost.tokens_in + cost.tokens_out >= limits.tokens:
            raise BudgetError(f"The episode's {limits.tokens:,} tokens are used up.", limit="tokens")
