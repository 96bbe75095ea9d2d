"""How long a grading takes, and how it grows with the size of the test: writes benchmarks/grading.md.

    .venv/bin/python benchmarks/grading.py

The smallest form of each task, its splits made 1, 2 and 4 times as large; one grading is of one split.
"""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlgym.cache import cache_dir
from mlgym.grading import Grader
from mlgym.grading.prepare import prepare
from mlgym.grading.starter import run_starter
from mlgym.sandbox import choose, scratch
from mlgym.task import Task, load_task

FACTORS = (1, 2, 4)
Settings = dict[str, Any]
PAGE = Path(__file__).with_suffix(".md")


def grown(*keys: str) -> Callable[[Settings, int], Settings]:
    """The settings with these numbers multiplied."""
    return lambda settings, factor: {**settings, **{key: factor * settings[key] for key in keys}}


def more_formulas(settings: Settings, factor: int) -> Settings:
    """The settings with so many times the formulas of each group."""
    groups = [grown("satisfiable", "unsatisfiable")(group, factor) for group in settings["groups"]]
    return {**settings, "groups": groups}


GROW: dict[str, tuple[str, Callable[[Settings, int], Settings]]] = {
    "fashion-mnist-tiny": ("rows of the table", grown("validation", "test")),
    "image-captioning-tiny": ("captions", grown("validation", "test")),
    "mnli-tiny": ("pairs, by a model", grown("validation", "test")),
    "language-modeling-tiny": ("rows of text and checked prefixes", grown("rows", "positions")),
    "breakout-tiny": ("environments", grown("environments")),
    "meta-maze-tiny": ("environments", grown("environments")),
    "mountain-car-tiny": ("environments", grown("environments")),
    "3sat-tiny": ("formulas", more_formulas),
}


def seconds(task: Task) -> tuple[float, float]:
    """The first grading of the baseline's submission, a sandbox and imports included, and the next of another split."""
    prepared, kind = prepare(task), choose("auto")
    with scratch(cache_dir() / "scratch") as place, Grader(prepared, kind) as grader:
        files = run_starter(prepared, kind, place / "baseline").files
        found = []
        for split in ("test", "validation", "test"):
            began = time.monotonic()
            verdict = grader.grade(files, "validation" if split == "validation" else "test", seed=len(found))
            assert verdict.valid, verdict.why
            found.append(time.monotonic() - began)
    return found[0], found[2]


def main() -> None:
    """Measure, print, write."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    cores = len(os.sched_getaffinity(0))
    lines = [
        "# Gradings\n",
        "`.venv/bin/python benchmarks/grading.py` writes this file: seconds for one grading of the test split, the"
        " first (with a new sandbox and its imports) / a later one.\n",
        f"Commit {commit}, {time.strftime('%Y-%m-%d')}, {cores} cores, Python {platform.python_version()}.\n",
        f"| task | what grows | {' | '.join(f'× {factor}' for factor in FACTORS)} |",
        f"|---|---|{'---|' * len(FACTORS)}",
    ]
    for name, (what, grow) in GROW.items():
        task = load_task(name)
        cells = [seconds(task.changed(settings=grow(task.settings, factor))) for factor in FACTORS]
        lines.append(f"| {name} | {what} | {' | '.join(f'{cold:.2f} / {warm:.2f}' for cold, warm in cells)} |")
        print(lines[-1], flush=True)
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
