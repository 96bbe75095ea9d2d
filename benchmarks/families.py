"""Made tasks by the thousand: built twice, told apart, and some through the gate: writes benchmarks/families.md.

    .venv/bin/python benchmarks/families.py --write

Every task is generated and loaded in two processes with other hash seeds; an id whose task equals an earlier one, but
for its seed, is passed over. The data of one in 21 are made in both as well. Some, drawn by chance, go through the
whole gate. What is done is kept in --folder: the same command goes on.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import commit, record

from mlgym.cache import cache_dir
from mlgym.disk import append_line
from mlgym.gate import Passage, through
from mlgym.gate.alike import about, mark
from mlgym.grading.prepare import prepare, remake
from mlgym.made import list_families, task_id
from mlgym.sandbox import scratch
from mlgym.store import lines
from mlgym.task import load_task

PREPARED = 21  # of one task in so many the data are made; with eight families all have their turn
GOLDEN = 0.6180339887  # its multiples fill the difficulties evenly
Row = dict[str, Any]


def names(number: int, count: int) -> Iterator[str]:
    """The ids that may be the task of that number: the families by turns, all difficulties, one seed after another."""
    families = [family.name for family in list_families()]
    for seed in itertools.count(number, count):
        yield task_id(families[number % len(families)], seed, round(number * GOLDEN % 1, 2))


def build(count: int, kept: Path) -> None:
    """Build the tasks that `kept` has not; a line each, of hashes: the whole task, what tells it apart, its data.

    An id whose task is equal to an earlier one is passed over, and counted.
    """
    rows = [json.loads(line) for line in lines(kept)] if kept.exists() else []
    known = {row["about"] for row in rows}
    for number in range(len(rows), count):
        tried = (load_task(name) for name in names(number, count))
        passed, task = next((n, task) for n, task in enumerate(tried) if about(task) not in known)
        known.add(about(task))
        whole = digest(task.model_dump_json(exclude={"folder"}).encode())
        row = {"task": task.name, "whole": whole, "about": about(task), "passed": passed}
        if number % PREPARED == 0:
            prepared = prepare(task)
            with scratch(cache_dir() / "scratch") as place:
                remake(prepared, place / "again")
                files = sorted(path for path in (place / "again").rglob("*") if path.is_file())
                row["data"] = digest(b"".join(path.read_bytes() for path in files))
            row["mark"] = mark(prepared)
        append_line(kept, json.dumps(row).encode())


def digest(data: bytes) -> str:
    """A hash."""
    return hashlib.sha256(data).hexdigest()


def both(count: int, folder: Path) -> tuple[list[Row], list[Row]]:
    """The rows of two processes, with other hash seeds, side by side."""
    kept = [folder / f"built-{seed}.jsonl" for seed in (1, 2)]
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "--tasks", str(count), "--build", str(path)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )
        for seed, path in enumerate(kept, 1)
    ]
    if any(process.wait() for process in running):
        raise SystemExit("A process that builds tasks failed: see above; the same command goes on.")
    first, second = ([json.loads(line) for line in lines(path)] for path in kept)
    return first, second


def wilson(successes: int, n: int, z: float = 1.96) -> str:
    """The share with its interval of 95 % (Wilson 1927, equation 8 in Brown, Cai and DasGupta 2001)."""
    p, wide = successes / n, z * z / n
    middle = (p + wide / 2) / (1 + wide)
    half = z / (1 + wide) * (p * (1 - p) / n + wide / 4 / n) ** 0.5
    return f"{p:.1%} [{max(0, middle - half):.1%}, {min(1, middle + half):.1%}]"


def main() -> None:
    """Build, compare, gate, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--gate", type=int, default=200, help="so many of them, drawn by chance")
    parser.add_argument("-j", type=int, default=2, help="so many in the gate side by side")
    parser.add_argument("--folder", type=Path, help="runs/families-COMMIT, if left out")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        build(given.tasks, given.build)
        return
    folder: Path = given.folder or Path("runs") / f"families-{commit()}"
    folder.mkdir(parents=True, exist_ok=True)
    fresh, began = not any(folder.iterdir()), time.monotonic()
    first, second = both(given.tasks, folder)
    built_s = time.monotonic() - began
    drawn = random.Random(0).sample([row["task"] for row in first], given.gate)
    passages = []
    for passage in through(drawn, kept=folder / "gate.jsonl", at_once=given.j):
        passages.append(passage)
        print(f"{len(passages)}/{len(drawn)} {passage.task}: {passage.cause or 'passes'} {passage.why}", flush=True)
    rows = [*built(first, second), *accepted(passages)]
    took = f"in {built_s / 60:.0f} minutes" if fresh else "with a stop between"
    notes = (
        f"{given.tasks} tasks of all families, built {took} in two processes; {given.gate} of them, "
        "drawn by chance, through the gate in "
        f"{sum(each.seconds for each in passages) / 60 / given.j:.0f} minutes, {given.j} at a time. Shares have their "
        "intervals of 95 % (Wilson). A cause is the first question of the gate that was answered no."
    )
    record("families", ["what", "tasks", "of", "share"], rows, given.write, "bubblewrap", notes)


def built(first: list[Row], second: list[Row]) -> list[list[str]]:
    """How many are the same in both processes, and how many are told apart."""
    pairs = list(zip(first, second, strict=True))
    same = sum(one["task"] == two["task"] and one["whole"] == two["whole"] for one, two in pairs)
    data = [(one, two) for one, two in pairs if "data" in one]
    again = sum(one["data"] == two["data"] for one, two in data)
    total, made = len(first), len(data)
    rows = [
        ["the same task in both processes", str(same), str(total), wilson(same, total)],
        ["the same data in both processes", str(again), str(made), wilson(again, made)],
        ["equal to another (words, settings but for seeds)", str(total - len({r["about"] for r in first})), str(total)],
        ["equal to another (data too)", str(made - len({one["mark"] for one, _ in data})), str(made)],
        ["ids passed over, being equal to an earlier one", str(sum(row["passed"] for row in first)), ""],
    ]
    by, passed = Counter[str](), Counter[str]()
    for row in first:
        name = row["task"].split("-s")[0]
        by[name] += 1
        passed[name] += row["passed"]
    rows += [[f"of the family {name} ({passed[name]} passed over)", str(by[name]), str(total)] for name in sorted(by)]
    return [[*row, ""][:4] for row in rows]


def accepted(passages: list[Passage]) -> list[list[str]]:
    """How many the gate let in, by family, and the causes of the others."""
    total = len(passages)
    causes = Counter(each.cause for each in passages if each.cause)
    rows = [["let in by the gate", str(sum(p.passed for p in passages)), str(total)]]
    for name in sorted({each.task.split("-s")[0] for each in passages}):
        own = [each for each in passages if each.task.split("-s")[0] == name]
        rows.append([f"let in, {name}", str(sum(each.passed for each in own)), str(len(own))])
    rows += [[f"kept out: {cause}", str(number), str(total)] for cause, number in causes.most_common()]
    return [[*row, wilson(int(row[1]), int(row[2]))] for row in rows]


if __name__ == "__main__":
    main()
