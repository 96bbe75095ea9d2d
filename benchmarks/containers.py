"""What containers cost: python benchmarks/containers.py [BACKEND…] prints what docs/containers.md has.

Needs an engine that answers, and the base image that MLGYM_IMAGE names.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlgym.grading import Grader
from mlgym.grading.prepare import Prepared, prepare
from mlgym.grading.starter import run_starter
from mlgym.sandbox import Sandbox, SandboxSpec, choose, open_shell
from mlgym.task import load_task

STARTS, COMMANDS, READS, GRADERS, GRADINGS = 20, 300, 5, 5, 5


def ms(act: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def shells(backend: type[Sandbox], prepared: Prepared, place: Path) -> dict[str, list[float]]:
    """Milliseconds of starts, ends, commands and of reading 10 MB."""
    found: dict[str, list[float]] = {name: [] for name in ("start", "end", "command", "read 10 MB")}
    for number in range(STARTS):
        (folder := place / str(number)).mkdir()
        shell = open_shell(backend, SandboxSpec(folder, prepared.env))
        found["start"].append(ms(shell.start))
        if number == 1:
            found["command"] = [ms(lambda: shell.run("true", 5)) for _ in range(COMMANDS)]  # noqa: B023
            shell.write("f", bytes(10_000_000))
            found["read 10 MB"] = [ms(lambda: shell.read("f")) for _ in range(READS)]  # noqa: B023
        found["end"].append(ms(shell.stop))
    del found["start"][0]  # it may have built the image
    return found


def gradings(backend: type[Sandbox], prepared: Prepared, place: Path) -> dict[str, list[float]]:
    """Milliseconds of grading the baseline, by a new grader and by one that has graded."""
    files = run_starter(prepared, backend, place / "starter").files
    cold, warm = [], []
    for _ in range(GRADERS):
        with Grader(prepared, backend.name) as grader:
            cold.append(ms(lambda: grader.grade(files, "validation")))
            warm += [ms(lambda: grader.grade(files, "validation")) for _ in range(GRADINGS)]
    return {"grading, cold": cold, "grading, warm": warm}


def main(names: list[str]) -> None:
    """Measure and print."""
    prepared = prepare(load_task("house-price"))
    for name in names or ["docker", "podman", "bubblewrap"]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            backend = choose(name)
            found = shells(backend, prepared, Path(place)) | gradings(backend, prepared, Path(place))
        print(name, *(f"{what} {statistics.median(times):.1f} ms" for what, times in found.items()), sep=" | ")


if __name__ == "__main__":
    main(sys.argv[1:])
