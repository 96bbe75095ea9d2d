"""Which tasks are equal, and which nearly."""

import functools
import hashlib
import json
import re
from pathlib import Path

from mlgym.grading.prepare import Prepared
from mlgym.task import Task, list_tasks

RUN = 5  # words
LUCK = ("seed", "salt")  # settings that make no task another one
UNEQUAL = ("salt",)  # files that are drawn anew each time


def about(task: Task) -> str:
    """A hash that equal tasks have in common before their data are made: words, metric, settings but for seeds."""
    settings = {key: value for key, value in task.settings.items() if key not in LUCK}
    what = [words(task.instruction), task.kind, task.metric, task.submission.paths, settings]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]


def mark(prepared: Prepared) -> str:
    """A hash that equal tasks have in common: as `about`, and data, limits, and the starter where that is changed."""
    task = prepared.task
    digest = hashlib.sha256(f"{about(task)}{task.episode_limits.model_dump_json()}".encode())
    for folder in (prepared.public, prepared.private, *([task.workspace] if task.changes else [])):
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNEQUAL):
            digest.update(f"\0{path.relative_to(folder)}\0".encode() + _hash(path))
    return digest.hexdigest()[:32]


def nearest(task: Task) -> tuple[str, float]:
    """The benchmark's task whose instruction has most runs of words in common (Jaccard), its own folder left aside."""
    own = _runs(task.instruction)
    shares = {name: len(own & runs) / len(own | runs) for folder, name, runs in _suite() if folder != task.folder}
    name = max(shares, key=lambda each: shares[each])
    return name, shares[name]


def words(text: str) -> list[str]:
    """The words of a text, numbers too, without case and marks."""
    return re.findall(r"[\w.]*\w", text.lower())


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    found = words(text)
    return frozenset(tuple(found[n : n + RUN]) for n in range(max(1, len(found) - RUN + 1)))


@functools.cache
def _suite() -> tuple[tuple[Path, str, frozenset[tuple[str, ...]]], ...]:
    return tuple((task.folder, task.name, _runs(task.instruction)) for task in list_tasks())


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
