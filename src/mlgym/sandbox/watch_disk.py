"""What one sandbox has on the host's disk, held to its bound: nothing warns a folder that it is full."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlgym.sandbox import measure, trees
from mlgym.sandbox.trees import Process
from mlgym.sandbox.victims import end, first, others

if TYPE_CHECKING:
    from mlgym.sandbox import SandboxLimits

MB = 1 << 20
REGULAR = 5.0  # seconds after which it is measured though the free space has not moved far
SLACK = 8 * MB  # what a sandbox over its bound may still write unnoticed
TRIES = 3
GROWTH = 0.05  # seconds in which the writers are told from the others
OPEN = 10  # every so many measurings also look for deleted files that are open, though no space seems to be missing


class Disk:
    """The folders of one sandbox. Over its bound, whatever makes it grow further is ended and the rest goes on, so
    that files can be deleted. `struck` counts "disk".
    """

    def __init__(self, pid: int, limits: "SandboxLimits", folders: Sequence[Path], struck: Counter[str]) -> None:
        self.pid, self.folders, self.struck = pid, folders, struck
        self.bound = limits.disk_mb * MB
        self.least = 0  # the least that there was since it is too much
        self.used = self.sum = self.count = self.free = self.top = 0
        self.last = 0.0
        self.unseen = 0
        self.asked: Counter[tuple[int, int]] = Counter()
        self.walk: Generator[int, None, None] | None = None
        self.lock, self.closed = threading.Lock(), False  # the watchdog looks, the sandbox's own thread closes

    def look(self, until: float) -> None:
        """Measure at most until that moment of time.monotonic(), if it is time; the rest follows with the next look."""
        with self.lock:
            if not self.closed:
                self.measure(until)

    def measure(self, until: float) -> None:
        """The look itself."""
        if self.walk is None:
            free = sum(map(available, self.folders))
            if not self.due(free):
                return
            self.free, self.top, self.sum = free, max(self.top, free), 0
            self.walk = measure.disk(self.folders)
        for size in self.walk:
            self.sum += size
            if self.sum > max(self.bound, self.used) + self.bound:
                self.walk.close()  # it need not be known by how much
                break
            if time.monotonic() >= until:
                return
        self.walk = None
        self.last, self.count = time.monotonic(), self.count + 1
        self.judge()

    def due(self, free: int) -> bool:
        """Whether the free space has fallen so far, or so much time has passed, that it might be too much now."""
        fallen = self.free - free
        if self.used > self.bound:
            return fallen >= SLACK or -fallen >= SLACK // 8
        return fallen >= max(SLACK, (self.bound - self.used) // 2) or (
            free != self.free and time.monotonic() - self.last >= REGULAR
        )

    def judge(self) -> None:
        """Compare what was measured with the bound."""
        before, self.used = self.used, self.sum
        if self.used + self.top - self.free > self.bound or self.count % OPEN == 0:
            tree = trees.below(self.pid, trees.processes())
            devices = {os.lstat(folder).st_dev for folder in self.folders}
            self.used += sum(each.size for each in measure.held(tree) if each.device in devices and not each.memory)
        if self.used <= self.bound:
            self.least = 0
            return
        if not self.least or (self.used > self.least + SLACK and self.used > before):
            self.struck["disk"] += 1
            self.stop()
        self.least = min(self.least or self.used, self.used)

    def stop(self) -> None:
        """End the processes that write now; all, where time after time none is seen to, at last the sandbox itself."""
        before = measure.written(trees.below(self.pid, trees.processes()))
        tree, below, victims, driver = list[Process](), list[Process](), list[Process](), 0
        for _ in range(TRIES):
            time.sleep(GROWTH)
            tree = trees.below(self.pid, trees.processes())
            after = measure.written(tree)
            driver = first(tree)
            below = others(tree, driver)
            victims = [each for each in below if after.get(each.pid, 0) > before.get(each.pid, 0)]
            if victims:
                break
        self.unseen = 0 if victims else self.unseen + 1
        if self.unseen >= TRIES:
            victims = below or list(tree[:1])
        for process in victims:
            self.interrupt(process, tree, driver)

    def interrupt(self, process: Process, tree: Sequence[Process], driver: int) -> None:
        """End a process. A shell, which seems to write what its children wrote, has some chances to drop its command;
        its children are interrupted with it, since their fate tells a shell whether it was meant.
        """
        name = (process.pid, process.started)
        self.asked[name] += 1
        if process.parent != driver or self.asked[name] > TRIES:
            end(process)
            return
        for each in (process, *(each for each in tree if each.parent == process.pid)):
            end(each, signal.SIGINT)

    def close(self) -> None:
        """Look no more."""
        with self.lock:
            self.closed = True
            if self.walk is not None:
                self.walk.close()


def available(folder: Path) -> int:
    """Free bytes of the folder's file system, each free name counted as well."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize + status.f_ffree * measure.ENTRY
