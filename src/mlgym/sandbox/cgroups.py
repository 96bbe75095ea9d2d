"""Control groups of sandboxes, v1 and v2: one group each, made below this process's own, where it may be written."""

import atexit
import contextlib
import os
import signal
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlgym.sandbox.scratch import NAME, left, named

if TYPE_CHECKING:
    from mlgym.sandbox import SandboxLimits

MB = 1 << 20
ENTER = 'for g in $1;do echo 0 >"$g/cgroup.procs"||exit 70;done;shift;exec "$@"'
PATIENCE = 1.0  # seconds that the last processes of an ended sandbox have to be gone
_made: set[Path] = set()  # an interrupt may come before a group has anybody who closes it


class Group:
    """The group of one sandbox. `folders` are those of its controllers: memory, pids, cpuacct; all the same in v2."""

    def __init__(self, folders: dict[str, Path], limits: "SandboxLimits") -> None:
        self.folders, self._limits = folders, limits
        for folder in set(folders.values()):
            folder.mkdir()
        if "cpuacct" in folders:
            settings = {"memory": "memory.limit_in_bytes", "swap": "memory.memsw.limit_in_bytes"}
        else:
            settings = {"memory": "memory.max", "swap": "memory.swap.max"}
            write(folders["memory"] / "memory.oom.group", 0)
        write(folders["memory"] / settings["memory"], limits.memory_mb * MB)
        with contextlib.suppress(OSError):  # a kernel that does not count swap has no such file
            write(folders["memory"] / settings["swap"], limits.memory_mb * MB if "cpuacct" in folders else 0)
        write(folders["pids"] / "pids.max", limits.processes)

    @classmethod
    def make(cls, limits: "SandboxLimits") -> "Group | None":
        """A group with these limits; None where none can be made, or MLGYM_LIMITS=watchdog wants none."""
        if os.environ.get("MLGYM_LIMITS") == "watchdog" or not (homes := own()):
            return None
        name = named()
        folders = {controller: home / name for controller, home in homes.items()}
        _made.update(folders.values())
        try:
            return cls(folders, limits)
        except OSError:
            remove(*folders.values())
            return None

    @classmethod
    def of(cls, pid: int, limits: "SandboxLimits") -> "Group | None":
        """The group that a container engine has made for a process, to be read; None where it is not seen here."""
        try:
            folders = parse(Path(f"/proc/{pid}/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
        except OSError:
            return None
        group = cls.__new__(cls)
        group.folders, group._limits = folders, limits
        if "unified" in folders:
            group.folders = dict.fromkeys(("memory", "pids"), folders["unified"])
        return group if folders else None

    def entry(self) -> list[str]:
        """What comes before a command line to start it in the group."""
        return ["/bin/sh", "-c", ENTER, "enter", " ".join(sorted(set(map(str, self.folders.values()))))]

    def ooms(self) -> int:
        """How many processes were ended for want of memory."""
        name = "memory.oom_control" if "cpuacct" in self.folders else "memory.events"
        return field(self.folders["memory"] / name, "oom_kill")

    def refusals(self) -> int:
        """How many processes were refused."""
        return field(self.folders["pids"] / "pids.events", "max")

    def cpu_s(self) -> float:
        """Processor seconds of all that ever ran in it; 0.0 once it is removed."""
        if "cpuacct" not in self.folders:
            return field(self.folders["memory"] / "cpu.stat", "usage_usec") / 1e6
        try:
            return int((self.folders["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
        except (OSError, ValueError):
            return 0.0

    def close(self) -> None:
        """End what is left in it and remove it; safe to call twice."""
        remove(*self.folders.values())


@cache
def own() -> dict[str, Path]:
    """The folders of this process's own groups, in which others can be made, by controller; empty where none can.

    Those that dead processes left there are removed.
    """
    try:
        homes = parse(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
        if "unified" in homes:
            homes = dict.fromkeys(("memory", "pids"), delegated(homes["unified"]))
    except OSError:
        return {}
    if not all(os.access(home, os.W_OK) for home in homes.values()):
        return {}
    for home in set(homes.values()):
        remove(*(entry for entry in home.iterdir() if left(entry.name)), patience=0)
    return homes


def parse(groups: str, mounts: str) -> dict[str, Path]:
    """This process's folder for memory, pids and cpuacct (v1), or `unified` (v2), from its tables in /proc.

    Empty unless all three are there, or v2 has memory and pids.
    """
    paths: dict[str, str] = {}
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        paths |= dict.fromkeys(names.split(",") if names else ["unified"], path)
    found = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        controllers = {"cgroup": options.split(","), "cgroup2": ["unified"]}.get(kind, [])
        for name in controllers:
            if name in paths and (paths[name] + "/").startswith(root.rstrip("/") + "/"):
                found[name] = Path(point, paths[name].removeprefix(root.rstrip("/")).lstrip("/"))
    if {"memory", "pids", "cpuacct"} <= set(found):
        return {name: found[name] for name in ("memory", "pids", "cpuacct")}
    return {"unified": found["unified"]} if "unified" in found else {}


def delegated(home: Path) -> Path:
    """The v2 folder that hands memory and pids on to the groups made in it; raises OSError where it cannot.

    A group with processes in it hands nothing on (but the topmost): if this process is alone there, it moves down.
    """
    if NAME.fullmatch(home.name):  # a process of ours has moved down before
        home = home.parent
    if {"memory", "pids"} <= set((home / "cgroup.subtree_control").read_text().split()):
        return home
    leaf = home / named()
    alone = (home / "cgroup.procs").read_text().split() == [str(os.getpid())]
    if alone:
        leaf.mkdir()
        write(leaf / "cgroup.procs", 0)
    try:
        write(home / "cgroup.subtree_control", "+memory +pids")
    except OSError:
        if alone:
            write(home / "cgroup.procs", 0)
            leaf.rmdir()
        raise
    return home


def remove(*folders: Path, patience: float = PATIENCE) -> None:
    """Remove groups, and end what is still in them: at a sandbox's end its last processes may be dying."""
    end = time.monotonic() + patience
    waiting = set(folders)
    while waiting:
        for folder in list(waiting):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                for pid in members(folder):
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                continue
            waiting.discard(folder)
            _made.discard(folder)
        if time.monotonic() >= end:
            return
        if waiting:
            time.sleep(0.005)


@atexit.register
def clear() -> None:
    """Remove all groups that this process has made and not removed, and end what is in them."""
    remove(*_made)


os.register_at_fork(after_in_child=_made.clear)  # they are the parent's


def members(folder: Path) -> list[int]:
    """The processes in a group."""
    try:
        return [pid for pid in map(int, (folder / "cgroup.procs").read_text().split()) if pid]
    except OSError:
        return []


def field(file: Path, name: str) -> int:
    """The number after a name in a table of the kernel's; 0 where there is none."""
    try:
        table = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(table.get(name, 0))


def write(file: Path, value: object) -> None:
    """Write a setting; the file must exist."""
    with file.open("r+") as out:
        out.write(f"{value}\n")
