"""What was read of episodes, kept in one sqlite file for the next time: their rows, the facts of their lines, and the
words of their steps by runs of three characters.

It can be thrown away: a file that is damaged or of another version is, and all is read again. Several processes may
write it: each episode is looked at within a transaction, and what another has just written is left as it is.
"""

import hashlib
import os
import socket
import sqlite3
import threading
import time
from array import array
from bisect import bisect
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32, decompress, error

from pydantic_core import from_json

from mlgym.viewer.cell import COLUMNS
from mlgym.viewer.lines import Call, Fact, Mark
from mlgym.viewer.writing import Writing

VERSION = crc32(repr((1, Fact._fields, Call._fields, COLUMNS)).encode()) >> 1
SCHEMA = f"""
CREATE TABLE episodes (id INTEGER PRIMARY KEY, folder TEXT UNIQUE NOT NULL, run TEXT NOT NULL, kept TEXT NOT NULL);
CREATE TABLE files (
    episode INTEGER, kind INTEGER, inode INTEGER, size INTEGER, changed INTEGER, stop INTEGER, count INTEGER,
    ending BLOB, PRIMARY KEY (episode, kind)
);
CREATE TABLE chunks (
    episode INTEGER, kind INTEGER, n INTEGER, first INTEGER, count INTEGER, offsets BLOB, facts BLOB,
    PRIMARY KEY (episode, kind, n)
);
CREATE TABLE next (first INTEGER);
INSERT INTO next VALUES (1);
CREATE VIRTUAL TABLE words USING fts5 (
    action, thought, observation, content='', detail=column, columnsize=0, tokenize='trigram case_sensitive 1'
);
PRAGMA user_version = {VERSION};
"""
DAMAGE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_SCHEMA,
)
MAKE: tuple[Callable[..., Any], ...] = (Fact, Call)
BUSY_S = 20.0
OLD_S = 90 * 86400.0  # after which an index that nobody opened is thrown away
SMALL = 100_000  # steps of episodes that are gone, which are not worth it
TIMES = 3  # that a damaged file is made anew


class Place(NamedTuple):
    """Where a step lies: its episode's folder, its number, and where its line begins and ends. `id` gives the order."""

    id: int
    folder: str
    n: int
    start: int
    stop: int


