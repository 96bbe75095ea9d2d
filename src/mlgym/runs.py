"""A run's folder opened for reading, as arrays: `open_run(path).columns()` is what pandas and polars take.

Only the records on disk are read; of a task its direction and anchors, those from RUN/protocol.lock first where it has
them: `task_protocol.tasks.NAME` may hold `hash`, `metric`, `direction`, `scale` and `best`. Records are not validated
once more, which would take most of the time: what cannot be read is left out and said in `Run.problems`.
"""

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from mlgym.columns import COLUMNS, Columns, Row, Table
from mlgym.errors import UsageError
from mlgym.metrics import progress
from mlgym.task import load_task

BROKEN = (OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)


class Run:
    """A run's folder, opened for reading. `problems` has a line for each thing that could not be read.

    `protocol` is what RUN/protocol.lock holds, empty where there is none.
    """

    def __init__(self, path: Path, folders: list[str]) -> None:
        self.path, self.folders, self.problems = path, folders, list[str]()
        whole = path.absolute()
        single = (path / "spec.json").exists() and len(whole.parents) > 2
        self.name = whole.parents[2].name if single else whole.name
        self.protocol = self._lock((whole.parents[2] if single else whole) / "protocol.lock")
        self._anchors = functools.cache(self._find_anchors)

    def columns(self, of: str = "episodes") -> Columns:
        """Arrays of equal length by name, with one element for each of "episodes", "attempts" or "steps".

        A number that is not known is NaN; so is a score, progress or reward that was not given. Of the episodes those
        with `scored` False are missing cells: not ended, or lost to the infrastructure. `money` and `seconds` of an
        attempt or a step are what was spent by then. The last step may be the driver's own, `end`.
        """
        if of not in COLUMNS:
            raise UsageError(f"A run has no columns of '{of}'; ask for {', '.join(COLUMNS)}.")
        table, rows = Table(COLUMNS[of]), {"episodes": _episode, "attempts": _attempts, "steps": _steps}[of]
        for folder in self.folders:
            try:
                table.add(rows(_Episode(folder, self)))
            except BROKEN as error:
                self.problem(f"{folder} is left out, for its records cannot be read: {_said(error)}.")
        return table.columns()

    def anchors(self, name: str, reference: str, version: int) -> dict[str, Any]:
        """Metric, direction, scale, best known score and protocol hash of a task, what is not known left empty."""
        return self._anchors(name, reference, version)

    def problem(self, line: str) -> None:
        """Say once what could not be read."""
        if line not in self.problems:
            self.problems.append(line)

    def _lock(self, path: Path) -> dict[str, Any]:
        try:
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
        out = {"metric": "", "direction": "", "scale": "", "best": None, "hash": ""}
        if not {"metric", "direction", "best"} <= set(locked):
            out |= self._of_task(name, reference, version)
        return out | {key: locked[key] for key in out if locked.get(key) is not None}

    def _of_task(self, name: str, reference: str, version: int) -> dict[str, Any]:
        try:
            task = load_task(reference)
        except UsageError as error:
            self.problem(f"The task {name} cannot be loaded, so its direction and best known score are open: {error}")
            return {}
        found: dict[str, Any] = {"metric": task.metric, "direction": task.direction}
        if task.version != version:
            self.problem(f"The task {name} is version {task.version} here and {version} there: no best known score.")
        elif task.anchors:
            found |= {"scale": task.anchors.scale, "best": task.anchors.best}
        return found


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


class _Episode:
    """The records of one episode, those of its steps read when they are asked for; `result` is {} before its end."""

    def __init__(self, folder: str, run: Run) -> None:
        self.folder = folder
        self.spec: Row = from_json(_read(f"{folder}/spec.json"))
        text = _read(f"{folder}/result.json", missing=b"")
        self.result: Row = from_json(text) if text else {}
        name = self.spec["task"].rstrip("/").rpartition("/")[2]
        self.anchors = run.anchors(name, self.spec["task"], self.spec.get("version", 1))
        self.metric: str = self.result.get("metric") or self.anchors["metric"]
        self.direction = self.anchors["direction"] if self.metric == self.anchors["metric"] else ""
        self.key: Row = {"run": run.name, "task": name, "method": label(self.spec), "seed": self.spec.get("seed", 0)}

    def score(self, scores: Row | None) -> float | None:
        """The metric's value among scores, None without."""
        return scores.get(self.metric) if scores else None

    def progress(self, score: float | None, split: str) -> float | None:
        """Progress of a score on `split`; None where there is no score or no scale."""
        baseline, best = self.result.get("baseline") or {}, self.anchors["best"]
        base, test = (self.score(baseline.get(name)) for name in (split, "test"))
        if None in (score, base, test, best) or not self.direction:
            return None
        scale = self.anchors["scale"] or "identity"
        try:
            return progress(score, baseline=base, baseline_test=test, best=best, direction=self.direction, scale=scale)  # type: ignore[arg-type]
        except (ArithmeticError, ValueError):  # a scale without width, or a logarithm of what has none
            return None

    def attempts(self) -> list[Row]:
        """The attempts in order: those of the result, or those graded so far."""
        if self.result:
            return list(self.result.get("attempts") or ())
        folder = Path(self.folder) / "attempts"
        return [from_json(path.read_bytes()) for path in sorted(folder.glob("[0-9]*.json"))]

    def steps(self) -> list[Row]:
        """The recorded steps in order; a torn last line is left out."""
        return [from_json(line) for line in _read(f"{self.folder}/steps.jsonl", missing=b"").split(b"\n")[:-1]]

    def spent(self, steps: list[Row]) -> list[float]:
        """The dollars spent by the end of each step, from what was left of the limit or else from the calls."""
        limit = (self.spec.get("limits") or {}).get("money")
        left = [(step.get("observation") or {}).get("money_left") for step in steps]
        if not self.spec.get("model"):
            return [0.0] * len(steps)
        if limit is not None and all(left):
            return [limit - one for one in left]
        calls = _read(f"{self.folder}/calls.jsonl", missing=b"").split(b"\n")[:-1]
        money = [from_json(call)["reply"].get("money", 0.0) for call in calls]
        total = np.cumsum([0.0, *(math.nan if one is None else one for one in money)])
        return [float(total[step["calls"]]) if step.get("calls", 0) < total.size else math.nan for step in steps]


