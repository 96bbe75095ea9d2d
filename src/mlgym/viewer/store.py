"""What a viewer was given to show: runs and episodes found under paths, each with a name of its own."""

import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlgym.columns import Row
from mlgym.errors import UsageError
from mlgym.runs import Run
from mlgym.viewer.cell import COLUMNS, Cell
from mlgym.viewer.finding import MOST, Folders, as_text, title
from mlgym.viewer.held import Held
from mlgym.viewer.index import Index
from mlgym.viewer.lines import Growing
from mlgym.viewer.opened import Opened
from mlgym.viewer.searching import Scope, search

WALK_S, WALKING = 1.0, 0.05  # seconds between two looks for new folders, and the share of the time that they may take
SLICE = 250  # episodes at rest that are looked at each time
BUDGET_S = 0.2  # seconds of a look for episodes that were not read yet, while they are read in the background
PAUSE_S = 0.01  # between two, for those who wait
Document = dict[str, Any]


class Store:
    """The runs and episodes under `paths`; an episode's key is NAME/TASK/METHOD/SEED. `cache` is the folder of the
    index, without which nothing is kept for the next time.
    """

    def __init__(self, paths: Iterable[Path | str], cache: Path | None = None) -> None:
        self.paths = [Path(path).absolute() for path in paths]
        self.index = Index(cache, self.paths) if cache else None
        self._kept = self.index.kept() if self.index else {}
        self._folders = Folders()
        self._runs: dict[str, Held] = {}  # by name
        self._cells: dict[str, tuple[Held, str, Cell]] = {}  # by key
        self._opened = Opened(self.index)
        self._changed = set[str]()  # keys that nobody was told of
        self._unread, self._hot, self._stale = (dict[str, None]() for _ in range(3))
        self._indexed, self._beyond, self._gone = set[str](), set[str](), list[str]()  # _beyond: not for the index
        self._boot, self._count, self._next, self._place = secrets.token_hex(4), 0, 0.0, 0
        self._lock, self._over, self._wake = threading.RLock(), threading.Event(), threading.Event()
        self._worker: threading.Thread | None = None
        with self._lock:
            self._look(BUDGET_S if cache else None)
        self._changed.clear()
        if self._folders.full:
            raise UsageError(f"More than {MOST:,} folders lie there: name the runs to look at.")

    def start(self) -> None:
        """Read what is new in the background, and keep the index up to date."""
        self._worker = threading.Thread(target=self._work, name="index of the viewer", daemon=True)
        self._worker.start()

    def close(self) -> None:
        """End what goes on in the background."""
        self._over.set()
        self._wake.set()
        if self._worker:
            self._worker.join()
        if self.index:
            self.index.close()

    def refresh(self) -> set[str]:
        """Look for what is new; the keys of the episodes that came, went or changed since the last time."""
        with self._lock:
            self._look(BUDGET_S if self._worker else None)
            changed, self._changed = self._changed, set()
        if changed:
            self._wake.set()
        return changed

    @property
    def version(self) -> str:
        """Changes when a run or an episode came, went or changed."""
        return f"{self._boot}-{self._count}"

    @property
    def keys(self) -> list[str]:
        """The keys of all episodes that have begun."""
        with self._lock:
            return [key for key, (_, _, cell) in self._cells.items() if cell.there]

    @property
    def sources(self) -> list[Path]:
        """The folders of the runs, and those of episodes of which not the whole run was given."""
        with self._lock:
            return [Path(folder) for held in self._runs.values() for folder in held.sources]

    def folder(self, key: str) -> Path:
        """The folder of an episode; raises UsageError where no known episode that has begun has that key."""
        return Path(self._cell(key).folder)

    def run(self, key: str) -> Run:
        """The run of an episode, which knows its tasks' anchors; raises UsageError."""
        return self._cell(key).run

    def row(self, key: str) -> Row:
        """What the list of episodes says of this one, as it is now; raises UsageError."""
        with self._lock:
            self._cell(key)
            held, name, cell = self._cells[key]
            if cell.look():
                self._note(key)
            return {**cell.row, "key": key, "run": held.name, "state": held.state(name)}

    def state(self, key: str) -> str:
        """done, failed, running, cancelled, missing, stopped or waiting; raises UsageError."""
        return str(self.row(key)["state"])

    def lines(self, key: str, kind: int) -> Growing[Any]:
        """The lines of an episode's STEPS or CALLS, up to now; raises UsageError."""
        return self._opened.lines(self._cell(key).folder, kind)

    def runs(self) -> Document:
        """Document 1."""
        with self._lock:
            keys, left = set(self.keys), set(self._unread)
            if self._worker and self._indexing:
                left |= keys - self._indexed - self._beyond
            return {
                "version": self.version,
                "runs": [held.summary() for held in self._runs.values()],
                "indexing": {"done": len(keys) - len(left), "total": len(keys)},
            }

    def episodes(self, run: str = "") -> Document:
        """Document 2: the episodes of one run, or of all; raises UsageError for a run that is not there."""
        with self._lock:
            self._known(run)
            rows = [
                {**cell.row, "key": key, "run": held.name, "state": held.state(name)}
                for key, (held, name, cell) in self._cells.items()
                if (not run or held.name == run) and key not in self._unread
            ]
            version = self.version
        return {"version": version, "columns": COLUMNS, "rows": [[row[name] for name in COLUMNS] for row in rows]}

    def search(self, q: str, run: str = "", within: str = "all", after: str = "", limit: int = 50) -> Document:
        """Document 3."""
        with self._lock:
            path = self._known(run)
            folders = {
                key: cell.folder
                for key, (held, _, cell) in self._cells.items()
                if cell.there and (not run or held.name == run)
            }
            indexed = self._indexed & folders.keys() if self._indexing else set()
        told = search(Scope(folders, indexed, self.index, path), q, within, after, limit)
        if self.index and not self.index.sound:
            self._wake.set()
        return told

    @property
    def _indexing(self) -> bool:
        return self.index is not None and not self.index.trouble

    def _known(self, run: str) -> str:
        """The folder of a run, empty for all."""
        if run and run not in self._runs:
            raise UsageError(f"There is no run {run[:200]!a}.")
        return self._runs[run].path if run else ""

    def _cell(self, key: str) -> Cell:
        with self._lock:
            found = self._cells.get(key)
        if found is None or not found[2].there:
            raise UsageError(f"There is no episode {key[:300]!a}." if found is None else f"{key} has not begun.")
        return found[2]

    def _look(self, budget: float | None) -> None:
        """Look for folders, drivers and changes; what was never read only for so many seconds."""
        if (began := time.monotonic()) >= self._next:
            self._walk()
            self._next = began + max(WALK_S, (time.monotonic() - began) / WALKING)
        for held in self._runs.values():
            for name in held.listen():
                self._note(_key(held, name))
        until = None if budget is None else time.monotonic() + budget
        for key in self._due():
            new = key in self._unread
            if new and until and time.monotonic() > until:
                continue
            self._unread.pop(key, None)
            cell = self._cells[key][2]
            if (new and cell.take(self._kept.pop(cell.folder, ""))) or cell.look():
                self._note(key)

    def _due(self) -> list[str]:
        """The keys of the episodes to look at now: those that run, that are new or whose folders changed, and some of
        all others in turn.
        """
        keys = list(self._cells)
        turn = [keys[(self._place + n) % len(keys)] for n in range(min(SLICE, len(keys)))]
        self._place = (self._place + len(turn)) % max(1, len(keys))
        running = [_key(held, name) for held in self._runs.values() for name in held.running & held.cells.keys()]
        hot, self._hot = self._hot, {}
        due = dict.fromkeys([*running, *hot, *turn, *self._unread])
        return [key for key in due if (found := self._cells.get(key)) and found[2].there]

    def _walk(self) -> None:
        """Find what came and what went."""
        self._folders.fresh.clear()
        found, wholes = dict[str, dict[str, None]](), set[str]()
        for given in self.paths:
            for run, names, whole in self._folders.runs(os.path.realpath(given)):
                found.setdefault(run, {}).update(dict.fromkeys(names))
                wholes |= {run} if whole else set()
        held_at = {held.path: held for held in self._runs.values()}
        for run, those in found.items():
            self._sync(held_at.get(run) or self._added(run, run in wholes), those)
        for held in [held for held in held_at.values() if held.path not in found]:
            self._sync(held, ())
            del self._runs[held.name]
        fresh = self._folders.fresh
        for key, (held, name, _) in self._cells.items() if fresh else ():
            if f"{held.path}/{name.rpartition('/')[0]}" in fresh:
                self._hot[key] = None

    def _added(self, run: str, whole: bool) -> Held:
        name = called = as_text(title(run)) or "run"
        number = 1
        while called in self._runs:
            number += 1
            called = f"{name}-{number}"
        self._runs[called] = Held(called, run, whole)
        return self._runs[called]

    def _sync(self, held: Held, names: Iterable[str]) -> None:
        new, gone = held.sync(names)
        for name in new:
            self._cells[_key(held, name)] = held, name, held.cells[name]
            self._begun(_key(held, name), held.cells[name].there)
        for name in gone:
            self._drop(_key(held, name))

    def _begun(self, key: str, there: bool) -> None:
        if there:
            self._unread[key] = None
        else:
            self._note(key)

    def _note(self, key: str) -> None:
        """An episode changed."""
        self._changed.add(key)
        self._count += 1
        if self._indexing and (found := self._cells.get(key)) and found[2].there:
            self._stale[key] = None

    def _drop(self, key: str) -> None:
        """An episode went."""
        if found := self._cells.pop(key, None):
            self._gone.append(found[2].folder)
        for each in (self._unread, self._hot, self._stale):
            each.pop(key, None)
        self._indexed.discard(key)
        self._changed.add(key)
        self._count += 1

    def _work(self) -> None:
        try:
            while not self._over.is_set():
                if self.catch_up(BUDGET_S):
                    self._wake.wait()
                    self._wake.clear()
                else:
                    self._over.wait(PAUSE_S)
        except Exception as error:  # what nobody thought of ends the index, and the viewer goes on without
            if self.index:
                self.index.trouble = str(error) or type(error).__name__

    def catch_up(self, budget: float | None = None) -> bool:
        """Read what is new, for so many seconds, and bring the index up to date; whether that is done."""
        with self._lock:
            self._look(budget)
            if self._unread:
                return False
            gone = [*self._gone, *self._kept]  # what was kept of others went while nobody looked
            self._kept, self._gone = {}, []
        if not self.index or not self._indexing:
            return True
        if gone:
            self.index.forget(gone)
        made = self.index.made
        whole = self.index.update(self._todo(), self._over.is_set)
        with self._lock:
            if self.index.made != made or not whole:
                self._indexed.clear()
                self._stale |= dict.fromkeys(self.keys)
            return not self._stale

    def _todo(self) -> Iterator[tuple[str, str, str]]:
        """What the index is to be told, an episode at a time."""
        while True:
            with self._lock:
                key = next(iter(self._stale), None)
                if key is None:
                    return
                del self._stale[key]
                held, _, cell = self._cells[key]
                told = held.path, cell.folder, cell.kept()
            if as_text(told[1]) == told[1]:
                yield told
                self._indexed.add(key)
            else:  # a name that is no text
                self._beyond.add(key)


def _key(held: Held, name: str) -> str:
    return f"{held.name}/{as_text(name)}"