class Index:
    """The index of a set of paths in the folder `cache`; `trouble` says why it cannot be kept there. Then nothing is
    found in it.
    """

    def __init__(self, cache: Path, paths: Iterable[Path]) -> None:
        told = "\n".join([socket.gethostname(), *sorted(map(str, paths))])  # machines that share a disk share no index
        self.path = cache / f"{hashlib.sha256(told.encode(errors='replace')).hexdigest()[:20]}.sqlite"
        self.trouble, self.made = "", 0  # how often a damaged or older file was thrown away
        self._damaged = False
        self._writer: sqlite3.Connection | None = None
        self._inode = 0
        self._lock = threading.Lock()
        _tidy(cache)
        self._write(lambda db: None)

    @property
    def sound(self) -> bool:
        """Whether something can be found in it."""
        return not self.trouble and not self._damaged

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._let_go()

    def kept(self) -> dict[str, str]:
        """What was kept of each episode's row, by its folder."""
        with self._reading() as db:
            return dict(db.execute("SELECT folder, kept FROM episodes"))
        return {}

    def update(self, episodes: Iterable[tuple[str, str, str]], stop: Callable[[], bool] = lambda: False) -> bool:
        """Bring episodes up to date, each told as its run's folder, its own, and what is to be kept of its row; whether
        that was done, and not left when told to `stop` or because others wrote all the time.
        """

        def written(db: sqlite3.Connection) -> None:
            writing = Writing(db, stop)
            for run, folder, kept in episodes:
                if stop():
                    break
                writing.episode(run, folder, kept)
            db.execute("COMMIT")

        return self._write(written) and not stop()

    def forget(self, folders: Iterable[str]) -> None:
        """Drop episodes that are gone."""

        def dropped(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            for folder in folders:
                for (number,) in db.execute("SELECT id FROM episodes WHERE folder = ?", (folder,)).fetchall():
                    for table, column in (("chunks", "episode"), ("files", "episode"), ("episodes", "id")):
                        db.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))
            db.execute("COMMIT")

        self._write(dropped)

    def facts(self, folder: str, kind: int) -> "tuple[Mark, array[int], list[Any]] | None":
        """By what a file of lines is known again, where its lines begin and the last ends, and the facts of each."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT inode, ending, offsets, facts FROM episodes JOIN files ON files.episode = id "
                "JOIN chunks ON chunks.episode = id AND chunks.kind = files.kind "
                "WHERE folder = ? AND files.kind = ? ORDER BY n",
                (folder, kind),
            ).fetchall()
            offsets, facts = array("q", [0]), list[Any]()
            with suppress(ValueError, TypeError, error):
                for *_, held, told in rows:
                    offsets.frombytes(held[offsets.itemsize :])
                    facts += [MAKE[kind](*one) for one in from_json(decompress(told))]
                return (Mark(*rows[0][:2]), offsets, facts) if rows else None
        return None

    def places(self, match: str, run: str = "", after: int = 0) -> Generator[Place, None, None]:
        """The steps that answer a query of the words, in order, of one run's folder or of all."""
        with self._reading() as db:
            db.execute("BEGIN")  # all of it as it is now
            chunks = db.execute(
                "SELECT first, count, folder, n, id FROM chunks JOIN episodes ON id = episode "
                "WHERE kind = 0 AND first + count > ? AND (run = ? OR ? = '') ORDER BY first",
                (after, run, run),
            ).fetchall()
            firsts = [chunk[0] for chunk in chunks]
            offsets, of = array("q"), -1
            for low, high in _joined(chunks):
                for (number,) in db.execute(
                    "SELECT rowid FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid",
                    (match, max(low, after + 1), high - 1),
                ):
                    first, _, folder, n, episode = chunks[bisect(firsts, number) - 1]
                    if of != first:
                        of, offsets = first, _offsets(db, episode, n)
                    start, stop = offsets[number - first : number - first + 2]
                    yield Place(number, folder, n + number - first, start, stop)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, to nothing where there is no index; what it finds wrong ends the reading."""
        with closing(self._connection()) as db:
            try:
                yield db
            except sqlite3.Error as error:
                self._failed(error)

    def _connection(self) -> sqlite3.Connection:
        if self.sound:
            try:
                return _connected(self.path)
            except sqlite3.Error as error:
                self._failed(error)
        return _connected(":memory:")

    def _write(self, task: Callable[[sqlite3.Connection], None]) -> bool:
        """Do a task with the connection that writes, again where the file had to be made anew; whether it was done."""
        with self._lock:
            for _ in range(TIMES):
                if self.trouble:
                    return False
                try:
                    if self._writer and _inode(self.path) != self._inode:  # somebody removed it, or made it anew
                        self.made += 1
                        self._let_go()
                    if self._damaged:
                        self._make_anew()
                    if self._writer is None:
                        self._writer, self._inode = _opened(self.path), _inode(self.path)
                    task(self._writer)
                    return True
                except sqlite3.Error as error:
                    self._let_go()
                    if not self._failed(error):
                        return False
                except BaseException:
                    self._let_go()
                    raise
            return False

    def _failed(self, error: sqlite3.Error) -> bool:
        """Whether the file is to be made anew."""
        if not self.sound:
            return self._damaged
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return False
        if code in DAMAGE and self.made < TIMES:
            self._damaged = True
        else:
            self.trouble = str(error)
        return self._damaged

    def _make_anew(self) -> None:
        self.made += 1
        self._let_go()
        for end in ("", "-wal", "-shm"):
            with suppress(OSError):
                self.path.with_name(self.path.name + end).unlink()
        self._damaged = False

    def _let_go(self) -> None:
        if self._writer is not None:
            with suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None


def _connected(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _opened(path: Path) -> sqlite3.Connection:
    """The file, made where it is not there; raises sqlite3.DatabaseError where it is of another version, and
    OperationalError where others could write it.
    """
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = path.parent.stat()
        if hasattr(os, "geteuid") and (about.st_uid != os.geteuid() or about.st_mode & 0o022):
            error = sqlite3.OperationalError(f"others can write to {path.parent}")
            error.sqlite_errorcode = sqlite3.SQLITE_PERM
            raise error
    db = _connected(path)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        [version] = db.execute("PRAGMA user_version").fetchone()
        if not version:
            for statement in SCHEMA.split(";"):
                db.execute(statement)
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}")
        elif db.execute(f"SELECT first > {SMALL} + 3 * (SELECT total(count) FROM chunks) FROM next").fetchone()[0]:
            raise sqlite3.DatabaseError("most of it is of episodes that are gone")
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    with suppress(OSError):
        os.utime(path)
    return db


def _joined(chunks: list[Any]) -> Iterator[tuple[int, int]]:
    """Ranges of numbers that lie in chunks, those that meet as one."""
    low = high = 0
    for first, count, *_ in chunks:
        if first != high:
            if high:
                yield low, high
            low = first
        high = first + count
    if high:
        yield low, high


def _offsets(db: sqlite3.Connection, episode: int, n: int) -> "array[int]":
    found = "SELECT offsets FROM chunks WHERE episode = ? AND kind = 0 AND n = ?"
    return array("q", db.execute(found, (episode, n)).fetchone()[0])


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _tidy(cache: Path) -> None:
    """Throw away what nobody opened for long."""
    for path in cache.glob("*.sqlite*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > OLD_S:
                path.unlink()
