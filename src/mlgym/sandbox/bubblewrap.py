"""The backend `bubblewrap`: Linux namespaces, an allow-list of places, a seccomp filter and limits."""

import os
import platform
import random
import stat
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from mlgym.errors import SandboxError
from mlgym.records import Isolation
from mlgym.sandbox import (
    ENVIRONMENT,
    HOME,
    PROXY,
    WORKSPACE,
    SandboxSpec,
    layers,
    nvidia,
    open_files,
    places,
    seccomp,
    variables,
)
from mlgym.sandbox.cgroups import Group
from mlgym.sandbox.meter import Meter, watch
from mlgym.sandbox.scratch import remove

MB = 1 << 20
HOME_MB, TEMPORARY_MB, SHARED_MB = 256, 1024, 1024
ROOM_MB = 4608  # a sandbox with less memory has smaller places in memory: files alone never fill more than half of it
# What of /proc tells anybody of the host's kernel and devices; with cards, /proc/driver is their driver's.
UNNEEDED = (
    *("acpi", "asound", "bus", "cmdline", "config.gz", "diskstats", "driver", "fs", "interrupts", "iomem", "ioports"),
    *("irq", "kallsyms", "key-users", "keys", "locks", "modules", "mtrr", "partitions", "scsi", "sysvipc", "tty"),
)
TEMPORARY = ("/dev/shm", "/tmp", HOME)
UIDS = range(1 << 29, 1 << 30)
# A sandbox under another user number would outlive a killed bwrap, which may not signal it: two namespaces of pids, one
# in the other, so that the end of bwrap, pid 1 of the outer, is the end of all.
KEEPER = ["/usr/bin/setpriv", "--pdeathsig", "SIGKILL", "/usr/bin/unshare", "--pid", "--fork", "--kill-child=SIGKILL"]
PRELUDE = 'echo 1000 >/proc/self/oom_score_adj;ulimit -c 0 -u "$1" -d "$2" -f "$3" -n "$4";cd "$5";shift 5;exec "$@"'


