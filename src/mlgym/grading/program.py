"""A Python program of ours in a sandbox, spoken to in frames against the clock."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from mlgym.errors import SandboxError
from mlgym.grading.cpu import tree_s
from mlgym.grading.pipes import Pipes, source
from mlgym.sandbox import ENVIRONMENT, Sandbox, SandboxSpec, launch


class Program(Pipes):
    """A main running in a sandbox of its own, with `memory_mb` of memory. `arguments` are places inside.

    Raises SandboxError when the sandbox does not start.
    """

    def __init__(self, backend: type[Sandbox], spec: SandboxSpec, main: str, arguments: Sequence[str]) -> None:
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
        super().__init__(self._process.stdin.fileno(), self._process.stdout.fileno())

    def hit(self) -> str:
        """The bound of its sandbox that was hit since the last call: "" (none), "oom", "disk" or "processes"."""
        return self._meter.hit()

    def cpu_s(self) -> float:
        """Processor seconds that the program has taken, with everything that it started in its sandbox."""
        return tree_s(self._process.pid) if self._sandbox.system == "host" else self._meter.cpu_s()

    def close(self) -> str:
        """Stop the program and everything in its sandbox; says how it had ended, if it had."""
        try:
            code = self._process.wait(2 if self.gone() else 0)  # an engine cleans up first
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
