"""A Python program of ours in a sandbox, spoken to in frames against the clock."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlgym.errors import SandboxError
from mlgym.grading import frames
from mlgym.grading.cpu import tree_s
from mlgym.sandbox import ENVIRONMENT, Sandbox, SandboxSpec, launch

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


class Program:
    """A main running in a sandbox of its own, with `memory_mb` of memory. `arguments` are places inside.

    `send` and `receive` raise TimeoutError when the deadline (of time.monotonic) has passed, EOFError when the program
    has gone, FrameError when it sent nonsense. Raises SandboxError when the sandbox does not start.
    """

    def __init__(self, backend: type[Sandbox], spec: SandboxSpec, main: str, arguments: Sequence[str]) -> None:
        self._buffer = bytearray()
        self._deadline = 0.0
        self.memory_mb = spec.limits.memory_mb
        self._sandbox = backend(spec)
        self._sandbox.start()
        try:
            python, *places = map(self._sandbox.inside, [f"{ENVIRONMENT}/bin/python", *arguments])
            self._process = launch(self._sandbox, [python, "-P", "-s", "-B", "-c", source(main), *places])
            self._meter = self._sandbox.meter(self._process.pid)
        except OSError as error:
            self._sandbox.stop()
            raise SandboxError(f"The sandbox's program cannot be started: {error}.") from error
        except BaseException:
            self._sandbox.stop()
            raise
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

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

    def hit(self) -> str:
        """The bound of its sandbox that was hit since the last call: "" (none), "oom", "disk" or "processes"."""
        return self._meter.hit()

    def cpu_s(self) -> float:
        """Processor seconds that the program has taken, with everything that it started in its sandbox."""
        return tree_s(self._process.pid) if self._sandbox.system == "host" else self._meter.cpu_s()

    def close(self) -> str:
        """Stop the program and everything in its sandbox; says how it had ended, if it had."""
        try:
            code = self._process.wait(2 if self._gone() else 0)  # an engine cleans up first
            how = f"with code {code}" if code >= 0 else f"by signal {-code}"
        except subprocess.TimeoutExpired:
            how = ""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # `launch` made it a group's leader
        self._process.wait()
        self._meter.close()
        self._sandbox.stop()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        return how

    def _gone(self) -> bool:
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
