"""Whole folders inside a sandbox, saved and laid out again, for `inside.py`, which runs in the same namespace.

Standard library only, sent in beside `inside.py`. The archive is a row of marshalled records, each with its length (4
bytes) before it; the host keeps it and never looks into it. It holds folders, files with their holes, links, hard links
and fifos, with modes and times; sockets and devices are left out. No link is followed.
"""

from __future__ import annotations

import errno
import marshal
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

CHUNK = 1 << 20
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Records:
    """The archive as it is written; more than `most` bytes are refused with an OSError."""

    def __init__(self, send: Callable[[bytes], object], most: int) -> None:
        self.send, self.left, self.buffer = send, most, bytearray()

    def add(self, *record: Any) -> None:
        """One record."""
        data = marshal.dumps(record)
        self.left -= len(data)
        if self.left < 0:
            raise OSError(errno.EFBIG, "There is more in it than may be saved")
        self.buffer += len(data).to_bytes(4, "big") + data
        if len(self.buffer) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Send what has gathered."""
        self.send(bytes(self.buffer))
        self.buffer.clear()


def save_trees(roots: list[str], without: list[str], most: int, send: Callable[[bytes], object]) -> None:
    """Send all that is in the folders `roots`, but for the paths `without`."""
    records = Records(send, most)
    for number, root in enumerate(roots):
        top = os.open(root, FOLDER)
        records.add("root", number, stat.S_IMODE(os.fstat(top).st_mode), os.fstat(top).st_mtime_ns)
        save_tree(top, root, set(without), records)
    records.flush()


def save_tree(top: int, root: str, without: set[str], records: Records) -> None:
    """Record what is below an open folder, and close it; its depth is bounded by the files that may be open."""
    linked: dict[tuple[int, int], str] = {}
    stack = [(top, "", iter(sorted(os.listdir(top))))]
    try:
        while stack:
            folder, below, names = stack[-1]
            name = next(names, None)
            if name is None:
                os.close(folder)
                stack.pop()
                records.add("up")
            elif f"{root}/{below}{name}" not in without:
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    inner = unlocked(name, folder, info.st_mode, FOLDER, 0o500)
                    records.add("folder", name, stat.S_IMODE(info.st_mode), info.st_mtime_ns)
                    stack.append((inner, f"{below}{name}/", iter(sorted(os.listdir(inner)))))
                else:
                    save_leaf(folder, below, name, info, linked, records)
    finally:
        for folder, _, _ in stack:
            os.close(folder)


def save_leaf(
    folder: int, below: str, name: str, info: os.stat_result, linked: dict[tuple[int, int], str], records: Records
) -> None:
    """Record what is no folder; `linked` has the first names of files with several."""
    kind, key = stat.S_IFMT(info.st_mode), (info.st_dev, info.st_ino)
    if kind == stat.S_IFLNK:
        records.add("link", name, os.readlink(name, dir_fd=folder), info.st_mtime_ns)
    elif key in linked:
        records.add("hard", name, linked[key])
    elif kind == stat.S_IFIFO:
        records.add("fifo", name, stat.S_IMODE(info.st_mode))
    elif kind == stat.S_IFREG:
        if info.st_nlink > 1:
            linked[key] = below + name
        records.add("file", name)
        save_file(unlocked(name, folder, info.st_mode, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400), records)
        records.add("end", info.st_size, stat.S_IMODE(info.st_mode), info.st_mtime_ns)


def unlocked(name: str, folder: int, mode: int, flags: int, needed: int) -> int:
    """A descriptor of what is this user's own, whatever its mode, which stays as it is."""
    mode = stat.S_IMODE(mode)
    if mode & needed == needed:
        return os.open(name, flags, dir_fd=folder)
    os.chmod(name, mode | needed, dir_fd=folder)
    try:
        return os.open(name, flags, dir_fd=folder)
    finally:
        os.chmod(name, mode, dir_fd=folder)


def save_file(fd: int, records: Records) -> None:
    """Record the bytes of an open file, without its holes, and close it."""
    try:
        at = 0
        while True:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
                end = os.lseek(fd, at, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no more data
                    return
                raise
            while at < end and (data := os.pread(fd, min(CHUNK, end - at), at)):
                records.add("data", at, data)
                at += len(data)
    finally:
        os.close(fd)


def records_of(parts: Iterator[bytes]) -> Iterator[tuple[Any, ...]]:
    """The records of an archive that comes in parts."""
    buffer, at = bytearray(), 0
    for part in parts:
        buffer += part
        while len(buffer) - at >= 4 and len(buffer) - at - 4 >= (size := int.from_bytes(buffer[at : at + 4], "big")):
            yield marshal.loads(memoryview(buffer)[at + 4 : at + 4 + size])
            at += 4 + size
        del buffer[:at]
        at = 0


def load_trees(roots: list[str], parts: Iterator[bytes]) -> None:
    """Lay out an archive: what it has of the n-th root goes into the folder `roots[n]`."""
    loader = Loader(roots)
    for kind, *record in records_of(parts):
        getattr(loader, kind)(*record)


class Loader:
    """An archive as it is laid out: a method for each kind of record."""

    def __init__(self, roots: list[str]) -> None:
        self.roots, self.at = roots, -1  # `at` is the folder that the next record is about
        self.stack: list[tuple[int, int, int]] = []
        self.opened = -1

    def root(self, number: int, mode: int, moment: int) -> None:
        """One of the roots begins."""
        os.makedirs(self.roots[number], exist_ok=True)
        self.into(os.open(self.roots[number], FOLDER), mode, moment)

    def folder(self, name: str, mode: int, moment: int) -> None:
        """A folder begins."""
        try:
            os.mkdir(name, 0o700, dir_fd=self.at)
        except FileExistsError:
            pass
        self.into(os.open(name, FOLDER, dir_fd=self.at), mode, moment)

    def into(self, fd: int, mode: int, moment: int) -> None:
        """What follows is in that folder."""
        self.stack.append((fd, mode, moment))
        self.at = fd

    def up(self) -> None:
        """A folder ends."""
        finished(*self.stack.pop())
        self.at = self.stack[-1][0] if self.stack else -1

    def link(self, name: str, target: str, moment: int) -> None:
        """A link."""
        os.symlink(target, name, dir_fd=self.at)
        os.utime(name, ns=(moment, moment), dir_fd=self.at, follow_symlinks=False)

    def hard(self, name: str, first: str) -> None:
        """Another name of a file."""
        os.link(first, name, src_dir_fd=self.stack[0][0], dst_dir_fd=self.at, follow_symlinks=False)

    def fifo(self, name: str, mode: int) -> None:
        """A fifo."""
        os.mkfifo(name, mode, dir_fd=self.at)

    def file(self, name: str) -> None:
        """A file begins."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self.opened = os.open(name, flags, 0o600, dir_fd=self.at)

    def data(self, at: int, data: bytes) -> None:
        """Bytes of the file."""
        while data:
            size = os.pwrite(self.opened, data, at)
            data, at = data[size:], at + size

    def end(self, size: int, mode: int, moment: int) -> None:
        """The file ends."""
        os.ftruncate(self.opened, size)
        finished(self.opened, mode, moment)


def finished(fd: int, mode: int, moment: int) -> None:
    """Give a file or folder its mode and time, where it is this user's own, and close it."""
    try:
        os.chmod(fd, mode)
        os.utime(fd, ns=(moment, moment))
    except PermissionError:
        pass  # the top of a place that the sandbox itself has made
    finally:
        os.close(fd)
