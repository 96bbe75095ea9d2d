"""What watches a started sandbox from the host: which of its bounds was hit, and the processor seconds it took."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlgym.sandbox import trees

if TYPE_CHECKING:
    from mlgym.sandbox import SandboxSpec

STOPPED = {  # what an observation says of each bound, with the figures of the sandbox's limits
    "oom": "[stopped: the sandbox used more than its {memory_mb} MB of memory]",
    "disk": "[stopped: the sandbox used more than its {disk_mb} MB of disk; delete files to go on]",
    "processes": "[refused: the sandbox had as many processes and threads as it may, {processes}]",
}


class Meter(Protocol):
    """The host's watch over one sandbox."""

    def hit(self) -> str:
        """The bound that was hit since the last call: "" (none), "oom", "disk" or "processes"."""

    def cpu_s(self) -> float:
        """Processor seconds of all that ever ran in the sandbox."""

    def close(self) -> None:
        """End the watch; the seconds stay as they were. Safe to call twice."""


class Watch:
    """The meter of a sandbox whose processes are this machine's, below the process `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid, self.seconds = pid, 0.0

    def hit(self) -> str:
        """Nothing yet."""
        return ""

    def cpu_s(self) -> float:
        """The most that was ever seen."""
        found = trees.below(self.pid, trees.processes())
        self.seconds = max(self.seconds, sum(each.cpu_s for each in found))
        return self.seconds

    def close(self) -> None:
        """Look a last time."""
        self.cpu_s()


def watch(pid: int, spec: "SandboxSpec", *folders: Path) -> Meter:
    """Watch over the tree of processes below `pid` (made of a sandbox's `wrap`; nothing of the agent's runs in it yet).

    Beside the workspace, `folders` are those of the host's disk in which the sandbox can write.
    """
    return Watch(pid)
