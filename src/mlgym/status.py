"""How far a run is, read from its folder alone: by whoever runs it, beside it, on another machine, or after its end.

A finished episode is read once and then only looked at for a change; of one that has not ended only what is new is
read. What runs is known from `RUN/drivers/`, where each process that drives the run leaves word while it lives.
"""

import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlgym import beside
from mlgym.disk import content, reading
from mlgym.errors import MlgymError
from mlgym.records import better
from mlgym.sandbox.scratch import namespace, started
from mlgym.task import load_task

CELLS, DRIVERS = "cells.jsonl", "drivers"
SILENT_S = 30.0  # seconds without a sign of life after which another machine's driver counts as gone
BOOT = Path("/proc/sys/kernel/random/boot_id")


def here() -> dict[str, Any]:
    """What tells this process from all others, on all machines."""
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    return {"boot": boot, "space": namespace(), "pid": os.getpid(), "since": started(os.getpid())}


def drivers(run: Path) -> Iterator[tuple[Path, dict[str, Any], bool]]:
    """The word that each driver of a run has left, and whether it lives."""
    for path in sorted((run / DRIVERS).glob("*.json")):
        with suppress(OSError, ValueError):
            told = json.loads(content(path))
            yield path, told, _lives(told, path)


def _lives(told: dict[str, Any], path: Path) -> bool:
    me = here()
    if me["boot"] and (told.get("boot"), told.get("space")) == (me["boot"], me["space"]):
        return started(int(told.get("pid", 0))) == told.get("since")
    return time.time() - path.stat().st_mtime < SILENT_S


@dataclass
class Lines:
    """A JSONL file that grows: each look gives what is new, a file that was replaced from its beginning."""

    path: Path
    inode: int = 0
    offset: int = 0

    def look(self) -> tuple[bool, list[bytes]]:
        """Whether it is another file than before, and the new whole lines."""
        try:
            about = self.path.stat()
        except OSError:
            fresh = self.inode != 0
            self.inode = self.offset = 0
            return fresh, []
        fresh = about.st_ino != self.inode or about.st_size < self.offset
        if fresh:
            self.inode, self.offset = about.st_ino, 0
        if about.st_size == self.offset:
            return fresh, []
        try:
            with reading(self.path) as file:
                file.seek(self.offset)
                data = file.read()
        except OSError:  # another user's, or no file
            return fresh, []
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        return fresh, whole.split(b"\n")[:-1]


class Seen:
    """One episode as far as its folder tells; `look` reads what is new."""

    def __init__(self, run: Path, name: str, metric: str = "", direction: str = "", method: str = "") -> None:
        self.name, self.folder, self.method = name, run / name, method or name.split("/")[1]
        self.metric, self.direction = metric, direction
        self.ended: dict[str, Any] = {}
        self.steps, self.money, self.seconds = 0, 0.0, 0.0
        self.validation: float | None = None
        self.tries, self.why, self.cancelled = 0, "", ""
        self._mark: tuple[int, int, int] | None = None
        self._steps, self._calls = Lines(self.folder / "steps.jsonl"), Lines(self.folder / "calls.jsonl")

    def look(self) -> None:
        """Read what is new; a record that cannot be read counts as not there."""
        try:
            about = (self.folder / "result.json").stat()
            mark = (about.st_ino, about.st_mtime_ns, about.st_size)
        except OSError:
            mark = None
        if mark is None or mark != self._mark:
            self._mark, self.ended = mark, self._result() if mark else {}
            self.tries, self.why, self.cancelled = self._failures()
        if not self.ended:
            self._grown()

    @property
    def scored(self) -> bool:
        """Whether it has ended for good."""
        return bool(self.ended) and bool(self.ended["scored"])

    @property
    def test(self) -> float | None:
        """The test score of the best attempt, once it has ended."""
        best = self.ended.get("best") if self.scored else None
        return best.get(self.metric) if isinstance(best, dict) else None

    def state(self, running: bool) -> str:
        """done, failed (a result, by its own fault), running, cancelled, missing (the infrastructure's), waiting."""
        if self.scored:
            return "done" if self.ended["boundary"] in ("", "budget") else "failed"
        if running:
            return "running"
        if self.cancelled:
            return "cancelled"
        return "missing" if self.tries or self.ended else "waiting"

    def _result(self) -> dict[str, Any]:
        try:
            read = json.loads((self.folder / "result.json").read_bytes())
            cost = read["cost"]
            seconds = [float(cost[clock]) for clock in ("command_s", "model_s", "grader_s")]
            kept = {key: read.get(key) for key in ("scored", "boundary", "why", "best", "ended")}
            self.metric = str(read["metric"])
            self.steps, self.money, self.seconds = int(read["steps"]), float(cost["money"] or 0.0), sum(seconds)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}
        return kept

    def _failures(self) -> tuple[int, str, str]:
        rows = beside.tries(self.folder)
        why = str(self.ended.get("why", "")) if self.ended else str(rows[-1].get("why", "")) if rows else ""
        return len(rows), why, beside.cancelled(self.folder)

    def _grown(self) -> None:
        fresh, rows = self._steps.look()
        if fresh:
            self.steps, self.seconds, self.validation = 0, 0.0, None
        for row in rows:
            with suppress(ValueError, LookupError, TypeError):
                step = json.loads(row)
                self.steps += 1
                self.seconds += step["command_s"] + step["model_s"] + step["grader_s"]
                self._scores(step["observation"].get("validation"))
        fresh, rows = self._calls.look()
        if fresh:
            self.money = 0.0
        for row in rows:
            with suppress(ValueError, LookupError, TypeError):
                self.money += float(json.loads(row)["reply"].get("money") or 0.0)

    def _scores(self, scores: dict[str, float] | None) -> None:
        value = scores.get(self.metric) if scores else None
        if value is not None and (self.validation is None or better(value, self.validation, self.direction)):
            self.validation = value