class Bubblewrap:
    """Each sandbox is a tree of processes with its own pids, network, mounts and, for root, its own user number."""

    name: ClassVar[str] = "bubblewrap"
    isolation: ClassVar[Isolation] = "full"
    system: ClassVar[Literal["host", "image"]] = "host"
    program: ClassVar[str] = ""
    overlays: ClassVar[bool] = True
    passing: ClassVar[tuple[str, ...]] = (HOME, "/tmp")  # folders of its own that end with it

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.handed: list[int] = []
        self.workspace, self.home, self.outputs = WORKSPACE, HOME, f"{HOME}/.output"
        self.interpreter = str(places.base())
        self.uid = 1000
        self.group: Group | None = None

    def start(self) -> None:
        """Give the workspace to the sandbox's own user, where this process may; raises SandboxError."""
        if not type(self).program:
            from mlgym.sandbox.probe import working

            type(self).program = working().program
        if not seccomp.program():
            raise SandboxError(f"No filter of system calls is known for {platform.machine()}: choose another sandbox.")
        if self.spec.layers:
            remake(layers.work(self.spec.folder))
        if os.geteuid() == 0:
            # Files in layers cannot change hands: what goes on from them keeps their user number.
            self.uid = self.spec.layers[0].stat().st_uid if self.spec.layers else free_uid()
            give(self.spec.folder, self.uid)
            for bind in self.spec.binds:
                readable(bind.source)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The command line; bwrap's options are handed over by a descriptor."""
        limits = self.spec.limits
        files = min(limits.open_files, open_files())
        numbers = [limits.processes, limits.memory_mb * 1024, limits.file_mb * 1024, files]
        prelude = ["/bin/bash", "-c", PRELUDE, "start", *map(str, numbers), WORKSPACE]
        if os.geteuid() == 0:
            user = ["--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups"]
            prelude = ["/usr/bin/setpriv", *user, "--inh-caps=-all", "--bounding-set=-all", "--", *prelude]
        options = b"\0".join(os.fsencode(option) for option in self.options())
        keeper = KEEPER if os.geteuid() == 0 else []
        if self.spec.layers:
            folder = self.spec.folder
            keeper = [*keeper, *layers.mounted(folder, self.spec.layers, layers.marks(folder.parent))]
        self.group = Group.make(limits)
        entry = self.group.entry() if self.group else []
        return [*entry, *keeper, self.program, "--args", str(self.hand(options)), "--", *prelude, *argv]

    def meter(self, pid: int) -> Meter:
        """The watch over its processes."""
        return watch(pid, self.spec, group=self.group, temporary=TEMPORARY)

    def stop(self) -> None:
        """Nothing outlives the process that `wrap` describes but its control group."""
        if self.group:
            self.group.close()

    def inside(self, path: str) -> str:
        """The path itself."""
        return path

    def hand(self, data: bytes) -> int:
        """A descriptor from which the started process reads the data."""
        fd = os.memfd_create("data")
        self.handed.append(fd)
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def options(self) -> Iterator[str]:
        """The options of bwrap."""
        root = os.geteuid() == 0
        yield from ("--unshare-pid", "--as-pid-1", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        yield from ("--unshare-net", "--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL")
        if root:
            yield from ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
        else:
            yield from ("--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns")
        code = seccomp.program(timed=self.spec.timed, pinned=bool(self.spec.processors))
        yield from ("--seccomp", str(self.hand(code)), "--clearenv")
        for key, value in variables(self.spec, HOME, ENVIRONMENT).items():
            yield from ("--setenv", key, value)
        yield from self.mounts()

    def mounts(self) -> Iterator[str]:
        """The options that build the file system; parents are made first, because bwrap makes them 0700."""
        shown = places.places()
        sources = {path: path for path in shown.shown}
        if self.spec.python:
            sources[ENVIRONMENT] = str(self.spec.python)
        sources |= {bind.target: str(bind.source) for bind in self.spec.binds}
        sources |= {PROXY: str(self.spec.proxy)} if self.spec.proxy else {}
        users = f"root:x:0:0::/root:/bin/sh\nagent:x:{self.uid}:{self.uid}::{HOME}:/bin/bash\n"
        groups = f"root:x:0:\nagent:x:{self.uid}:\n"
        texts = {
            "/etc/passwd": users,
            "/etc/group": groups,
            "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
        }
        folders = {WORKSPACE, "/var/tmp", "/run/lock"}
        made = {str(parent) for path in (*folders, *sources, *texts) for parent in PurePosixPath(path).parents}
        for folder in sorted(made - {"/"}):
            if not any(folder == place or folder.startswith(place + "/") for place in sources):
                yield from ("--perms", "0755", "--dir", folder)
        early = [target for target in sorted(sources) if not target.startswith(f"{HOME}/")]
        for target in early:
            yield from ("--ro-bind", sources[target], target)
        for path, link in shown.links:
            yield from ("--symlink", link, path)
        for path, text in texts.items():
            yield from ("--perms", "0444", "--ro-bind-data", str(self.hand(text.encode())), path)
        for hidden in shown.hidden:
            yield from ("--perms", "0555", "--tmpfs", hidden, "--remount-ro", hidden)
        yield from ("--proc", "/proc", "--dev", "/dev")
        yield from covers(cards=bool(self.spec.gpus))
        room = min(self.spec.limits.memory_mb, ROOM_MB)
        yield from nvidia.options(self.spec.gpus)
        for size, folder in ((SHARED_MB, "/dev/shm"), (TEMPORARY_MB, "/tmp"), (HOME_MB, HOME)):
            yield from ("--perms", "1777", "--size", str(size * MB * room // ROOM_MB), "--tmpfs", folder)
        yield from ("--symlink", "/tmp", "/var/tmp", "--bind", str(self.spec.folder), WORKSPACE)
        for target in sorted(sources.keys() - set(early)):
            yield from ("--ro-bind", sources[target], target)
        yield from ("--remount-ro", "/dev", "--remount-ro", "/")


@cache
def covers(cards: bool) -> tuple[str, ...]:
    """The options that cover what is not needed of /proc, as far as this machine has it."""
    options: list[str] = []
    for name in UNNEEDED:
        place = Path("/proc", name)
        if place.is_dir() and not (name == "driver" and cards):
            options += ("--perms", "0555", "--tmpfs", str(place), "--remount-ro", str(place))
        elif place.is_file():
            options += ("--ro-bind", "/dev/null", str(place))
    return tuple(options)


def readable(path: Path) -> None:
    """Raise SandboxError for what root can show but the sandbox's own user could not read."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SandboxError(f"{path} cannot be shown in a sandbox: {error.strerror}.") from error
    needed = 0o005 if stat.S_ISDIR(mode) else 0o004
    if mode & needed != needed:
        raise SandboxError(f"{path} cannot be shown in a sandbox: make it readable with `chmod -R o+rX {path}`.")


def remake(folder: Path) -> None:
    """An empty folder in the place of whatever is there."""
    remove(folder)
    folder.mkdir()


def free_uid() -> int:
    """A user number for one sandbox: high, random, and mapped in this process's user namespace."""
    spans = []
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        spans.append(
            range(max(first, UIDS.start), min(first + count, UIDS.stop)) or range(first + count // 2, first + count)
        )
    return random.SystemRandom().choice(max(spans, key=len))


def give(folder: Path, uid: int) -> None:
    """Make the user the owner of a folder and all that is in it; no link is followed."""
    try:
        for _, _, names, here in os.fwalk(folder, follow_symlinks=False):
            os.fchown(here, uid, uid)
            for name in names:
                os.chown(name, uid, uid, dir_fd=here, follow_symlinks=False)
    except OSError as error:
        raise SandboxError(f"The workspace {folder} cannot be given to the sandbox's user: {error}.") from error
