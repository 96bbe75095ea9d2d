"""The trees of processes on this machine, read from /proc; empty where there is none."""

import os
from collections.abc import Iterator
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One process: `started` in clock ticks since boot, `cpu_s` of its own and of the children it has waited for,
    `rss` in bytes.
    """

    pid: int
    parent: int
    started: int
    cpu_s: float
    threads: int
    rss: int


def look(pid: int) -> Process | None:
    """The process of that number, None when it is gone or dead."""
    try:
        with open(f"/proc/{pid}/stat", "rb", 0) as file:  # noqa: PTH123 - one walk makes thousands of these
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    if not fields or fields[0] in b"ZX":
        return None
    cpu_s = sum(map(int, fields[11:15])) / TICKS
    return Process(pid, int(fields[1]), int(fields[19]), cpu_s, int(fields[17]), int(fields[21]) * PAGE)


def processes() -> dict[int, Process]:
    """All living processes, by number."""
    try:
        names = [name for name in os.listdir("/proc") if name[0] in "123456789"]  # noqa: PTH208
    except OSError:
        return {}
    return {found.pid: found for name in names if (found := look(int(name)))}


def below(root: int, table: dict[int, Process]) -> list[Process]:
    """The process `root` and all its descendants, parents first."""
    children: dict[int, list[Process]] = {}
    for each in table.values():
        children.setdefault(each.parent, []).append(each)
    return list(_walk(root, table, children))


def _walk(root: int, table: dict[int, Process], children: dict[int, list[Process]]) -> Iterator[Process]:
    waiting = [table[root]] if root in table else []
    while waiting:
        current = waiting.pop()
        yield current
        waiting += children.get(current.pid, [])
