"""A command line running in a sandbox of its own, or on this machine as the user; what it prints is kept."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Self, cast

from mlgym.errors import MlgymError, SandboxError
from mlgym.sandbox import PROXY, Meter, Sandbox, launch
from mlgym.sandbox.served import Served
from mlgym.sandbox.shell import PROXY_PORT

START_S = 30.0
HEAD, TAIL, MOST = 200_000, 200_000, 64_000_000  # bytes of output that are kept, and at which the program is stopped
HERE = Path(__file__).parent


@cache
def first() -> str:
    """The text of the first process of a sandbox; its arguments are the socket's path, the port, the command line."""
    network = (HERE.parent / "sandbox" / "inside_network.py").read_text()
    program = (HERE / "inside_program.py").read_text().replace("from __future__ import annotations", "")
    return f"{network}\n{program}\nimport sys\nstart(sys.argv[1], int(sys.argv[2]), sys.argv[3])"


class Log:
    """The output of a program in a file: its head at once, its tail at the end."""

    def __init__(self, path: Path) -> None:
        self.size, self._tail = 0, bytearray()
        self._file = path.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Add to the output; a disk that is full keeps no more of it."""
        room = max(0, HEAD - self.size)
        self.size += len(data)
        self._tail += data[room:]
        del self._tail[:-TAIL]
        with contextlib.suppress(OSError):
            self._file.write(data[:room])

    def close(self) -> None:
        """Write what is left."""
        left = self.size - HEAD - len(self._tail)
        note = f"\n[... {left} bytes left out ...]\n".encode() if left > 0 else b""
        with contextlib.suppress(OSError), self._file:
            self._file.write(note + self._tail)


class Program:
    """A started program; use it in a `with`, whose end stops it and all that it started.

    `gone` is called from a thread once it has ended. Without a sandbox it runs in the folder `place` with exactly
    these variables, in a process group of its own. Raises SandboxError where the sandbox does not start.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", log: Log, gone: Callable[[], None]) -> None:
        self._process, self._log, self._gone = process, log, gone
        self._stack, self._meter = contextlib.ExitStack(), cast(Meter | None, None)
        self._reader = threading.Thread(target=self._read, name="output of a program", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name="end of a program", daemon=True)

    @classmethod
    def confined(cls, sandbox: Sandbox, line: str, served: Served, log: Log, gone: Callable[[], None]) -> Self:
        """Start it in a sandbox whose `proxy` is the socket of `served`."""
        with contextlib.ExitStack() as undo:
            undo.callback(sandbox.stop)
            sandbox.start()
            try:
                argv = [sandbox.interpreter, "-I", "-S", "-c", first(), PROXY, str(PROXY_PORT), line]
                process = launch(sandbox, argv, stderr=subprocess.STDOUT)
            except OSError as error:
                raise SandboxError(f"The sandbox's program cannot be started: {error}.") from error
            undo.callback(_killed, process)
            meter = sandbox.meter(process.pid)
            undo.callback(meter.close)
            _await(process, served)
            made = cls(process, log, gone)
            made._meter = meter
            made._stack = undo.pop_all()
        return made

    @classmethod
    def free(cls, line: str, place: Path, given: Mapping[str, str], log: Log, gone: Callable[[], None]) -> Self:
        """Start it on this machine, without isolation."""
        process = subprocess.Popen(
            ["/bin/bash", "-c", line],
            cwd=place,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        made = cls(process, log, gone)
        made._stack.callback(_killed, process)
        return made

    def __enter__(self) -> Self:
        self._reader.start()
        self._waiter.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._waiter.join(5)
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe and not self._reader.is_alive():
                pipe.close()

    @property
    def end(self) -> str:
        """How it ended, in a few words."""
        hit = self._meter.hit() if self._meter else ""
        return f"with code {self._process.poll()}" + (f", past a bound of its sandbox ({hit})" if hit else "")

    def check(self) -> None:
        """Raises MlgymError where it must be stopped."""
        if self._log.size > MOST:
            raise MlgymError(f"The program printed more than {MOST} bytes and was stopped.")

    def wait(self, seconds: float) -> None:
        """Give it so long to end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _read(self) -> None:
        assert self._process.stdout
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self._process.stdout.fileno(), 1 << 16):
                self._log.write(data)
                if self._log.size > MOST:
                    return

    def _wait(self) -> None:
        self._process.wait()
        self._reader.join(1)
        self._gone()


def _await(process: "subprocess.Popen[bytes]", served: Served) -> None:
    """Wait until the host's address is there; raises SandboxError."""
    end = time.monotonic() + START_S
    while not served.handed.wait(0.02):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            assert process.stdin and process.stdout
            said = " ".join(process.stdout.read(2000).decode(errors="replace").split())
            process.stdin.close()
            process.stdout.close()
            raise SandboxError(f"The program's sandbox did not start{': ' + said if said else ''}.")


def _killed(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # it was made a group's leader
    process.wait()
