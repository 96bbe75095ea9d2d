"""How episodes are written into the index: what is new of their lines, some at a time."""

import os
import sqlite3
from array import array
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from typing import IO, Any
from zlib import compress

from pydantic_core import to_json

from mlgym.disk import reading
from mlgym.viewer.lines import Mark, call, fact, whole
from mlgym.viewer.words import fold, searched

STEPS, CALLS = 0, 1
NAMES = ("steps.jsonl", "calls.jsonl")
READ: tuple[Callable[[int, bytes], Any], ...] = (fact, call)
CHUNK = 2_000_000  # bytes of lines that are written at a time


class Writing:
    """Episodes written in transactions of some CHUNK bytes of lines."""

    def __init__(self, db: sqlite3.Connection, stop: Callable[[], bool]) -> None:
        self.db, self.stop, self.bytes = db, stop, 0
        db.execute("BEGIN IMMEDIATE")

    def episode(self, run: str, folder: str, kept: str) -> None:
        """Write what is new of an episode."""
        self.db.execute(
            "INSERT INTO episodes (folder, run, kept) VALUES (?, ?, ?) "
            "ON CONFLICT (folder) DO UPDATE SET kept = excluded.kept, run = excluded.run WHERE kept != excluded.kept",
            (folder, run, kept),
        )
        [number] = self.db.execute("SELECT id FROM episodes WHERE folder = ?", (folder,)).fetchone()
        for kind, name in enumerate(NAMES):
            with suppress(OSError):
                self._file(number, kind, f"{folder}/{name}")

    def _file(self, number: int, kind: int, path: str) -> None:
        held = self._held(number, kind)
        if held[:3] == _about(path):
            return
        with reading(path) as file:
            about, stop, count = _about(file.fileno()), *held[3:5]
            known = Mark(held[0], held[5]).goes_on(file, stop)
            if stop and (not known or about[1] == held[1]):  # another file, or written over
                self.db.execute("DELETE FROM chunks WHERE episode = ? AND kind = ?", (number, kind))
                stop = count = 0
            file.seek(stop)
            while lines := _lines(file):
                self._chunk(number, kind, count + 1, stop, lines)
                stop, count = stop + sum(size for _, size in lines), count + len(lines)
                if self._rest(number, kind, (about[0], stop, 0, stop, count, Mark.at(file, stop).ending)):
                    return
                file.seek(stop)
            self._keep(number, kind, (*about, stop, count, Mark.at(file, stop).ending))

    def _held(self, number: int, kind: int) -> tuple[Any, ...]:
        """Inode, size and time of a file as it was, how far it was read, how many lines, and what stands there."""
        asked = "SELECT inode, size, changed, stop, count, ending FROM files WHERE episode = ? AND kind = ?"
        return self.db.execute(asked, (number, kind)).fetchone() or (0, 0, 0, 0, 0, b"")

    def _chunk(self, number: int, kind: int, n: int, start: int, lines: list[tuple[bytes, int]]) -> None:
        [first] = self.db.execute("SELECT first FROM next").fetchone()
        offsets = array("q", accumulate((size for _, size in lines), initial=start)).tobytes()
        facts = [READ[kind](place, line) for place, (line, _) in enumerate(lines, n)]
        told = compress(to_json(facts, inf_nan_mode="constants"), 1)
        self.db.execute(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)", (number, kind, n, first, len(lines), offsets, told)
        )
        if kind == STEPS:
            self.db.execute("UPDATE next SET first = first + ?", (len(lines),))
            rows = ((first + place, *map(fold, searched(line))) for place, (line, _) in enumerate(lines))
            self.db.executemany("INSERT INTO words (rowid, action, thought, observation) VALUES (?, ?, ?, ?)", rows)
        self.bytes += sum(size for _, size in lines)

    def _rest(self, number: int, kind: int, state: tuple[Any, ...]) -> bool:
        """Let others write, and keep what there is; whether to stop."""
        if self.bytes < CHUNK:
            return False
        self._keep(number, kind, state)
        self.db.execute("COMMIT")
        self.db.execute("BEGIN IMMEDIATE")
        self.bytes = 0
        return self.stop() or self._held(number, kind) != state  # another process went on with it meanwhile

    def _keep(self, number: int, kind: int, state: tuple[Any, ...]) -> None:
        self.db.execute("REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (number, kind, *state))


def _lines(file: IO[bytes]) -> list[tuple[bytes, int]]:
    """The next whole lines of a file, some CHUNK bytes at a time, and how long each is."""
    found, left = list[tuple[bytes, int]](), CHUNK
    for line, size in whole(file):
        found.append((line, size))
        left -= size
        if left <= 0:
            break
    return found


def _about(file: str | int) -> tuple[int, int, int]:
    about = os.lstat(file) if isinstance(file, str) else os.fstat(file)
    return about.st_ino, about.st_size, about.st_mtime_ns
