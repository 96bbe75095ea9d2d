"""Retried: asks a model again after a passing failure, with growing pauses that end when the episode must stop."""

import os
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlgym.errors import ModelError, ToolsRefused
from mlgym.models.endpoint import seconds
from mlgym.records import Message, Reply

if TYPE_CHECKING:
    from mlgym.models import Model

PAUSE = "MLGYM_MODEL_PAUSE"
TRIES = 5
LONGEST_S = 20.0  # of one pause that the provider did not ask for
TOGETHER_S = 120.0  # after which no call is tried again: what is down for longer the run itself tries later
LOOK_S = 0.25


class Retried:
    """A model that makes a call of another one up to `tries` times, while its failures may pass.

    The first pause is a second (`MLGYM_MODEL_PAUSE`), each later one twice as long, less up to a half by chance so that
    not all episodes come back at once; where the provider says how long to wait, that long. A pause that would end more
    than TOGETHER_S after the call began is not made: the failure is raised. `check` is called before each further try
    and during the pauses; what it raises ends them.
    """

    def __init__(self, model: "Model") -> None:
        self.check: Callable[[], None] = lambda: None
        self.tries = TRIES
        self._model = model
        self._first_s = seconds(PAUSE, 1.0)
        self._luck = random.Random(f"{os.getpid()} {id(self)}")

    @property
    def context(self) -> int | None:
        """The model's window in tokens, None where nobody tells."""
        return getattr(self._model, "context", None)

    @property
    def native(self) -> bool | None:
        """Whether the model takes native tool calls, None where nobody tells."""
        return getattr(self._model, "native", None)

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """The model's reply; raises its last failure where it has none."""
        ends, pause, tried = time.monotonic() + TOGETHER_S, self._first_s, 0
        while True:
            tried += 1
            try:
                return self._model(messages, tools)
            except ToolsRefused:
                raise
            except ModelError as error:
                wait = pause * self._luck.uniform(0.5, 1.0) if error.after is None else error.after
                if error.lasting or tried >= self.tries or time.monotonic() + wait > ends:
                    raise
            self._sleep(wait)
            pause = min(2 * pause, LONGEST_S)

    def close(self) -> None:
        """Close the model's connections, if it has any."""
        close = getattr(self._model, "close", None)
        if close:
            close()

    def _sleep(self, wait: float) -> None:
        ends = time.monotonic() + wait
        self.check()
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_S))
            self.check()
