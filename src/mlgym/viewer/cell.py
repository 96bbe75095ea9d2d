"""An episode as lists show it, read from its folder and read again where its records changed."""

import json
import math
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from mlgym import beside
from mlgym.columns import COLUMNS as KINDS
from mlgym.columns import Row, Table
from mlgym.disk import content, reading
from mlgym.records import better
from mlgym.rows import ROWS, Records
from mlgym.runs import BROKEN, Run
from mlgym.viewer.finding import as_text, regular
from mlgym.viewer.lines import Mark, whole
from mlgym.viewer.visible import visible

COLUMNS = [
    *("key", "run", "task", "method", "agent", "model", "seed", "state", "ended", "scored", "why"),
    *("metric", "direction", "baseline", "best_known", "score", "final", "progress", "best_progress", "validation"),
    *("steps", "attempts", "money", "tokens", "seconds", "began", "changed", "marks"),
]
REPORTED = {"baseline": "baseline_test", "score": "best_attempt", "final": "best_submission"}  # as the report has them
GROWING = ("steps.jsonl", "calls.jsonl", beside.FAILED, beside.CANCELLED, "attempts")
LONGEST = 400  # characters of a text
Signs = list[list[int]]


class Cell:
    """One episode of `run`; `name` is TASK/METHOD/SEED. One that is only planned is not yet `there`."""

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name, self.folder = run, name, f"{run.path}/{name}"
        self.there = False
        self.mark: Signs | None = None  # changes when the records did
        self.task: tuple[str, str, int] | None = None  # by which its anchors are found
        self.lost, self.cancelled = False, False
        self.row = empty(name)
        self._tally: Tally | None = None

    def look(self) -> bool:
        """Read again what changed; whether anything had."""
        now = self._stat()
        if now == self.mark:
            return False
        self.mark = now
        try:
            self._read()
        except BROKEN as error:
            said = visible(" ".join(str(error).split()))[:LONGEST]
            self.task, self.lost = None, True
            self.row = {**empty(self.name), "why": f"The records cannot be read: {said}"}
        return True

    def state(self, running: bool, alive: bool) -> str:
        """done, failed by its own fault, running, cancelled, missing (lost to the infrastructure), stopped or waiting;
        `alive` says whether anything of its run runs.
        """
        if self.row["scored"]:
            return "failed" if self.row["failed"] else "done"
        if running:
            return "running"
        if self.cancelled:
            return "cancelled"
        if self.lost:
            return "missing"
        return "stopped" if self.row["steps"] and not alive else "waiting"

    def kept(self) -> str:
        """What was read as text, empty where it cannot be kept: `take` knows it again."""
        if self.task is None:
            return ""
        anchors = self.run.anchors(*self.task)
        return json.dumps([self.mark, self.task, anchors, self.lost, self.cancelled, self.row])

    def take(self, kept: str) -> bool:
        """Take what was kept where the records, and what is known of the task, are as they were then."""
        with suppress(*BROKEN):
            was, task, anchors, lost, cancelled, row = json.loads(kept)
            if was == self._stat() and anchors == self.run.anchors(*task) and row.keys() == self.row.keys():
                self.mark, self.task, self.lost, self.cancelled, self.row = was, tuple(task), lost, cancelled, row
                return True
        return False

    def _stat(self) -> Signs:
        ended = mark(f"{self.folder}/result.json")
        return [ended] if ended else [ended, *(mark(f"{self.folder}/{name}") for name in GROWING)]

    def _read(self) -> None:
        spec = _json(f"{self.folder}/spec.json")
        result = _json(f"{self.folder}/result.json") if self.mark and self.mark[0] else {}
        of = Records(self.folder, "", self.run.anchors, spec=spec, result=result or {"scored": False})
        lost = bool(result) and not result.get("scored", True)
        if result:
            self._tally = None
        else:
            tries = beside.tries(Path(self.folder)) if regular(f"{self.folder}/{beside.FAILED}") else []
            of = Records(self.folder, "", self.run.anchors, spec=spec, result=self._so_far(of, tries))
            lost = bool(tries)
        told = Table(KINDS["episodes"])
        told.add(told.checked(*ROWS["episodes"](of)))
        row = {name: column.tolist()[0] for name, column in told.columns().items()}
        changed = max((each[2] for each in self.mark or () if each), default=0) / 1e9
        began = os.stat(f"{self.folder}/spec.json").st_mtime  # noqa: PTH116
        row = {
            **{name: row.get(REPORTED.get(name, name)) for name in COLUMNS},
            "validation": self._tally.validation if self._tally else _best(of),
            "tokens": row["tokens_in"] + row["tokens_out"],
            "seconds": row["command_s"] + row["model_s"] + row["grader_s"],
            "began": began,
            "changed": max(changed, began),
            "failed": row["boundary"] not in ("", "budget"),
        }
        self.row = {name: _plain(value) for name, value in row.items()}
        self.task = of.key["task"], spec["task"], spec.get("version", 1)
        self.lost, self.cancelled = lost, not result and regular(f"{self.folder}/{beside.CANCELLED}")

    def _so_far(self, of: Records, tries: list[Row]) -> Row:
        """What stands in for the result before the end."""
        tally = self._tally = self._tally or Tally(self.folder, of.metric, of.direction)
        tally.look()
        tried = 0
        with suppress(OSError):
            tried = sum(name[:1].isdigit() for name in os.listdir(f"{self.folder}/attempts"))  # noqa: PTH208
        cost = {
            "money": tally.money,
            "tokens_in": tally.tokens,
            "command_s": tally.seconds,
            "model_s": 0.0,
            "grader_s": 0.0,
        }
        why = str(tries[-1].get("why") or "") if tries else ""
        return {"scored": False, "steps": tally.steps, "attempts": [{}] * tried, "cost": cost, "why": why}


