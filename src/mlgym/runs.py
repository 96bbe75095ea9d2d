"""A run's folder opened for reading, as arrays: `open_run(path).columns()` is what pandas and polars take.

Only the records on disk are read; of a task its direction and anchors, those from RUN/protocol.lock first where it has
them: `task_protocol.tasks.NAME` may hold `hash`, `metric`, `direction`, `scale` and `best`. Records are not validated
once more, which would take most of the time: what cannot be read is left out and said in `Run.problems`.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from mlgym.columns import COLUMNS, Columns, Table
from mlgym.errors import UsageError
from mlgym.rows import ROWS, Records
from mlgym.task import load_task

BROKEN = (OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)


class Run:
    """A run's folder, opened for reading. `problems` has a line for each thing that could not be read.

    `protocol` is what RUN/protocol.lock holds, empty where there is none.
    """

    def __init__(self, path: Path, folders: list[str]) -> None:
        self.path, self.folders, self.problems = path, folders, list[str]()
        self._said: set[str] = set()
        whole = path.absolute()
        single = (path / "spec.json").exists() and len(whole.parents) > 2
        self.name = whole.parents[2].name if single else whole.name
        self.protocol = self._lock((whole.parents[2] if single else whole) / "protocol.lock")
        self._anchors = functools.cache(self._find_anchors)

    def columns(self, of: str = "episodes") -> Columns:
        """Arrays of equal length by name, with one element for each of "episodes", "attempts" or "steps".

        A number that is not known is NaN; so is a score, progress or reward that was not given. Of the episodes those
        with `scored` False are missing cells: lost to the infrastructure, or not ended (`why` is then of the last try
        that failed, if one did). `money` and `seconds` of an attempt or a step are what was spent by then. The last
        step may be the driver's own, `end`.
        """
        return self.tables(of)[of]

    def tables(self, *of: str) -> dict[str, Columns]:
        """The columns of several kinds at once, of all three by default, for which each record is read only once."""
        of = of or tuple(COLUMNS)
        if unknown := [name for name in of if name not in COLUMNS]:
            raise UsageError(f"A run has no columns of '{unknown[0]}'; ask for {', '.join(COLUMNS)}.")
        tables = {name: Table(COLUMNS[name]) for name in of}
        for folder in self.folders:
            try:
                episode = Records(folder, self.name, self.anchors)
                checked = [tables[name].checked(*ROWS[name](episode)) for name in of]
            except BROKEN as error:
                self.problem(f"{folder} is left out, for its records cannot be read: {_said(error)}.")
                continue
            for name, rows in zip(of, checked, strict=True):
                tables[name].add(rows)
        return {name: table.columns() for name, table in tables.items()}

    def anchors(self, name: str, reference: str, version: int) -> dict[str, Any]:
        """Metric, direction, scale, best known score and protocol hash of a task, what is not known left empty."""
        return self._anchors(name, reference, version)

    def problem(self, line: str) -> None:
        """Say once what could not be read."""
        if line not in self._said:
            self._said.add(line)
            self.problems.append(line)

    def _lock(self, path: Path) -> dict[str, Any]:
        try:
            if path.exists() and not path.is_file():  # a pipe would be waited for
                raise OSError("it is no file")
            found = from_json(path.read_bytes())
            if isinstance(found, dict):
                return found
            self.problem(f"{path} is not a table, so the protocol of these episodes is not known.")
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.problem(f"{path} cannot be read, so the protocol of these episodes is not known: {_said(error)}.")
        return {}

    def _find_anchors(self, name: str, reference: str, version: int) -> dict[str, Any]:
        locked = self.protocol
        for key in ("task_protocol", "tasks", name):
            inner = locked.get(key)
            locked = inner if isinstance(inner, dict) else {}
        out: dict[str, Any] = {"metric": "", "direction": "", "scale": "", "best": None, "hash": ""}
        if not {"metric", "direction", "best"} <= set(locked):
            out |= self._of_task(name, reference, version)
        out["noise"] = _noise(reference, version)
        return out | {key: locked[key] for key in out if locked.get(key) is not None}

    def _of_task(self, name: str, reference: str, version: int) -> dict[str, Any]:
        try:
            task = load_task(reference, recorded=True)
        except UsageError as error:
            self.problem(f"The task {name} cannot be loaded, so its direction and best known score are open: {error}")
            return {}
        found: dict[str, Any] = {"metric": task.metric, "direction": task.direction}
        if task.version != version:
            self.problem(f"The task {name} is version {task.version} here and {version} there: no best known score.")
        elif task.anchors:
            found |= {"scale": task.anchors.scale, "best": task.anchors.best}
        return found


def _noise(reference: str, version: int) -> float | None:
    """The noise of a task's test score; a lock does not hold it."""
    try:
        task = load_task(reference, recorded=True)
    except UsageError:
        return None
    return task.anchors.noise.get("test") if task.anchors and task.version == version else None


def open_run(path: Path | str) -> Run:
    """The run (or the single episode) in the folder `path`; raises UsageError where there is no episode."""
    path = Path(path)
    folders = [str(path)] if (path / "spec.json").exists() else list(_folders(str(path)))
    if not folders:
        raise UsageError(f"There is no episode in {path}: give the folder of a run, as `mlgym run` or `import` make.")
    return Run(path, folders)


def _folders(path: str, depth: int = 3) -> Iterator[str]:
    """The folders TASK/METHOD/SEED below `path` that hold a spec.json, in order."""
    if depth == 0:
        if os.path.exists(f"{path}/spec.json"):  # noqa: PTH110 - a run has 100,000 of them
            yield path
        return
    try:
        with os.scandir(path) as found:
            inner = sorted(entry.path for entry in found if entry.is_dir())
    except OSError:
        return
    for folder in inner:
        yield from _folders(folder, depth - 1)


def _said(error: BaseException) -> str:
    """What was wrong, on one line."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return " ".join(str(error).split())
