"""The meter of a container: the common watch, over the control group and the processes that the engine has made."""

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mlgym.errors import SandboxError
from mlgym.sandbox import trees
from mlgym.sandbox.cgroups import Group
from mlgym.sandbox.engine import TITLES, call
from mlgym.sandbox.meter import Meter, watch

if TYPE_CHECKING:
    from mlgym.sandbox import SandboxSpec

LOOK_S, START_S = 0.1, 60.0  # how often, and how long, a container that is starting is looked for


class ContainerMeter:
    """Finds the container once it runs; `pid` is the program that speaks for it.

    Of an engine in another machine nothing is seen, and nothing is said then.
    """

    def __init__(self, program: str, name: str, spec: "SandboxSpec", pid: int) -> None:
        self.program, self.name, self.spec, self.pid = program, name, spec, pid
        self.inner: Meter | None = None
        self.over, self.found = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._find, name="container meter", daemon=True)
        self.thread.start()

    def hit(self) -> str:
        """The bound that was hit since the last call."""
        self.found.wait(START_S)
        self.cpu_s()  # the group goes with the container
        return self.inner.hit() if self.inner else ""

    def cpu_s(self) -> float:
        """Processor seconds of all that ever ran in the container; raises SandboxError where a `timed` one has none."""
        if self.spec.timed and not self.over.is_set():
            self.found.wait(START_S)
        if self.inner:
            return self.inner.cpu_s()
        if self.spec.timed:
            title = TITLES[self.program]
            raise SandboxError(f"{title} does not show this machine the processor time of its containers.")
        return 0.0

    def close(self) -> None:
        """End the watch."""
        self.over.set()
        self.thread.join()
        if self.inner:
            self.inner.close()

    def _find(self) -> None:
        try:
            for _ in range(int(START_S / LOOK_S)):
                if self.over.wait(LOOK_S) or self._look() or trees.look(self.pid) is None:
                    return
        finally:
            self.found.set()

    def _look(self) -> bool:
        """Whether the container runs; its first process is watched where it is one of this machine."""
        try:
            state = json.loads(call(self.program, "container", "inspect", self.name))[0]
        except SandboxError:
            return False
        pid = int(state["State"]["Pid"])
        try:
            seen = state["Id"] in Path(f"/proc/{pid}/cgroup").read_text()  # and not some other process of that number
        except OSError:
            seen = False
        if pid and seen and (group := Group.of(pid, self.spec.limits)):
            self.inner = watch(pid, self.spec, group=group)
        return pid > 0
