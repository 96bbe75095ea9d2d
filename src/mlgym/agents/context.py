"""A conversation that is kept within the model's window, by one of three policies.

`last` leaves the last observations whole and of older ones the ends; `cut` drops the oldest turns; `summarise` has the
model write a summary that takes their place. What is sent changes in jumps, so that its beginning stays the same for
several calls, as caches of providers want it.
"""

import json
from collections.abc import Sequence
from typing import Any

from mlgym.agents.prompts import Prompts, middle_out
from mlgym.agents.written import thinking
from mlgym.errors import BudgetError
from mlgym.models import Model
from mlgym.records import Message, Reply, ToolCall

POLICIES = ("last", "summarise", "cut")
LONGEST, OLD, SHORTEST = 20_000, 1_000, 500  # characters of an observation: at most, when old, when there is no room
CHARACTERS = 3  # of a token, where the provider has not counted
ROOM = 0.8  # of the window for what is sent; the rest is for the reply
EACH, KEPT, JUMP = 1 / 6, 0.3, 0.6  # of that room: for one observation, for what is not summarised, after a cut
AGAIN = 2  # times that a conversation which was too long is made shorter and sent again


class Conversation:
    """What was said so far. `tokens` are those of the model's window, None where unknown: then the provider's word that
    it was too long teaches them.
    """

    def __init__(
        self, head: Sequence[Message], words: Prompts, *, policy: str, window: int, tokens: int | None
    ) -> None:
        self._head, self._words, self._policy, self._window = list(head), words, policy, window
        self._turns: list[list[Message]] = []
        self._summary, self._dropped = "", False  # of turns that are gone, and whether some are gone without one
        self._room, self._longest = 0, LONGEST  # tokens for what is sent (0: no bound), characters of an observation
        if tokens:
            self._bound(int(tokens * ROOM))
        self._counted: tuple[int, int] = (0, 0)  # characters of the last call, and tokens as the provider counted them

    def add(self, said: Message) -> None:
        """Begin a turn with what the model said."""
        self._turns.append([said])

    def answer(self, text: str, id: str | None = None) -> None:
        """What came of it: the result of the native call `id`, or text, which is joined to text before it."""
        turn = self._turns[-1]
        if id is not None:
            turn.append(Message(role="tool", content=text, id=id))
        elif turn[-1].role == "user":
            turn[-1] = _longer(turn[-1], text)
        else:
            turn.append(Message(role="user", content=text))

    def in_text(self, head: Sequence[Message]) -> None:
        """Go on with text alone, below another head: calls so far become blocks, and their results the user's words."""
        turns, self._head, self._turns, self._counted = self._turns, list(head), [], (0, 0)
        for said, *answers in turns:
            self.add(
                Message(role="assistant", content="\n".join(filter(None, [said.content, *map(_block, said.calls)])))
            )
            for answer in answers:
                self.answer(answer.content)

    def ask(self, model: Model, tools: Sequence[dict[str, Any]]) -> Reply:
        """The model's reply to what fits its window.

        Raises BudgetError "context" where it stays too long for the provider however much is left out.
        """
        for again in range(AGAIN + 1):
            self._fit(model, tools)
            messages = self.messages()
            try:
                reply = model(messages, tools)
            except BudgetError as error:
                if error.limit != "context" or again == AGAIN:
                    raise
                tokens = self._tokens(messages, tools)
                self._bound(min(self._room or tokens, tokens) * 3 // 4)
            else:
                self._counted = (_size(messages, tools), reply.tokens_in)
                return reply
        raise AssertionError

    def _bound(self, room: int) -> None:
        self._room = max(1, room)
        self._longest = max(SHORTEST, min(self._longest, int(self._room * EACH * CHARACTERS)))

    def messages(self) -> list[Message]:
        """What is sent."""
        return [*self._opening(), *self._shown(self._turns)]

    def _opening(self) -> list[Message]:
        """The head; what stands for the turns that are gone is the end of its last message."""
        *before, task = self._head
        notes = [self._words("summary", text=self._summary)] if self._summary else []
        notes += [self._words("turns_cut")] if self._dropped else []
        return [*before, _longer(task, *notes)]

    def _shown(self, turns: Sequence[Sequence[Message]]) -> list[Message]:
        """The turns with their observations cut: the older ones, by policy `last`, to their ends."""
        answers = sum(len(turn) - 1 for turn in turns)
        jump = max(1, self._window)
        old = max(0, (answers - self._window) // jump * jump) if self._policy == "last" else 0
        out: list[Message] = []
        for said, *answered in turns:
            out.append(said)
            for message in answered:
                out.append(self._cut(message, old > 0))
                old -= 1
        return out

    def _cut(self, message: Message, old: bool) -> Message:
        most = min(OLD, self._longest) if old else self._longest
        name = "left_out_old" if old else "left_out"
        text = middle_out(message.content, most, lambda count: self._words(name, count=count))
        return message if text is message.content else message.changed(content=text)

    def _fit(self, model: Model, tools: Sequence[dict[str, Any]]) -> None:
        """Make it shorter where it would not fit: by the policy, then without the oldest turns, then by more cuts."""
        if self._fits(tools):
            return
        if self._policy == "summarise":
            self._summarise(model, tools)
        while self._policy == "last" and self._window > 1 and not self._fits(tools):
            self._window //= 2
        if not self._fits(tools):
            while len(self._turns) > 1 and not self._fits(tools, JUMP):
                self._turns.pop(0)
                self._dropped = True
        while self._longest > SHORTEST and not self._fits(tools):
            self._longest = max(SHORTEST, self._longest // 2)

    def _summarise(self, model: Model, tools: Sequence[dict[str, Any]]) -> None:
        """Have the model write a summary of all turns but the newest, and put it in their place, if it writes one."""
        kept = 1
        while kept < len(self._turns) and self._tokens(self._shown(self._turns[-kept - 1 :]), ()) < self._room * KEPT:
            kept += 1
        older = self._turns[:-kept]
        if not older:
            return
        *request, last = [*self._opening(), *self._shown(older)]
        ask = self._words("summarise")
        request += [_longer(last, ask)] if last.role == "user" else [last, Message(role="user", content=ask)]
        try:
            reply = model(request, tools)
        except BudgetError as error:
            if error.limit != "context":
                raise
            return
        if text := thinking(reply.text)[1].strip():
            text = middle_out(text, int(self._room * KEPT * CHARACTERS))
            self._turns, self._summary, self._dropped = self._turns[-kept:], text, False

    def _fits(self, tools: Sequence[dict[str, Any]], share: float = 1.0) -> bool:
        return not self._room or self._tokens(self.messages(), tools) <= self._room * share

    def _tokens(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> int:
        """About how many tokens these are, by what the provider counted in the last call."""
        size, (before, counted) = _size(messages, tools), self._counted
        if not counted:
            return size // CHARACTERS
        return counted + (size - before) // CHARACTERS if size > before else counted * size // before


def _size(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> int:
    """Characters of a conversation, with its calls, the provider's own blocks and the tools."""
    calls = sum(len(call.name) + len(call.arguments) for message in messages for call in message.calls)
    own = sum(len(json.dumps(message.extra)) for message in messages if message.extra)
    return sum(len(message.content) for message in messages) + calls + own + len(json.dumps([*tools]))


def _block(call: ToolCall) -> str:
    """A call as the text protocol has it: a command, or an object with the tool's name."""
    try:
        command = str(json.loads(call.arguments)["command"]) if call.name == "bash" else ""
    except (ValueError, LookupError, TypeError):
        command = ""
    whole = f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments or "{}"}}}'
    return f"```\n{command or whole}\n```"


def _longer(message: Message, *more: str) -> Message:
    return message.changed(content="\n\n".join([message.content, *more])) if more else message
