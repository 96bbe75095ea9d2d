"""What the weaker backends `user` and `landlock` share: what Landlock lets through, how their first program starts."""

import contextlib
import marshal
import os
import platform
import select
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mlgym.cache import cache_dir
from mlgym.errors import SandboxError, SourceError
from mlgym.sandbox import SandboxSpec, enter, open_files, places

EXECUTE, READ_FILE, READ_FOLDER = 1 << 0, 1 << 2, 1 << 3
READ = READ_FILE | READ_FOLDER
USE = READ | EXECUTE
DEVICE = READ_FILE | 1 << 1 | 1 << 15
ALL = 0xFFFF & ~(1 << 6 | 1 << 11)  # but for making devices
SHARED = DEVICE | READ_FOLDER | 1 << 5 | 1 << 8 | 1 << 14  # plain files only
TCP = 3
# What Landlock can refuse in each of its versions: of files, of networks, scopes.
FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
ASKED = ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/inputrc")
DEVICES = ("null", "zero", "full", "random", "urandom")
BURIAL_S = 10.0  # for the undertaker to end what is left
MACHINES = ("x86_64", "aarch64")

Rules = list[tuple[str, int]]


@cache
def version() -> int:
    """The version of this kernel's Landlock, 0 where there is none."""
    return enter.version() if platform.system() == "Linux" and platform.machine() in MACHINES else 0


@cache
def system() -> tuple[tuple[str, int], ...]:
    """The places of the system that are open to all sandboxes, with the rights that they have there."""
    shown = places.places()
    hidden = [*map(Path, shown.hidden), places.PACKAGE]
    with contextlib.suppress(SourceError):  # one that cannot be made hides nothing
        hidden.append(cache_dir().resolve())
    rules = [rule for path in shown.shown for rule in without(Path(path), hidden)]
    rules += [(path, READ) for path in (*ASKED, "/proc", "/sys/devices/system")]
    rules += [(f"/dev/{name}", DEVICE) for name in DEVICES]
    return (*rules, ("/dev/shm", SHARED))


def without(path: Path, hidden: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """Rules that let a folder be used but for the hidden ones in it, of which only the names can be listed."""
    inside = [each for each in hidden if each == path or path in each.parents]
    if path in inside:
        return
    if not inside:
        yield str(path), USE
        return
    yield str(path), READ_FOLDER
    with contextlib.suppress(OSError):
        for child in sorted(path.iterdir()):
            if not child.is_symlink():
                yield from without(child, inside)


def domain(rules: Iterable[tuple[str, int]]) -> tuple[int, int, int, Rules]:
    """The orders for a Landlock domain with the system's places and these; none where the kernel has no Landlock."""
    found = version()
    files = FILES.get(found, FILES[5])
    scopes = enter.ABSTRACT | enter.SIGNALS if found >= 6 else 0
    return files, TCP if found >= 4 else 0, scopes, [*system(), *rules]


def orders(
    spec: SandboxSpec, argv: Sequence[str], given: dict[str, str], folder: str, limits: dict[str, int], **more: Any
) -> bytes:
    """What `enter.py` is told."""
    bounds = spec.limits
    limits = {
        "CORE": 0,
        "DATA": bounds.memory_mb << 20,
        "FSIZE": bounds.file_mb << 20,
        "NOFILE": min(bounds.open_files, open_files()),
        **limits,
    }
    about = {"argv": list(argv), "variables": given, "folder": folder, "limits": limits, "host": os.getpid()}
    none = {"user": 0, "keeper": 0, "burier": 0}
    return marshal.dumps({**about, **none, **more}, 2)


@cache
def text() -> str:
    """The text of the first program, without what only readers need."""
    return (Path(__file__).parent / "enter.py").read_text()


def hand(data: bytes) -> int:
    """A descriptor from which the started process reads the data."""
    fd = os.memfd_create("data")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def buried(ended: int) -> bool:
    """Wait until the undertaker has done its work, and collect it; whether it did so in time."""
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    said = b""
    while poll.poll(BURIAL_S * 1000):
        if data := os.read(ended, 64):
            said += data
            continue
        with contextlib.suppress(ChildProcessError, ValueError):
            os.waitpid(int(said), 0)
        return True
    return False


def known() -> None:
    """Raise SandboxError for a machine whose system calls are not known here."""
    if platform.system() != "Linux" or platform.machine() not in MACHINES:
        raise SandboxError(f"No filter of system calls is known for {platform.machine()}: choose another sandbox.")
