"""Where what a program asks for waits for the agent's generator: one thing after another, in the order of arrival."""

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from mlgym.agents.budget import left
from mlgym.records import Observation, Reply

OVER = "The episode has ended."


class Refused(Exception):
    """What is answered in place of what was asked for: a status of HTTP, OpenAI's code, and a sentence."""

    def __init__(self, status: int, code: str, why: str) -> None:
        super().__init__(why)
        self.status, self.code = status, code


@dataclass
class Asked:
    """A conversation for the model, or a call of a tool; `answer` gets what came of it."""

    kind: Literal["chat", "tool"]
    given: Any
    answer: "Future[Any]" = field(default_factory=Future)

    def refuse(self, status: int, code: str, why: str) -> None:
        """Answer with why not."""
        self.answer.set_exception(Refused(status, code, why))


class Desk:
    """Asked from many threads, answered by one. `tools` are those of the episode, `model` the name of its model."""

    def __init__(self, tools: tuple[dict[str, Any], ...], model: str) -> None:
        self.tools, self.model = tools, model
        self._queue: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._lock, self._waiting, self._over = threading.Lock(), dict[int, Asked](), False

    def chat(self, body: Any) -> Reply:
        """The model's reply to a request; raises Refused."""
        reply: Reply = self._ask(Asked("chat", body))
        return reply

    def tool(self, name: str, args: dict[str, Any]) -> Observation:
        """What came of a tool call; raises Refused."""
        seen: Observation = self._ask(Asked("tool", (name, args)))
        return seen

    def called(self, name: str, args: dict[str, Any]) -> tuple[str, bool]:
        """The text of a tool call's observation, and whether it failed."""
        try:
            seen = self.tool(name, args)
        except Refused as error:
            return str(error), True
        between = "" if seen.text.endswith("\n") else "\n"
        return f"{seen.text}{between}{left(seen)}".rstrip("\n"), seen.status not in ("ok", "end")

    def leave(self) -> None:
        """Nothing more will be asked: whoever asked has gone."""
        self._queue.put(None)

    def next(self, timeout: float) -> Asked | None:
        """What is asked next, None where whoever asked has gone; raises queue.Empty after so many seconds."""
        return self._queue.get(timeout=timeout)

    def close(self) -> None:
        """Tell whoever asks, from now on, that the episode has ended."""
        with self._lock:
            self._over = True
            waiting = [asked for asked in self._waiting.values() if not asked.answer.done()]
        for asked in waiting:
            asked.refuse(410, "episode_over", OVER)

    def _ask(self, asked: Asked) -> Any:
        with self._lock:
            if self._over:
                raise Refused(410, "episode_over", OVER)
            self._waiting[id(asked)] = asked
        self._queue.put(asked)
        try:
            return asked.answer.result()
        finally:
            with self._lock:
                del self._waiting[id(asked)]
