"""How much memory and disk the processes of a sandbox hold, measured from the host; no link of theirs is followed."""

import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mlgym.sandbox.scratch import unlock
from mlgym.sandbox.trees import Process

ENTRY = 4096  # bytes that every file or folder counts at least: a disk runs out of these too


class Held(NamedTuple):
    """A file without a name that a process holds open: memory ("/memfd:…"), or deleted."""

    pid: int
    device: int
    size: int
    memory: bool


def held(tree: Iterable[Process]) -> list[Held]:
    """The files without names that the processes hold open, each once; none of those that may not be looked into."""
    found: dict[tuple[int, int], Held] = {}
    for process in tree:
        folder = f"/proc/{process.pid}/fd"
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"{folder}/{name}")  # noqa: PTH115
                if target.endswith(" (deleted)"):
                    status = os.stat(f"{folder}/{name}")  # noqa: PTH116 - by its descriptor, whatever its name was
                    memory = target.startswith("/memfd:")
                    found[_key(status)] = Held(process.pid, status.st_dev, status.st_blocks * 512, memory)
            except OSError:
                continue
    return list(found.values())


def temporary(pid: int, places: Sequence[str]) -> int:
    """Bytes in the temporary file systems that the process sees at these places, and not this process too."""
    total = 0
    if not apart(pid):
        return 0
    for place in places:
        try:
            status = os.statvfs(f"/proc/{pid}/root{place}")
        except OSError:
            continue
        total += (status.f_blocks - status.f_bfree) * status.f_frsize
    return total


def apart(pid: int) -> bool:
    """Whether the process has a root of its own: one that is just starting still sees this machine's places."""
    try:
        root = Path(f"/proc/{pid}/root/").stat()
    except OSError:
        return False
    return (root.st_dev, root.st_ino) != (Path("/").stat().st_dev, Path("/").stat().st_ino)


def memory(tree: Sequence[Process], files: int, open_files: Iterable[Held]) -> tuple[int, dict[int, int]]:
    """Bytes of memory of all the processes together, and of each; `files` are those in files in memory, named or held.

    What is mapped of files in memory counts once: the larger of what is mapped and what there is.
    """
    sizes, private, shared = {}, 0, 0
    for process in tree:
        own, common = portions(process)
        sizes[process.pid] = own + common
        private += own
        shared += common
    for each in open_files:
        sizes[each.pid] += each.size
    return private + max(shared, files), sizes


def portions(process: Process) -> tuple[int, int]:
    """Bytes of a process's memory that are its own, and its share of what is shared in memory.

    The kernel tells these to whoever may look into the process; for others all of its memory is its own.
    """
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", "rb", 0) as file:  # noqa: PTH123
            lines = file.read().splitlines()[1:]
    except OSError:
        return process.rss, 0
    table = {line.split(b":")[0]: int(line.split()[1]) * 1024 for line in lines}
    own = table.get(b"Pss_Anon", table.get(b"Pss", 0))
    return own, table.get(b"Pss_Shmem", 0)


def written(tree: Iterable[Process]) -> dict[int, int]:
    """Bytes that each process has written to a disk so far; none of those that may not be looked into."""
    found = {}
    for process in tree:
        try:
            lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
        except OSError:
            continue
        found[process.pid] = int(dict(line.split(": ") for line in lines).get("write_bytes", 0))
    return found


def disk(folders: Iterable[Path]) -> Generator[int, None, None]:
    """Bytes of each thing that lies in the folders, a file of several names once."""
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        for status in _entries(folder, seen):
            yield max(status.st_blocks * 512, ENTRY)


def _entries(top: Path, seen: set[tuple[int, int]]) -> Iterator[os.stat_result]:
    """All that is below a folder, with one descriptor at a time, however deep and wide it is: the way back goes by
    "..", which inside a sandbox's folder cannot lead out of it; where a folder was moved meanwhile the walk ends.
    """
    try:
        fd = _opened(str(top), None)
    except OSError:
        return
    above: list[tuple[tuple[int, int], list[str]]] = []
    folders: list[str] = []
    try:
        yield from _here(fd, folders, seen)
        while folders or above:
            if folders:
                try:
                    inner = _opened(folders.pop(), fd)
                except OSError:
                    continue
                above.append((_key(os.fstat(fd)), folders))
                folders = []
                fd = _instead(fd, inner)
                yield from _here(fd, folders, seen)
            else:
                key, folders = above.pop()
                fd = _instead(fd, os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd))
                if _key(os.fstat(fd)) != key:
                    return
    except OSError:
        return
    finally:
        os.close(fd)


def _here(fd: int, folders: list[str], seen: set[tuple[int, int]]) -> Iterator[os.stat_result]:
    """What is in an open folder; the names of its folders are added to `folders`."""
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(entry.name)
            elif status.st_nlink > 1:
                if _key(status) in seen:
                    continue
                seen.add(_key(status))
            yield status


def _opened(name: str, within: int | None) -> int:
    """A folder opened, its mode changed where it shuts out its owner; no link is followed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=within)
    except PermissionError:
        unlock(name, within)
        return os.open(name, flags, dir_fd=within)


def _instead(old: int, new: int) -> int:
    os.close(old)
    return new


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