class Tally:
    """What the lines of an episode that has not ended come to, of which only the new ones are read each time."""

    def __init__(self, folder: str, metric: str, direction: str) -> None:
        self.metric, self.direction = metric, direction
        self._paths = {name: f"{folder}/{name}.jsonl" for name in ("steps", "calls")}
        self._read = dict.fromkeys(self._paths, (0, Mark()))
        self.steps, self.seconds, self.money, self.tokens = 0, 0.0, 0.0, 0
        self.validation: float | None = None

    def look(self) -> None:
        """Read what is new."""
        for name, path in self._paths.items():
            try:
                self._look(name, path)
            except OSError:
                self._again(name)

    def _look(self, name: str, path: str) -> None:
        with reading(path) as file:
            offset, seen = self._read[name]
            if not seen.goes_on(file, offset):
                offset = self._again(name)
            file.seek(offset)
            for line, size in whole(file):
                offset += size
                with suppress(*BROKEN):
                    (self._step if name == "steps" else self._call)(from_json(line))
            self._read[name] = offset, Mark.at(file, offset)

    def _again(self, name: str) -> int:
        self._read[name] = 0, Mark()
        if name == "steps":
            self.steps, self.seconds, self.validation = 0, 0.0, None
        else:
            self.money, self.tokens = 0.0, 0
        return 0

    def _step(self, step: Row) -> None:
        self.steps += 1
        self.seconds += step["command_s"] + step["model_s"] + step["grader_s"]
        value = (step["observation"].get("validation") or {}).get(self.metric)
        if value is not None and (self.validation is None or better(value, self.validation, self.direction)):
            self.validation = value

    def _call(self, call: Row) -> None:
        reply = call["reply"]
        self.tokens += reply.get("tokens_in", 0) + reply.get("tokens_out", 0)
        self.money += reply.get("money") or 0.0


def empty(name: str) -> Row:
    """The row of an episode of which nothing is known but where it lies."""
    task, method, seed = (visible(as_text(part)) for part in name.split("/"))
    row: Row = dict.fromkeys((*COLUMNS, "failed"))
    row |= dict.fromkeys(("agent", "model", "ended", "why", "metric", "direction", "marks"), "")
    return row | {
        "task": task,
        "method": method,
        "seed": int(seed) if seed.isdecimal() and len(seed) < 18 else 0,
        "scored": False,
        "failed": False,
        "steps": 0,
        "attempts": 0,
    }


def _best(of: Records) -> float | None:
    """The best validation score that the attempts have."""
    best = None
    for attempt in of.attempts:
        value = of.score(attempt.get("validation"))
        if value is not None and attempt.get("valid") and (best is None or better(value, best, of.direction)):
            best = value
    return best


def _plain(value: Any) -> Any:
    """What JSON can hold and a page can show."""
    if isinstance(value, str):
        return visible(value[:LONGEST])
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(path: str) -> Row:
    return dict(from_json(content(path)))


def mark(path: str) -> list[int]:
    """What tells a file from what it was; empty where there is none."""
    try:
        about = os.lstat(path)
    except OSError:
        return []
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        return []
    return [about.st_ino, about.st_size, about.st_mtime_ns]
