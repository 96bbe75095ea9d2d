"""Files inside a sandbox: read, write, list, pack and unpack, for `inside.py`, which runs in the same namespace.

Standard library only, sent in beside `inside.py`. Everything here runs with the agent's own rights, so a hostile path
gains nothing; but nothing may hang (fifos are opened without waiting) or grow without bound.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LISTED = 10_000
DEEPEST = 32
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
REGULAR = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Refused(Exception):
    """A submission that cannot be packed; the text says why."""


def opened(path: str, flags: int, mode: int = 0o644, at: int | None = None) -> int:
    """A descriptor of a regular file; anything else is refused with an OSError."""
    fd = os.open(path, flags | REGULAR, mode, dir_fd=at)
    kind = os.fstat(fd).st_mode
    if not stat.S_ISREG(kind):
        os.close(fd)
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
        raise OSError(number, "Is a directory" if stat.S_ISDIR(kind) else "Not a regular file", path)
    return fd


def read_file(path: str, limit: int) -> bytes:
    """The whole file; one longer than `limit` bytes is refused."""
    with open(opened(path, os.O_RDONLY), "rb", 0) as file:
        chunks, size = [], 0
        while chunk := file.read(min(1 << 20, limit + 1 - size)):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise OSError(errno.EFBIG, f"Larger than {limit} bytes", path)
    return b"".join(chunks)


def write_file(path: str, data: bytes, mode: int = 0o644) -> None:
    """Make the file, or replace what is in it; its folders are made."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(opened(path, os.O_WRONLY | os.O_CREAT, mode), "wb", 0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        os.ftruncate(file.fileno(), len(data))  # afterwards: a file emptied first is forced to the disk by ext4


def list_folder(path: str, depth: int, hidden: bool) -> list[list[Any]]:
    """[path below the folder, kind, bytes] of what is there, in order of names, at most LISTED entries."""
    found: list[list[Any]] = []

    def walk(folder: str, below: str, left: int) -> None:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if len(found) >= LISTED:
                    return
                if entry.name.startswith(".") and not hidden:
                    continue
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                kind = KINDS.get(stat.S_IFMT(info.st_mode), "other")
                found.append([below + entry.name, kind, info.st_size if kind == "file" else 0])
                if kind == "dir" and left > 1:
                    try:
                        walk(entry.path, f"{below}{entry.name}/", left - 1)
                    except OSError:
                        continue

    walk(path, "", min(depth, 64))
    return found


def matches(folder: int, parts: list[str], below: str = "", depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """(open folder, name, path below the root) of each regular file that the pattern's parts name.

    No parts left means all that is there. No link is followed: one that is named, on the way or at the end, is refused,
    as is anything but files and folders.
    """
    if depth > DEEPEST:
        raise Refused(f"'{below}' is more than {DEEPEST} folders deep")
    part, rest = (parts[0], parts[1:]) if parts else ("", [])
    if part == "**":
        yield from matches(folder, rest, below, depth)
        if not rest:
            return
    for name in named(folder, part):
        path = below + name
        kind = stat.S_IFMT(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        if kind == stat.S_IFDIR:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                yield from matches(inner, parts if part == "**" else rest, path + "/", depth + 1)
            finally:
                os.close(inner)
        elif kind == stat.S_IFREG and not rest and part != "**":
            yield folder, name, path
        elif not rest or name == part:
            what = "a link" if kind == stat.S_IFLNK else "a special file"
            raise Refused(f"'{path}' is {what}; only regular files can be submitted")


def named(folder: int, part: str) -> list[str]:
    """The names in an open folder that one part of a pattern means, sorted: all for "", folders or not for "**"."""
    from fnmatch import fnmatchcase

    if part and not any(sign in part for sign in "*?["):
        return [part] if part in os.listdir(folder) else []
    hidden = not part or part.startswith(".")
    names = [name for name in os.listdir(folder) if hidden or not name.startswith(".")]
    return sorted(name for name in names if not part or fnmatchcase(name, part))


def pack(root: str, patterns: list[str], most: int, count: int, send: Callable[[bytes], object]) -> None:
    """Send a tar of the files that the patterns name, in parts; at most `count` files of `most` bytes together."""
    done: set[str] = set()
    left = most
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for pattern in patterns:
            parts = [part for part in pattern.split("/") if part not in ("", ".")]
            if pattern.startswith("/") or ".." in parts:
                raise Refused(f"'{pattern}' does not stay in the workspace")
            found = False
            for folder, name, path in matches(top, parts):
                found = True
                if path not in done:
                    done.add(path)
                    if len(done) > count:
                        raise Refused(f"there are more than {count} files")
                    left -= pack_file(folder, name, path, left, send)
            if not found:
                raise Refused(f"'{pattern}' is missing")
    except OSError as error:
        raise Refused(f"'{error.filename}' cannot be read: {error.strerror}") from error
    finally:
        os.close(top)
    send(bytes(1024))


def pack_file(folder: int, name: str, path: str, most: int, send: Callable[[bytes], object]) -> int:
    """Send one file of at most `most` bytes as a tar's member; returns its size."""
    import tarfile

    with open(opened(name, os.O_RDONLY | os.O_NOFOLLOW, at=folder), "rb", 0) as file:
        member = tarfile.TarInfo(path)
        member.size = size = os.fstat(file.fileno()).st_size
        if size > most:
            raise Refused(f"with '{path}' there are more bytes than allowed")
        part = member.tobuf(tarfile.GNU_FORMAT)
        while size:
            data = file.read(min(size, 1 << 20))
            if not data:
                raise Refused(f"'{path}' was changed while it was read")
            send(part + data)
            part = b""
            size -= len(data)
        send(part + bytes(-member.size % 512))
    return member.size


def unpack(files: list[list[Any]], data: bytes, into: str) -> None:
    """Write below `into`: [path, mode, bytes] is a file, in the order of `data`, and [path] a folder.

    The host takes its own archive apart, since the module `tarfile` would cost a start more than all else here.
    """
    os.makedirs(into, exist_ok=True)
    at = 0
    for path, *file in files:
        if file:
            mode, size = file
            write_file(os.path.join(into, path), data[at : at + size], mode)
            at += size
        else:
            os.makedirs(os.path.join(into, path), exist_ok=True)
