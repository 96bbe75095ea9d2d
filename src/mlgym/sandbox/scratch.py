"""Folders that do not outlive their process: named by its owner, swept by a later process when the owner is dead."""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

NAME = re.compile(r"s-(\d+)-(\d+)-(\d+)-[0-9a-f]+")


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, open to this user alone (0700), removed with all that is in it at the end.

    What dead processes left there is removed first. The name says nothing of what the folder is for, because a sandbox
    can see the names of the folders that are shown in it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder = parent / named()
    try:
        folder.mkdir(0o700)  # in here: on a busy disk it takes a while, and an interrupt is raised as it returns
        yield folder
    finally:
        remove(folder)


def named() -> str:
    """A new name that tells which process is its owner."""
    return f"s-{os.getpid()}-{started(os.getpid())}-{namespace()}-{secrets.token_hex(6)}"


def left(name: str) -> bool:
    """Whether it is such a name, of an owner that is dead."""
    match = NAME.fullmatch(name)
    return bool(match and int(match[3]) == namespace() and started(int(match[1])) != int(match[2]))


def sweep(parent: Path) -> None:
    """Remove the folders below `parent`, if it is there, whose owners are dead."""
    for entry in parent.iterdir() if parent.exists() else ():
        if left(entry.name):
            with contextlib.suppress(OSError):
                if entry.lstat().st_uid == os.geteuid():
                    remove(entry)


def started(pid: int) -> int:
    """When a process began, in clock ticks since boot; -1 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[19])
    except OSError:
        return -1


def namespace() -> int:
    """The number of this process's pid namespace: pids of another one mean nothing here."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def remove(folder: Path) -> None:
    """Remove a folder with whatever is in it: trees of any depth, unreadable folders, odd names; no link is followed.

    Each folder below is first moved to the top, so that neither a path nor the stack grows with the depth.
    """
    try:
        unlock(folder)
    except FileNotFoundError:
        return
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        waiting = [""]
        while waiting:
            name = waiting.pop()
            current = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top) if name else os.dup(top)
            try:
                waiting += empty(current, top)
            finally:
                os.close(current)
            if name:
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    folder.rmdir()


def empty(current: int, top: int) -> list[str]:
    """Unlink what is in an open folder and move its folders to `top`; returns their new names."""
    moved = []
    for name in os.listdir(current):
        if not stat.S_ISDIR(os.stat(name, dir_fd=current, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=current)
            continue
        unlock(name, current)
        moved.append(f"r-{secrets.token_hex(8)}")
        os.rename(name, moved[-1], src_dir_fd=current, dst_dir_fd=top)
    return moved


def unlock(name: str | Path, within: int | None = None) -> None:
    """Let this user into a folder of its own, whatever its mode; a link is not followed."""
    inner = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
    try:
        os.chmod(f"/proc/self/fd/{inner}", 0o700)  # noqa: PTH101
    finally:
        os.close(inner)
