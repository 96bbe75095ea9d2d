"""A program spoken to in frames through two pipes, against the clock; and the text of one. Standard library only.

A verifier of another house gets a copy of this file (`adapters.harbor`).
"""

import os
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlgym.grading import frames

CHUNK = 1 << 20
# A module in sys.modules is found without its parents: mlgym itself is nowhere inside.
LOADER = """
import sys, types
frames = sys.modules["mlgym.grading.frames"] = types.ModuleType("mlgym.grading.frames")
exec(compile({frames!r}, "<frames>", "exec"), frames.__dict__)
del frames, types
exec(compile({main!r}, "<main>", "exec"))
"""


def source(main: str) -> str:
    """The text of a main of this folder and of `frames`, as one program that needs no file inside."""
    here = Path(__file__).parent
    return LOADER.format(frames=(here / "frames.py").read_text(), main=(here / main).read_text())


class Pipes:
    """The two descriptors of a program: frames are written to `_in` and read from `_out`.

    `send` and `receive` raise TimeoutError when the deadline (of time.monotonic) has passed, EOFError when the program
    has gone, FrameError when it sent nonsense.
    """

    def __init__(self, to: int, out: int) -> None:
        self._buffer = bytearray()
        self._deadline = 0.0
        self._in, self._out = to, out
        os.set_blocking(to, False)
        os.set_blocking(out, False)

    def send(self, header: Mapping[str, Any], blobs: Sequence[bytes], deadline: float) -> None:
        """Write a frame."""
        self._deadline = deadline
        left = memoryview(frames.write_frame(header, blobs))
        while left:
            self._wait(self._in, select.POLLOUT)
            try:
                left = left[os.write(self._in, left[:CHUNK]) :]
            except BrokenPipeError:
                raise EOFError from None
            except BlockingIOError:
                continue

    def receive(self, max_bytes: int, deadline: float) -> tuple[dict[str, Any], list[bytes]]:
        """Read a frame with at most `max_bytes` of blobs."""
        self._deadline = deadline
        return frames.read_frame(self, max_bytes)

    def readline(self, limit: int) -> bytes:
        """A line with its end, or `limit` bytes."""
        while (end := self._buffer.find(b"\n", 0, limit)) < 0 and len(self._buffer) < limit:
            self._fill()
        return self._take(end + 1 if end >= 0 else limit)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        while len(self._buffer) < size:
            self._fill()
        return self._take(size)

    def gone(self) -> bool:
        """Whether the program has closed its end."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> None:
        self._wait(self._out, select.POLLIN)
        try:
            got = os.read(self._out, CHUNK)
        except BlockingIOError:
            return
        if not got:
            raise EOFError
        self._buffer += got

    def _wait(self, fd: int, event: int) -> None:
        left = self._deadline - time.monotonic()
        poll = select.poll()
        poll.register(fd, event)
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
