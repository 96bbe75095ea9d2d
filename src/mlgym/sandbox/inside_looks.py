"""Looks at the sources in the workspace, for `inside.py`, which runs in the same namespace.

Standard library only, sent in beside `inside.py`. A look tells the contents that are new since the look before. Names
of a folder are read again only where the folder was changed; files are read each time, since one that a process has
mapped changes without a new time. Nothing is followed, nothing waits, and all is bounded: entries, folders, files,
bytes and seconds.
"""

from __future__ import annotations

import errno
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mlgym.sandbox.inside_files import opened

    Mark = tuple[int, ...]

PLACE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LINKED = (errno.ELOOP, errno.ENOTDIR)  # of what has just become a link
SETTLED = 30_000_000  # nanoseconds: times of files are coarse, so that two changes at once can look like one


class Stop(Exception):
    """A bound was reached."""


def mark(info: os.stat_result) -> Mark:
    """What differs where a folder was changed; the agent can set its mtime, but not its ctime."""
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


class Looks:
    """What was told of the workspace."""

    def __init__(self, root: str) -> None:
        self.root, self.last = root, 0
        self.told: dict[str, bytes] = {}
        self.folders: dict[str, tuple[Mark, list[str], list[str], bool]] = {}

    def look(self, ask: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The changes since the look `since`, or all there is where the last one was another; this one is `next`."""
        if ask["since"] != self.last:
            self.told, self.folders = {}, {}
        self.last = 0  # until it is done
        now = Look(self, ask)
        now.walk()
        gone, large = now.missing(ask["known"])
        self.told, self.folders, self.last = now.found, now.folders, ask["next"]
        told = [[path, len(data)] for path, data in now.news]
        answer = {"files": told, "gone": gone, "large": large, "whole": now.whole}
        return answer, b"".join(data for _, data in now.news)


class Look:
    """One look: `found` are the files with their contents, `news` those that were not told yet."""

    def __init__(self, looks: Looks, ask: dict[str, Any]) -> None:
        self.looks, self.ask, self.whole = looks, ask, True
        self.ends, self.names, self.without = set(ask["ends"]), set(ask["names"]), set(ask["without"])
        self.began, self.end = time.time_ns(), time.monotonic() + ask["seconds"]
        self.files, self.bytes, self.entries, self.places = ask["files"], ask["bytes"], ask["entries"], ask["places"]
        self.found: dict[str, bytes] = {}
        self.folders: dict[str, tuple[Mark, list[str], list[str], bool]] = {}
        self.news: list[tuple[str, bytes]] = []

    def walk(self) -> None:
        """Look at the whole workspace, as far as the bounds allow."""
        try:
            top = os.open(self.looks.root, PLACE)
            try:
                self.folder(top, "", self.ask["depth"])
            finally:
                os.close(top)
        except (Stop, OSError):
            self.whole = False

    def folder(self, at: int, below: str, depth: int) -> None:
        """Look at an open folder: its files first."""
        self.places -= 1
        if self.places < 0 or time.monotonic() > self.end:
            raise Stop
        files, folders = self.listed(at, below)
        for name in files:
            try:
                self.file(at, name, below + name)
            except FileNotFoundError:
                continue
            except OSError:  # it cannot be read: it counts as what it was
                self.whole = False
                if below + name in self.looks.told:
                    self.found[below + name] = self.looks.told[below + name]
        for name in folders if depth > 1 else ():
            try:
                if not self.barren(at, name, f"{below}{name}/"):
                    self.inner(at, name, f"{below}{name}/", depth - 1)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.whole &= error.errno in LINKED

    def inner(self, at: int, name: str, below: str, depth: int) -> None:
        """Look at a folder in an open one."""
        inner = os.open(name, PLACE, dir_fd=at)
        try:
            self.folder(inner, below, depth)
        finally:
            os.close(inner)

    def barren(self, at: int, name: str, below: str) -> bool:
        """Whether a folder is as it was and had nothing in it to look at."""
        kept = self.looks.folders.get(below)
        if kept is None or kept[1] or kept[2] or kept[0] != mark(os.stat(name, dir_fd=at, follow_symlinks=False)):
            return False
        self.folders[below] = kept
        self.whole &= kept[3]
        self.places -= 1
        return True

    def listed(self, at: int, below: str) -> tuple[list[str], list[str]]:
        """The names in a folder of what may be sources, those that were asked for first, and of its folders."""
        now, kept = mark(os.fstat(at)), self.looks.folders.get(below)
        if kept is None or kept[0] != now:
            kept = now, *self.scanned(at, below)
        if self.settled(now):
            self.folders[below] = kept
        self.whole &= kept[3]
        return kept[1], kept[2]

    def scanned(self, at: int, below: str) -> tuple[list[str], list[str], bool]:
        """`listed`, read anew, and whether it is all."""
        files: list[str] = []
        folders: list[str] = []
        with os.scandir(at) as entries:
            for entry in entries:
                self.entries -= 1
                if self.entries < 0:
                    return sorted(files), sorted(folders), False
                name = entry.name
                source = name.rpartition(".")[2] in self.ends or below + name in self.names
                if not source and not entry.is_dir(follow_symlinks=False):
                    continue
                if name[0] == "." or not name.isprintable() or len((below + name).encode()) > 255:
                    continue
                if source:
                    files.append(name)
                elif name not in self.without and below + name not in self.without:
                    folders.append(name)
        return sorted(files, key=lambda name: (below + name not in self.names, name)), sorted(folders), True

    def file(self, at: int, name: str, path: str) -> None:
        """Look at what may be a source; raises OSError."""
        info = os.stat(name, dir_fd=at, follow_symlinks=False)
        if not stat.S_ISREG(info.st_mode) or info.st_size > self.ask["largest"]:
            return
        self.files -= 1
        self.bytes -= info.st_size
        if self.files < 0 or self.bytes < 0 or time.monotonic() > self.end:
            raise Stop
        with open(opened(name, os.O_RDONLY | os.O_NOFOLLOW, at=at), "rb", 0) as file:
            self.found[path] = data = file.read(info.st_size) or b""
        if self.looks.told.get(path) != data:
            self.news.append((path, data))

    def settled(self, seen: Mark) -> bool:
        """Whether a later change will show in the times."""
        return max(seen[3:]) < self.began - SETTLED

    def missing(self, known: list[str]) -> tuple[list[str], list[str]]:
        """Those of the known files that are gone, and that have become too large; what was not looked at is neither."""
        gone, large = [], []
        for path in known:
            if path in self.found:
                continue
            try:
                info = os.lstat(f"{self.looks.root}/{path}")
            except (FileNotFoundError, NotADirectoryError):
                gone.append(path)
                continue
            except OSError:
                continue
            if not stat.S_ISREG(info.st_mode):
                gone.append(path)
            elif info.st_size > self.ask["largest"]:
                large.append(path)
            elif self.whole:
                gone.append(path)
        return gone, large
