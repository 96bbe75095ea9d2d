"""Tar between host and sandbox: what an agent made is read member by member; what the host made is written.

The reader is our own and knows little on purpose: regular files, folders and long names. (The standard library's was
escaped from and sent into endless loops by crafted archives.)
"""

import hashlib
import io
import os
import tarfile
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, NamedTuple

BLOCK = 512
LONGEST, LONGEST_PART = 1024, 255  # bytes of a path, and of one name in it
FILE, FOLDER = (b"0", b"\0"), b"5"
LONG_NAME, EXTENDED = b"L", b"x"  # GNU's and POSIX's way to give a name longer than 100 bytes
KINDS = {b"1": "a hard link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a fifo", b"S": "a sparse file"}


class SubmissionRefused(Exception):
    """A submission that is not taken; the text says what is wrong with it, for the agent."""


class Member(NamedTuple):
    """One file or folder; the bytes of a file are the next `size` bytes of the archive."""

    path: str
    folder: bool
    size: int


def read_tar(
    data: bytes | IO[bytes], into: Path, max_bytes: int, max_files: int, max_depth: int = 32
) -> dict[str, str]:
    """Write an archive's files into a fresh folder (made if need be); returns relative path -> sha256.

    At most `max_bytes` in all files, `max_files` files and folders, `max_depth` names in a path. Anything but regular
    files and folders with plain, distinct, relative UTF-8 names raises SubmissionRefused; what was written by then
    stays. Files are readable by all, because a sandbox reads them under a user number of its own.
    """
    into.mkdir(parents=True, exist_ok=True)
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    top = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.listdir(top):  # noqa: PTH208
            raise SubmissionRefused("the folder to write it into is not empty")
        os.fchmod(top, 0o755)
        return _write(top, source, max_bytes, max_files, max_depth)
    finally:
        os.close(top)


def _write(top: int, source: IO[bytes], max_bytes: int, max_files: int, max_depth: int) -> dict[str, str]:
    digests: dict[str, str] = {}
    seen: set[str] = set()
    folders: set[str] = set()
    total = 0
    for member in members(source):
        names = checked(member.path, max_depth)
        key = unicodedata.normalize("NFKC", "/".join(names)).casefold()
        if key in seen:
            raise SubmissionRefused(f"it holds '{member.path}' twice")
        seen.add(key)
        total += member.size
        if total > max_bytes:
            raise SubmissionRefused(f"'{member.path}' makes it larger than {max_bytes} bytes")
        if len(seen) > max_files:
            raise SubmissionRefused(f"it has more than {max_files} files and folders")
        try:
            _folders(top, names if member.folder else names[:-1], folders)
            if not member.folder:
                digests["/".join(names)] = _file(top, "/".join(names), source, member.size)
        except (FileExistsError, NotADirectoryError) as error:
            raise SubmissionRefused(f"'{member.path}' is both a file and a folder") from error
    return digests


def _folders(top: int, names: list[str], made: set[str]) -> None:
    for depth in range(1, len(names) + 1):
        path = "/".join(names[:depth])
        if path not in made:
            os.mkdir(path, 0o700, dir_fd=top)
            os.chmod(path, 0o755, dir_fd=top)  # whatever the umask
            made.add(path)


def _file(top: int, path: str, source: IO[bytes], size: int) -> str:
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600, dir_fd=top), "wb") as file:  # noqa: PTH123
        left = size
        while left:
            part = exactly(source, min(left, 1 << 20))
            digest.update(part)
            file.write(part)
            left -= len(part)
        os.fchmod(file.fileno(), 0o644)
    exactly(source, -size % BLOCK)
    return digest.hexdigest()


def checked(path: str, max_depth: int) -> list[str]:
    """The names that make up a plain relative path; raises SubmissionRefused for any other."""
    shown = ascii(path[:80])
    names = [name for name in path.removesuffix("/").split("/") if name != "."]
    if path.startswith("/") or ".." in names or "" in names or not names:
        raise SubmissionRefused(f"the name {shown} does not stay in the folder")
    if not path.isprintable() or len(path.encode()) > LONGEST or any(len(n.encode()) > LONGEST_PART for n in names):
        raise SubmissionRefused(f"the name {shown} is too long or has odd characters")
    if len(names) > max_depth:
        raise SubmissionRefused(f"{shown} is more than {max_depth} folders deep")
    return names


def members(source: IO[bytes]) -> Iterator[Member]:
    """The files and folders of an archive; a file's bytes must be read before the next is asked for."""
    long = ""
    while any(head := source.read(BLOCK)):
        if len(head) != BLOCK or number(head[148:156]) != sum(head[:148]) + 8 * 32 + sum(head[156:]):
            raise SubmissionRefused("the archive is damaged")
        kind, size = head[156:157], number(head[124:136])
        if kind in (LONG_NAME, EXTENDED):
            if size > 4 * LONGEST or long:
                raise SubmissionRefused("the archive has a header that is too long")
            extra = exactly(source, size)
            exactly(source, -size % BLOCK)
            long = decoded(extra.removesuffix(b"\0")) if kind == LONG_NAME else extended(extra)
            continue
        path = long or decoded(ustar(head))
        if kind not in (*FILE, FOLDER):
            raise SubmissionRefused(f"{path[:80]!a} is {KINDS.get(kind, 'neither a file nor a folder')}")
        if kind == FOLDER and size:
            raise SubmissionRefused("the archive is damaged")
        yield Member(path, kind == FOLDER, size)
        long = ""


def ustar(head: bytes) -> bytes:
    """The name in a header, with POSIX's prefix where the header has one."""
    name, prefix = head[:100].split(b"\0")[0], head[345:500].split(b"\0")[0]
    return prefix + b"/" + name if prefix and head[257:263] == b"ustar\0" else name


def extended(data: bytes) -> str:
    """The path in a POSIX extended header, empty where it has none; one that changes more than times is refused."""
    path = ""
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or len(length) > 5 or not len(length) < int(length) <= len(data):
            raise SubmissionRefused("the archive is damaged")
        record, data = data[len(length) + 1 : int(length) - 1], data[int(length) :]
        key, _, value = record.partition(b"=")
        if key == b"path":
            path = decoded(value)
        elif key not in (b"mtime", b"atime", b"ctime", b"uname", b"gname", b"uid", b"gid"):
            raise SubmissionRefused("the archive has a header that is not understood")
    return path


def number(field: bytes) -> int:
    """An octal number of a header; GNU's form for files above 8 GB is refused with the rest."""
    text = field.strip(b" \0")
    if not text or text.strip(b"01234567"):
        raise SubmissionRefused("the archive is damaged")
    return int(text, 8)


def decoded(name: bytes) -> str:
    """A name as text."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise SubmissionRefused(f"the name {name[:80]!a} is not UTF-8") from None


def exactly(source: IO[bytes], size: int) -> bytes:
    """So many bytes of the archive."""
    data = source.read(size)
    if len(data) != size:
        raise SubmissionRefused("the archive is damaged")
    return data


def write_tar(folder: Path, without: Collection[str] = ()) -> bytes:
    """An archive of the files and folders below one of the host's own folders, in order of names, without times.

    The files that `without` names are left out, and what Python or pip compiled (`__pycache__`). Raises ValueError for
    anything but regular files and folders.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if name in without or "__pycache__" in name.split("/"):
                continue
            member = tarfile.TarInfo(name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise ValueError(f"{path} is neither a file nor a folder")
            member.mode = path.stat().st_mode & 0o755 | 0o600
            if path.is_dir():
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.size = path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(member, file)
    return out.getvalue()
