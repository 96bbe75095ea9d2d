"""The processor time of a process and all its descendants, read by the host from outside (Linux)."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from mlgym.errors import GradingError

ROUNDING = 2  # ticks: /proc cuts the user and the system time of children waited for to whole ticks


def tree_s(root: int) -> float:
    """Seconds of user and system time of the process `root` and its descendants, the ended ones included.

    What a process took counts with it until its parent waits for it, from then on with the parent. Children are read
    before their parents: one that ends meanwhile may count twice, but never not at all. Each process counts
    2 ticks more than /proc says of its children; in the difference of two readings that concerns new processes only.
    Raises GradingError where there is no such process, or no /proc.
    """
    depths = {root: 0}
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        found = children.get(parent, [])
        depths |= dict.fromkeys(found, depths[parent] + 1)
        waiting += found
    if root not in {pid for found in children.values() for pid in found}:
        raise GradingError("The processor time of the player cannot be read: it has no process in /proc.")
    return sum(_seconds(pid) for pid in sorted(depths, key=lambda pid: -depths[pid]))


def _parents() -> Iterator[tuple[int, int]]:
    """Each process and its parent."""
    for path in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(path.name)):
            yield int(path.name), int(fields[1])


def _seconds(pid: int) -> float:
    """The process's own time, by its clock in nanoseconds (what clock_getcpuclockid(3) gives), and its children's."""
    fields = _stat(pid)
    try:
        own = time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it has ended, and its parent has waited for it
        return 0.0
    return own + (int(fields[13]) + int(fields[14]) + ROUNDING) / os.sysconf("SC_CLK_TCK") if fields else own


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (state, parent, …); none where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
