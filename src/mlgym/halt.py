"""Stopping an episode from outside: asked between its steps, and after a grace its sandbox is ended under it."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from mlgym.errors import Stopped

GRACE_S, LOOK_S = 10.0, 0.5  # seconds that a running step has, and between two looks at whether it must stop


class Ends(Protocol):
    """What can be ended from another thread."""

    def kill(self) -> None:
        """End the sandbox."""
        ...


class Halt:
    """Asks `why` whether the episode must stop; empty: no. Without one it never must, and there is no thread.

    `broke` says why no model may be asked any more. `holds` is what has the sandbox now. As a context it looks by
    itself too, and ends the sandbox of a step that does not end within `grace_s` of the wish.
    """

    def __init__(
        self,
        why: Callable[[], str] | None = None,
        grace_s: float = GRACE_S,
        broke: Callable[[], str] = lambda: "",
    ) -> None:
        self._why, self._grace_s, self._broke = why, grace_s, broke
        self._over, self._refused = threading.Event(), ""
        self.holds: Ends | None = None

    @property
    def asked(self) -> str:
        """Why it must stop, empty while it need not; so it must once a model was refused to it."""
        return self._refused or (self._why() if self._why else "")

    def check(self) -> None:
        """Raises Stopped where the episode must stop."""
        if why := self.asked:
            raise Stopped(why)

    def check_call(self) -> None:
        """Raises Stopped where no model may be asked."""
        self.check()
        self._refused = self._broke()
        self.check()

    def __enter__(self) -> Self:
        if self._why:
            threading.Thread(target=self._look, name="episode halt", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _look(self) -> None:
        since = None
        while not self._over.wait(LOOK_S):
            if not self.asked:
                continue
            since = since or time.monotonic()
            if self.holds and time.monotonic() - since >= self._grace_s:
                self.holds.kill()
