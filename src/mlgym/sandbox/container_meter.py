"""The meter of a container: what its control group says, and the common watch where its processes are seen here."""

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mlgym.errors import SandboxError
from mlgym.sandbox.engine import TITLES, call
from mlgym.sandbox.meter import Meter, watch

if TYPE_CHECKING:
    from mlgym.sandbox import SandboxSpec

ROOT = Path("/sys/fs/cgroup")
LOOK_S, START_S = 0.1, 60.0  # how often, and how long, a container that is starting is looked for


class ContainerMeter:
    """Finds the container once it runs; an engine in a virtual machine shows nothing, and nothing is then said."""

    def __init__(self, program: str, name: str, spec: "SandboxSpec") -> None:
        self.program, self.name, self.spec = program, name, spec
        self.pid, self.seconds = 0, 0.0
        self.inner: Meter | None = None
        self.counted: dict[str, int] = {}
        self.over, self.found = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._find, name="container meter", daemon=True)
        self.thread.start()

    def hit(self) -> str:
        """The bound that was hit since the last call."""
        self.found.wait(START_S)
        self.cpu_s()
        grown = [what for what, count in self._counts().items() if count > self.counted.get(what, 0)]
        self.counted = self._counts()
        return grown[0] if grown else self.inner.hit() if self.inner else ""

    def cpu_s(self) -> float:
        """Processor seconds of all that ever ran in the container; raises SandboxError where a `timed` one has none."""
        if self.spec.timed and not self.over.is_set():
            self.found.wait(START_S)
        if self.spec.timed and not self.pid:
            raise SandboxError(
                f"{TITLES[self.program]} does not show this machine the processor time of its containers."
            )
        if usage := _number(_group(self.pid, "cpuacct") / "cpuacct.usage"):
            self.seconds = max(self.seconds, usage / 1e9)
        elif usage := _counter(_group(self.pid, "") / "cpu.stat", "usage_usec"):
            self.seconds = max(self.seconds, usage / 1e6)
        return self.seconds

    def close(self) -> None:
        """End the watch."""
        self.over.set()
        self.thread.join()
        if self.inner:
            self.cpu_s()
            self.inner.close()

    def _find(self) -> None:
        """Wait until the container runs, and look whether its first process is one of this machine."""
        try:
            for _ in range(int(START_S / LOOK_S)):
                if self.over.wait(LOOK_S):
                    return
                if self._look():
                    return
        finally:
            self.found.set()

    def _look(self) -> bool:
        try:
            state = json.loads(call(self.program, "container", "inspect", self.name))[0]
        except SandboxError:
            return False
        pid = int(state["State"]["Pid"])
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text() if pid else ""
        except OSError:
            groups = ""
        if state["Id"] in groups:  # and not the number of some process here, where the engine is in another machine
            self.pid, self.inner = pid, watch(pid, self.spec)
        return pid > 0

    def _counts(self) -> dict[str, int]:
        """How often each bound was hit so far."""
        memory, processes = _group(self.pid, "memory"), _group(self.pid, "pids")
        killed = _counter(memory / "memory.oom_control", "oom_kill") or _counter(memory / "memory.events", "oom_kill")
        return {"oom": killed, "processes": _counter(processes / "pids.events", "max")}


def _group(pid: int, controller: str) -> Path:
    """The folder of a process's control group: the controller's own (version 1), or that of all."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines() if pid else []
    except OSError:
        lines = []
    groups = {name: path for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
    if controller in groups and controller:
        return ROOT / controller / groups[controller].lstrip("/")
    return ROOT / groups.get("", "none").lstrip("/")


def _counter(file: Path, name: str) -> int:
    """A number from a file of lines `name number`; 0 where there is none."""
    try:
        found = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        return int(found.get(name, 0))
    except (OSError, ValueError):
        return 0


def _number(file: Path) -> int:
    """The one number in a file; 0 where there is none."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
