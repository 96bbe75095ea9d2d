"""This machine's disk: what is written stays, and a full one is said in one sentence."""

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mlgym.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM = 16 << 20  # bytes that must be free under a sandbox for a step to count
RECORD = 30_000_000  # bytes of a file that is read whole, where anybody may have written it
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def is_full(error: OSError) -> bool:
    """Whether the error says that a disk, or the user's share of one, is full."""
    return error.errno in FULL


def full(folder: Path) -> StorageError:
    """The error for a full disk under `folder`."""
    return StorageError(f"The disk under {folder} is full: make room, and the same command goes on.")


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Turn an OSError of a write below `folder` into a StorageError."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise full(folder) from error
        why = error.strerror or str(error)
        raise StorageError(f"{folder} cannot be written ({why}): mend that, and the same command goes on.") from error


def free(folder: Path) -> int:
    """Bytes that this user can still write below `folder`."""
    return shutil.disk_usage(folder).free


def taken(folder: Path) -> int:
    """Bytes on the disk that a folder holds; no link is followed, and what cannot be looked at is left out."""
    total, waiting = 0, [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
    return total


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a run after a kill or a power cut, sees all of it or what was there before.

    Raises StorageError; nothing of the new file stays then.
    """
    with _whole(path) as out:
        out.write(data)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file as `write_whole` writes one; raises StorageError."""
    with _whole(target) as out, source.open("rb") as read:
        shutil.copyfileobj(read, out)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to be written, which takes the place of `path` at the end."""
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    with guarded(path.parent):
        try:
            with part.open("wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            part.replace(path)
            settle(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def append_line(path: Path, line: bytes) -> None:
    """Append a line, its end included, so that it survives a power cut; raises StorageError with nothing appended."""
    with guarded(path.parent):
        new = not path.exists()
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            before, rest = os.fstat(file).st_size, memoryview(line + b"\n")
            try:
                while rest:
                    rest = rest[os.write(file, rest) :]
                os.fsync(file)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, before)
                raise
        finally:
            os.close(file)
        if new:
            settle(path.parent)


def settle(folder: Path) -> None:
    """Have the names in a folder on the disk: a rename is not there after a power cut otherwise."""
    if os.name == "posix":
        place = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def settle_all(folder: Path) -> None:
    """Have all that was written on the folder's file system on the disk."""
    if not sys.platform.startswith("linux"):
        os.sync()
        return
    place = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ctypes.CDLL(None).syncfs(place)
    finally:
        os.close(place)


def reading(path: Path | str) -> IO[bytes]:
    """A file opened for reading; a link is not followed, and what is no file not waited for. Raises OSError."""
    number = os.open(path, os.O_RDONLY | NO_LINK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "It is no file", str(path))
    return os.fdopen(number, "rb")


def content(path: Path | str, most: int = RECORD) -> bytes:
    """What a file holds, of which a longer one is refused. Raises OSError."""
    with reading(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"It has more than {most:,} bytes", str(path))
    return data
