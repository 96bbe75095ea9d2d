"""What watches a started sandbox from the host: which of its bounds was hit, and the processor seconds it took."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlgym.sandbox import trees
from mlgym.sandbox.cgroups import Group
from mlgym.sandbox.watch_disk import Disk
from mlgym.sandbox.watch_memory import Memory
from mlgym.sandbox.watchdog import dog

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
    """The meter of a sandbox whose processes are this machine's: a control group where it has one, and the watchdog."""

    def __init__(
        self, pid: int, spec: "SandboxSpec", group: Group | None, folders: Sequence[Path], temporary: Sequence[str]
    ) -> None:
        self._pid, self._group = pid, group
        self._struck: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._cpu_s, self._closed = 0.0, False
        places = {folder.resolve() for folder in (spec.folder, *folders)}
        outer = [place for place in places if not places & set(place.parents)]
        self._disk = Disk(pid, spec.limits, outer, self._struck)
        self._memory = None if group else Memory(pid, spec.limits, temporary, self._struck)
        dog().add(self._disk, *([self._memory] if self._memory else []))

    def hit(self) -> str:
        """The first by name of the bounds that were hit; the others are forgotten with it."""
        if self._group:
            self._struck["oom"], self._struck["processes"] = self._group.ooms(), self._group.refusals()
        new = [name for name in STOPPED if self._struck[name] > self._seen[name]]
        self._seen = Counter(self._struck)
        return new[0] if new else ""

    def cpu_s(self) -> float:
        """As the group counts it, else the most that was ever seen of the living and of those they waited for."""
        if self._memory and not self._closed:
            found = trees.below(self._pid, trees.processes())
            self._cpu_s = max(self._cpu_s, self._memory.cpu_s, sum(each.cpu_s for each in found))
        elif self._group:
            self._cpu_s = max(self._cpu_s, self._group.cpu_s())
        return self._cpu_s

    def close(self) -> None:
        """Take the last figures; the group is the sandbox's to remove."""
        dog().remove(self._disk, *([self._memory] if self._memory else []))
        self._disk.close()
        self._closed = True
        self.cpu_s()


def watch(
    pid: int, spec: "SandboxSpec", *folders: Path, group: Group | None = None, temporary: Sequence[str] = ()
) -> Meter:
    """Watch over the tree of processes below `pid` (made of a sandbox's `wrap`; nothing of the agent's runs in it yet).

    Beside the workspace, `folders` are those of the host's disk in which the sandbox can write. `group` is the one that
    it was started in; without, the watchdog bounds memory and counts processes, and what lies in the sandbox's own
    file systems in memory, at the places `temporary`, counts as well.
    """
    return Watch(pid, spec, group, folders, temporary)
