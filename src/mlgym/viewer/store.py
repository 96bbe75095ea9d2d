"""What a viewer was given to show: runs and episodes found under paths, each with a name of its own."""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mlgym.columns import Row
from mlgym.errors import UsageError
from mlgym.rows import Records
from mlgym.runs import Run, open_run
from mlgym.viewer.lines import Call, Fact, Growing, call, fact

COLUMNS = [
    *("key", "run", "task", "method", "agent", "model", "seed", "state", "ended", "scored", "why"),
    *("metric", "direction", "baseline", "best_known", "score", "final", "progress", "best_progress", "validation"),
    *("steps", "attempts", "money", "tokens", "seconds", "began", "changed", "marks"),
]
Document = dict[str, Any]


class Store:
    """The runs and episodes under `paths`; an episode's key is NAME/TASK/METHOD/SEED. `cache` is a folder for the
    index, without which nothing is kept on disk.
    """

    def __init__(self, paths: Iterable[Path | str], cache: Path | None = None) -> None:
        self.paths, self.cache = [Path(path) for path in paths], cache
        self._runs: dict[str, Run] = {}
        self._folders: dict[str, Path] = {}
        self._steps: dict[str, Growing[Fact]] = {}
        self._calls: dict[str, Growing[Call]] = {}
        self._versions: dict[str, str] = {}
        self.refresh()

    def start(self) -> None:
        """Begin to read what is new in the background."""

    def close(self) -> None:
        """Stop reading in the background."""

    def refresh(self) -> set[str]:
        """Look for what is new; the keys of the episodes that changed."""
        self._runs, self._folders = {}, {}
        for folder in (found for path in self.paths for found in _runs(path.resolve())):
            name = _unique(folder.name, self._runs)
            self._runs[name] = run = open_run(folder)
            for each in map(Path, run.folders):
                self._folders["/".join((name, *each.parts[-3:]))] = each
        versions = {key: _version(folder) for key, folder in self._folders.items()}
        changed = {key for key in versions | self._versions if versions.get(key) != self._versions.get(key)}
        self._versions = versions
        return changed

    @property
    def version(self) -> str:
        """Changes when a run or an episode came, went or changed."""
        return str(hash(tuple(sorted(self._versions.items()))))

    @property
    def keys(self) -> list[str]:
        """The keys of all episodes."""
        return list(self._folders)

    def folder(self, key: str) -> Path:
        """The folder of an episode; raises UsageError where no known episode has that key."""
        if key not in self._folders:
            raise UsageError(f"There is no episode {key[:200]!a}.")
        return self._folders[key]

    def run(self, key: str) -> Run:
        """The run of an episode, which knows its tasks' anchors."""
        self.folder(key)
        return self._runs[key.partition("/")[0]]

    def episode_version(self, key: str) -> str:
        """Changes when the episode may have changed."""
        self.folder(key)
        return self._versions[key]

    def state(self, key: str) -> str:
        """done, failed, running, waiting, cancelled, stopped or missing."""
        return str(self._row(key)["state"])

    def row(self, key: str) -> Row:
        """What the list of episodes says of this one."""
        return self._row(key)

    def facts(self, key: str) -> Sequence[Fact]:
        """The facts of all steps, up to now."""
        return self._grown_steps(key).facts

    def call_facts(self, key: str) -> Sequence[Call]:
        """The facts of all model calls, up to now."""
        return self._grown_calls(key).facts

    def step_lines(self, key: str, first: int, count: int) -> list[bytes]:
        """So many lines of steps.jsonl from step `first` on (1 is the first); no others are read."""
        return self._grown_steps(key).lines(first, count)

    def call_lines(self, key: str, first: int, count: int) -> list[bytes]:
        """So many lines of calls.jsonl from call `first` on (1 is the first)."""
        return self._grown_calls(key).lines(first, count)

    def step_line(self, key: str, n: int) -> bytes:
        """The line of one step; raises UsageError where there is none."""
        return _one(self.step_lines(key, n, 1), f"There is no step {n} in {key}.")

    def call_line(self, key: str, n: int) -> bytes:
        """The line of one model call; raises UsageError where there is none."""
        return _one(self.call_lines(key, n, 1), f"There is no model call {n} in {key}.")

    def runs(self) -> Document:
        """Document 1."""
        rows = [self._row(key) for key in self._folders]
        out = []
        for name, run in self._runs.items():
            own = [row for row in rows if row["run"] == name]
            ended = sum(row["scored"] for row in own)
            running = sum(row["state"] == "running" for row in own)
            out.append(
                {
                    "run": name,
                    "path": str(run.path),
                    "episodes": len(own),
                    "ended": ended,
                    "running": running,
                    "tasks": len({row["task"] for row in own}),
                    "methods": len({row["method"] for row in own}),
                    "money": sum(row["money"] or 0.0 for row in own),
                    "began": min((row["began"] for row in own if row["began"]), default=None),
                    "changed": max((row["changed"] for row in own if row["changed"]), default=None),
                    "state": "running" if running else "complete" if ended == len(own) else "stopped",
                    "kind": "imported" if any("imported" in row["marks"] for row in own) else "run",
                }
            )
        return {"version": self.version, "runs": out, "indexing": {"done": len(rows), "total": len(rows)}}

    def episodes(self, run: str = "") -> Document:
        """Document 2: the episodes of one run, or of all; raises UsageError for a run that is not there."""
        if run and run not in self._runs:
            raise UsageError(f"There is no run {run[:200]!a}.")
        rows = [row for key in self._folders if (row := self._row(key))["run"] == run or not run]
        return {"version": self.version, "columns": COLUMNS, "rows": [[row[name] for name in COLUMNS] for row in rows]}

    def search(self, q: str, run: str = "", within: str = "all", after: str = "", limit: int = 50) -> Document:
        """Document 3."""
        return {"hits": [], "more": False, "after": "", "note": "Search is being built."}

    def _grown_steps(self, key: str) -> Growing[Fact]:
        path = self.folder(key) / "steps.jsonl"
        grown = self._steps.setdefault(key, Growing(path, fact))
        grown.look()
        return grown

    def _grown_calls(self, key: str) -> Growing[Call]:
        path = self.folder(key) / "calls.jsonl"
        grown = self._calls.setdefault(key, Growing(path, call))
        grown.look()
        return grown

    def _row(self, key: str) -> Row:
        run_name, run = key.partition("/")[0], self.run(key)
        folder = self._folders[key]
        of = Records(str(folder), run_name, run.anchors)
        columns = open_run(folder).columns()
        told = {
            kept: columns[kept][0].item() if hasattr(columns[kept][0], "item") else columns[kept][0] for kept in columns
        }
        result = of.result
        ended = bool(told["scored"])
        facts = [] if ended else self.facts(key)
        seen = [step.validation.get(of.metric) for step in facts if step.validation]
        state = "failed" if ended and told["boundary"] not in ("", "budget") else "done" if ended else "stopped"
        return {
            **{column: _known(told.get(column)) for column in COLUMNS},
            "key": key,
            "run": run_name,
            "state": state,
            "scored": ended,
            "baseline": _known(told["baseline_test"]),
            "score": _known(told["best_attempt"]),
            "final": _known(told["best_submission"]),
            "validation": seen[-1] if seen else of.score(result.get("validation")),
            "tokens": told["tokens_in"] + told["tokens_out"],
            "seconds": _known(told["command_s"] + told["model_s"] + told["grader_s"]),
            "began": (folder / "spec.json").stat().st_mtime,
            "changed": folder.stat().st_mtime,
        }


def _runs(path: Path, depth: int = 3) -> Iterable[Path]:
    if (path / "spec.json").exists() or next(path.glob("*/*/*/spec.json"), None):
        yield path
    elif depth and path.is_dir():
        for inner in sorted(path.iterdir()):
            if inner.is_dir() and not inner.is_symlink():
                yield from _runs(inner, depth - 1)


def _unique(name: str, taken: Iterable[str]) -> str:
    known, number, found = set(taken), 1, name or "run"
    while found in known:
        number += 1
        found = f"{name}-{number}"
    return found


def _version(folder: Path) -> str:
    told = []
    for name in ("spec.json", "steps.jsonl", "calls.jsonl", "result.json"):
        try:
            about = os.stat(folder / name)  # noqa: PTH116
            told.append(f"{about.st_ino:x}.{about.st_size:x}.{about.st_mtime_ns:x}")
        except OSError:
            told.append("")
    return "-".join(told)


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _one(found: list[bytes], missing: str) -> bytes:
    if not found:
        raise UsageError(missing)
    return found[0]
