"""A run as a viewer holds it: its episodes, those that are only planned too, and what runs now."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlgym import beside
from mlgym.columns import Row
from mlgym.runs import BROKEN, Run
from mlgym.status import CELLS, Lines, drivers
from mlgym.viewer.cell import Cell, mark
from mlgym.viewer.finding import as_text, kind, regular
from mlgym.viewer.visible import visible


class Held:
    """The run in the folder `path`, called `name`; the `whole` of it, or some of its episodes."""

    def __init__(self, name: str, path: str, whole: bool) -> None:
        self.name, self.path, self.whole, self.kind = name, path, whole, kind(path)
        self.cells: dict[str, Cell] = {}  # by TASK/METHOD/SEED, as the folders are called
        self.running, self.alive = set[str](), False
        self._plan: dict[str, Row] = {}
        self._planned = Lines(Path(path) / CELLS)
        self._locked: list[int] | None = None
        self.run = Run(Path(path), [])

    def sync(self, found: Iterable[str]) -> tuple[list[str], list[str]]:
        """Take note of the episodes that are there now; which are new or begun, and which are gone."""
        there = dict.fromkeys(found)
        for name, row in self._planning() if self.whole else ():
            self._plan[name] = row
        locked = mark(f"{self.path}/protocol.lock")
        if locked != self._locked:  # what is known of its tasks may be another
            self._locked, self.run = locked, Run(Path(self.path), [])
            for cell in self.cells.values():
                cell.run, cell.mark = self.run, None
        new = [name for name in (*there, *self._plan) if self._new(name, name in there)]
        gone = [name for name in self.cells if name not in there and name not in self._plan]
        for name in gone:
            del self.cells[name]
        return new, gone

    def listen(self) -> set[str]:
        """Hear what its drivers say; the names of the episodes that began or ceased to run."""
        said, now = list[Any](), set[str]()
        with suppress(*BROKEN):
            said = list(drivers(Path(self.path))) if os.path.isdir(f"{self.path}/drivers") else []  # noqa: PTH112
            now = {str(name) for _, told, lives in said if lives for name in told.get("running", ())}
        changed, self.running, alive = self.running ^ now, now, any(lives for _, _, lives in said)
        if alive != self.alive:
            changed, self.alive = {*self.cells}, alive
        return changed & self.cells.keys()

    @property
    def sources(self) -> list[str]:
        """Its folder, or those of its episodes where they alone are looked at."""
        return [self.path] if self.whole else [cell.folder for cell in self.cells.values()]

    def state(self, name: str) -> str:
        """The state of an episode."""
        return self.cells[name].state(name in self.running, self.alive)

    def summary(self) -> Row:
        """The run as the list of runs shows it."""
        cells = list(self.cells.items())
        rows = [cell.row for _, cell in cells]
        states = [cell.state(name in self.running, self.alive) for name, cell in cells]
        ended = sum(state in ("done", "failed") for state in states)
        cancelled = regular(f"{self.path}/{beside.CANCELLED}")
        return {
            "run": self.name,
            "path": visible(as_text(self.path if self.whole else self.sources[0])),
            "episodes": len(rows),
            "ended": ended,
            "running": states.count("running"),
            "failed": states.count("failed"),
            "missing": states.count("missing"),
            "tasks": len({row["task"] for row in rows}),
            "methods": len({row["method"] for row in rows}),
            "money": sum(row["money"] or 0.0 for row in rows),
            "began": min((row["began"] for row in rows if row["began"]), default=None),
            "changed": max((row["changed"] for row in rows if row["changed"]), default=None),
            "state": _state(ended == len(rows), self.alive or "running" in states, cancelled),
            "kind": "imported" if any("imported" in row["marks"] for row in rows[:1]) else self.kind,
        }

    def _new(self, name: str, there: bool) -> bool:
        cell = self.cells.get(name)
        if cell and cell.there == there:
            return False
        self.cells[name] = cell = Cell(self.run, name)
        cell.there, cell.row = there, cell.row | self._plan.get(name, {})
        return True

    def _planning(self) -> Iterator[tuple[str, Row]]:
        fresh, lines = self._planned.look() if regular(str(self._planned.path)) else (True, [])
        if fresh:
            self._plan.clear()
        for line in lines:
            with suppress(*BROKEN):
                told: dict[str, Any] = json.loads(line)
                name, *about = (str(told[key]) for key in ("cell", "metric", "direction", "method"))
                if name.count("/") == 2 and not {"", ".", ".."} & {*name.split("/")}:
                    yield name, dict(zip(("metric", "direction", "method"), map(visible, about), strict=True))


def _state(complete: bool, alive: bool, cancelled: bool) -> str:
    return "complete" if complete else "running" if alive else "cancelled" if cancelled else "stopped"