@dataclass
class TaskRow:
    """A task of a run: how many of its episodes have a result, the best test score so far and whose, and the best
    validation score that a running episode has seen.
    """

    task: str
    metric: str = ""
    direction: str = ""
    total: int = 0
    ended: int = 0
    best: float | None = None
    method: str = ""
    validation: float | None = None


@dataclass
class Status:
    """A run at a moment: counts, dollars, the seconds that it may take yet (None: nobody can tell), its tasks and what
    is missing with the reason. `state` is complete, running, cancelled or stopped.
    """

    run: str
    state: str
    total: int
    done: int = 0
    failed: int = 0
    running: int = 0
    missing: int = 0
    waiting: int = 0
    cancelled: int = 0
    money: float = 0.0
    seconds_left: float | None = None
    tasks: list[TaskRow] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)
    now: list[str] = field(default_factory=list)


class Follow:
    """Follows a run: `look` reads what is new, `status` adds it up."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.cells: dict[str, Seen] = {}
        self._planned = Lines(run / CELLS)
        self._scales: dict[str, tuple[str, str]] = {}

    def look(self, names: Iterable[str] | None = None) -> None:
        """Read what is new of these cells; of all, with those that others have begun, where none are named."""
        if names is None:
            self.discover()
        for name in list(self.cells) if names is None else names:
            self.cells[name].look()

    def status(self, running: Iterable[str] | None = None) -> Status:
        """The run as it was last seen, also while another thread looks; `running` says what runs, else the drivers'
        word does.
        """
        found = drivers(self.run) if running is None else ()
        now = [name for _, told, lives in found if lives for name in told.get("running", ())]
        going = set(now if running is None else running)
        cells = dict(self.cells)
        out = Status(str(self.run), "", len(cells), now=sorted(going))
        rows: dict[str, TaskRow] = {}
        states: dict[str, str] = {}
        for name, seen in cells.items():
            states[name] = state = seen.state(name in going)
            setattr(out, state, getattr(out, state) + 1)
            out.money += seen.money
            task = name.split("/")[0]
            _count(rows.setdefault(task, TaskRow(task, seen.metric, seen.direction)), seen, state)
            if state == "missing":
                out.lost.append({"episode": name, "tries": seen.tries, "why": seen.why})
        out.tasks = list(rows.values())
        out.seconds_left = self._left(states, len(going))
        alive = bool(going) or (running is None and any(lives for _, _, lives in drivers(self.run)))
        out.state = _state(out, alive, bool(beside.cancelled(self.run)))
        return out

    def discover(self) -> None:
        """Find the cells of the plan, and those whose folders are there."""
        for line in self._planned.look()[1]:
            with suppress(ValueError, LookupError, TypeError):
                told = json.loads(line)
                name, *about = (str(told[key]) for key in ("cell", "metric", "direction", "method"))
                if _within(name):
                    self.cells.setdefault(name, Seen(self.run, name, *about))
        for path in self.run.glob("*/*/*/spec.json"):
            name = "/".join(path.parts[-4:-1])
            if name not in self.cells:
                self.cells[name] = Seen(self.run, name, *self._scale(path))

    def _scale(self, path: Path) -> tuple[str, str]:
        """The metric and direction of an episode that no plan names, if its task is known here."""
        try:
            reference = str(json.loads(path.read_bytes())["task"])
            if reference not in self._scales:
                task = load_task(reference, recorded=True)
                self._scales[reference] = task.metric, task.direction
        except (OSError, ValueError, LookupError, TypeError, MlgymError):
            return "", ""
        return self._scales[reference]

    def _left(self, states: dict[str, str], at_once: int) -> float | None:
        """Seconds of what is left by what the ended episodes of the same task and method took, shared by those at work;
        of others with the same task, or of all.
        """
        took: dict[tuple[str, ...], list[float]] = {}
        for name, seen in list(self.cells.items()):
            if seen.scored:
                task, method, _ = name.split("/")
                for key in ((task, method), (task,), ()):
                    took.setdefault(key, []).append(seen.seconds)
        mean = {key: statistics.fmean(values) for key, values in took.items()}
        if not mean or not at_once:
            return 0.0 if set(states.values()) <= {"done", "failed", "cancelled"} else None
        total, longest = 0.0, 0.0
        for name, state in states.items():
            if state in ("running", "waiting", "missing"):
                task, method, _ = name.split("/")
                whole = mean.get((task, method), mean.get((task,), mean[()]))
                rest = max(0.0, whole - self.cells[name].seconds)
                total, longest = total + rest, max(longest, rest)
        return max(total / at_once, longest)


def _within(name: str) -> bool:
    """Whether a cell of a plan, which may be anybody's, names a folder below its run."""
    parts = name.split("/")
    return len(parts) == 3 and "\0" not in name and not {"", ".", ".."} & set(parts)


def _count(row: TaskRow, seen: Seen, state: str) -> None:
    row.total += 1
    row.metric, row.direction = row.metric or seen.metric, row.direction or seen.direction
    row.ended += state in ("done", "failed")
    value = seen.test
    if value is not None and (row.best is None or better(value, row.best, row.direction)):
        row.best, row.method = value, seen.method
    seeing = seen.validation if state == "running" else None
    if seeing is not None and (row.validation is None or better(seeing, row.validation, row.direction)):
        row.validation = seeing


def _state(out: Status, alive: bool, cancelled: bool) -> str:
    if out.done + out.failed == out.total:
        return "complete"
    return "running" if alive else "cancelled" if cancelled else "stopped"