def label(spec: Row) -> str:
    """What a method is called in tables: the agent, or the model where `react` drives it, with what was set."""
    agent, model, sampling = spec["agent"], spec.get("model") or "", spec.get("sampling") or {}
    source = [f"from {spec['source']}"] if spec.get("source") else []
    if model and agent == "react" and not sampling:
        return " ".join([model, *source])
    return " ".join(filter(None, [agent, model, *(f"{key}={sampling[key]}" for key in sorted(sampling)), *source]))


def _marks(result: Row) -> str:
    """What a reader of a table must know of a score that was not made in the usual way."""
    source = result.get("source") or ""
    marks = [
        result.get("data"),
        "imported" if result.get("backend") == "imported" else "",
        "oracle" if result.get("oracle") else "",
        "own python" if result.get("python") else "",
        "network" if result.get("network") is not None else "",
        f"from step {source.rpartition('@')[2]}" if source else "",
        "feedback=test" if result.get("feedback") == "test" else "",
    ]
    return ", ".join(filter(None, marks))


def _episode(of: _Episode) -> list[Row]:
    spec, result, cost = of.spec, of.result, of.result.get("cost") or {}
    scored = bool(result) and bool(result.get("scored", True))
    best, final, selected = (of.score(result.get(name)) if scored else None for name in ("best", "final", "selected"))
    best_progress = -1.0 if of.anchors["best"] is not None and best is None else of.progress(best, "test")
    baseline = result.get("baseline") or {}
    return [
        of.key
        | {name: spec.get(name) or "" for name in ("agent", "model")}
        | {name: result.get(name) or "" for name in ("ended", "boundary", "why", "isolation", "backend")}
        | {name: cost.get(name, math.nan) for name in ("money", "command_s", "model_s", "grader_s", "cpu_s")}
        | {name: cost.get(name, 0) for name in ("tokens_in", "tokens_out", "calls")}
        | {
            "scored": scored,
            "metric": of.metric,
            "direction": of.direction,
            "scale": of.anchors["scale"],
            "baseline_validation": of.score(baseline.get("validation")),
            "baseline_test": of.score(baseline.get("test")),
            "best_known": of.anchors["best"] if of.direction else None,
            "best_attempt": best,
            "best_submission": final,
            "selected": selected,
            "progress": result.get("progress") if scored else None,
            "best_progress": best_progress if scored else None,
            "steps": result["steps"] if "steps" in result else _begun(of.folder),
            "attempts": len(of.attempts()),
            "feedback": result.get("feedback") or spec.get("feedback") or "validation",
            "protocol": of.anchors["hash"],
            "folder": of.folder,
            "marks": _marks(result),
        }
    ]


def _attempts(of: _Episode) -> list[Row]:
    attempts, steps = of.attempts(), of.steps() if of.attempts() else []
    money, seconds = [0.0, *of.spent(steps)], [0.0, *np.cumsum([_seconds(step) for step in steps])]
    rows = []
    for one in attempts:
        at, scores = one["step"], {split: of.score(one.get(split)) for split in ("validation", "test")}
        rows.append(
            of.key
            | {name: one[name] for name in ("n", "step", "kind", "valid")}
            | scores
            | {
                "progress": of.progress(scores["test"], "test"),
                "validation_progress": of.progress(scores["validation"], "validation"),
                "money": money[at] if at < len(money) else math.nan,
                "seconds": float(seconds[at]) if at < len(seconds) else math.nan,
                "fallback": one.get("fallback", False),
            }
        )
    return rows


def _steps(of: _Episode) -> list[Row]:
    steps, rows = of.steps(), []
    for step, money in zip(steps, of.spent(steps), strict=True):
        seen = step.get("observation") or {}
        rows.append(
            of.key
            | {name: step.get(name) for name in ("n", "command_s", "model_s", "grader_s", "reward")}
            | {
                "tool": step["action"]["tool"],
                "status": seen.get("status") or "ok",
                "hit": seen.get("hit") or "",
                "validation": of.score(seen.get("validation")),
                "money": money,
            }
        )
    return rows


def _seconds(step: Row) -> float:
    return float(step.get("command_s", 0) + step.get("model_s", 0) + step.get("grader_s", 0))


def _begun(folder: str) -> int:
    """How many steps an episode has that did not end."""
    return _read(f"{folder}/steps.jsonl", missing=b"").count(b"\n")


def _read(path: str, missing: bytes | None = None) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return file.read()
    except FileNotFoundError:
        if missing is None:
            raise
        return missing


def _said(error: BaseException) -> str:
    """What was wrong, on one line."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return " ".join(str(error).split())
