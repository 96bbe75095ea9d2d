"""A client of MCP at the other end of this process's standard input and output."""

import contextlib
import json
import threading
from typing import IO

from mlgym.outside.desk import Desk
from mlgym.outside.mcp import answered


class Client:
    """Reads messages, a line each, from `given` in a thread of its own, and writes answers to `out`."""

    def __init__(self, desk: Desk, given: IO[bytes], out: IO[bytes]) -> None:
        self._desk, self._given, self._out = desk, given, out
        self._told = threading.Condition()
        self._busy = False
        threading.Thread(target=self._read, name="client of MCP", daemon=True).start()

    def check(self) -> None:
        """A client is never stopped."""

    def wait(self, seconds: float) -> None:
        """Until what was asked last is answered, at most so long."""
        with self._told:
            self._told.wait_for(lambda: not self._busy, seconds)

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has gone, or this process ends
            while line := self._given.readline():
                self._busy = True
                self._answer(line)
                with self._told:
                    self._busy = False
                    self._told.notify_all()
        self._desk.leave()

    def _answer(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        said = answered(message, self._desk.tools, self._desk.called) if line.strip() else None
        if said is not None:
            self._out.write(json.dumps(said).encode() + b"\n")
            self._out.flush()
