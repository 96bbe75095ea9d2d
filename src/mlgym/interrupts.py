"""Signals of a grid: the first asks all episodes to stop, a second, or the end of their time, ends at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

GRACE_S = 20.0  # seconds that all together have: with the process's end less than 30
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
GO_ON = 75  # EX_TEMPFAIL: nothing is wrong, and the same command goes on


@dataclass
class Signalled:
    """The signal that came, 0 while none has."""

    number: int = 0

    @property
    def code(self) -> int:
        """The exit code: 128 and the signal, but for SIGUSR1, with which batch systems ask for a pause."""
        return code(self.number)


def code(number: int) -> int:
    """The exit code of a program that a signal has stopped."""
    return GO_ON if number == getattr(signal, "SIGUSR1", -1) else 128 + number


@contextlib.contextmanager
def heard(asked: threading.Event, grace_s: float = GRACE_S) -> Iterator[Signalled]:
    """While open, the first signal sets `asked`; another one, or `grace_s` later, raises KeyboardInterrupt.

    Signals that are ignored stay so (nohup). Outside the main thread nothing is heard.
    """
    told, before = Signalled(), {}
    asked.clear()

    def hear(number: int, frame: object) -> None:
        if told.number:
            raise KeyboardInterrupt
        told.number = number
        asked.set()
        signal.setitimer(signal.ITIMER_REAL, grace_s)

    def late(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        for name, handler in (*((name, hear) for name in NAMES), ("SIGALRM", late)):
            number = getattr(signal, name)
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield told
    finally:
        if before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, old in before.items():
            signal.signal(number, old)
        asked.clear()
