"""What `mlgym check` prints: findings as they are made, a table at the end, or measured anchors."""

import datetime
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mlgym.check import Examination, Finding, Measured, anchors, check_task, measurements
from mlgym.errors import MlgymError
from mlgym.grading.forgeries import fitting, tenth
from mlgym.report.console import number
from mlgym.task import Task


def check(tasks: Iterable[Task], sandbox: str) -> list[tuple[Examination, float]]:
    """Check the tasks one after another and print what is found; each with its seconds.

    A task that cannot be prepared is a finding that is amiss. All forgeries are tried on the last task of each kind,
    on the others a tenth, drawn anew each day.
    """
    tasks, seed = list(tasks), str(datetime.date.today())
    whole = {task.kind: task.name for task in tasks}
    if len(whole) < len(tasks):
        print(f"The forgeries of tasks whose kind comes again are a tenth, drawn with the seed {seed}.")
    done: list[tuple[Examination, float]] = []
    for task in tasks:
        began = time.monotonic()
        examination = Examination(task)
        fit = fitting(task.kind)
        chosen = fit if whole[task.kind] == task.name else tenth(fit, seed, task.name)
        try:
            for finding in check_task(examination, sandbox, _note, chosen):
                _print(task, finding)
        except MlgymError as error:
            examination.findings.append(Finding("it can be checked", False, str(error)))
            _print(task, examination.findings[-1])
        done.append((examination, time.monotonic() - began))
    print()
    Console(width=max(Console().width, 140)).print(_table(done))
    print(f"{len(done)} tasks in {sum(seconds for _, seconds in done):.0f} s")
    return done


def _print(task: Task, finding: Finding) -> None:
    mark = "ok  " if finding.ok else "FAIL"
    print(f"{mark} {task.name}: {finding.what}: {finding.seen}".rstrip(": "), flush=True)


def measure(tasks: Iterable[Task], seeds: int, sandbox: str) -> None:
    """Run each task's baseline and solution with several seeds; print every run and the anchors that follow."""
    for task in tasks:
        found: dict[bool, list[Measured]] = {False: [], True: []}
        for solution in (False, True) if task.solution else (False,):
            for one in measurements(task, seeds, solution=solution, backend=sandbox, say=_note):
                what = "solution" if solution else "baseline"
                scores = ", ".join(f"{split} {one.scores.get(split, one.why)}" for split in ("validation", "test"))
                spent = f"{one.seconds:.1f} s, {one.mb:.0f} MB, graded in {one.grading_s:.1f} s"
                print(f"{task.name}: {what}, seed {one.seed}: {scores} ({spent})", flush=True)
                found[solution].append(one)
        print(f"\n# {task.name}, {seeds} seeds\n[anchors]\n{anchors(task, found[False], found[True])}\n", flush=True)


def _table(done: list[tuple[Examination, float]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("task", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for name in ("baseline\nval./test", "recorded\nval./test", "noise\ntest", "published\nbase/best", "best\nknown"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("run\ns", "run\nMB", "graded\ns", "check\ns"):
        table.add_column(name, justify="right")
    table.add_column("data", no_wrap=True)
    table.add_column("")
    for examination, seconds in done:
        task, base, recorded = examination.task, examination.baseline, examination.task.anchors
        scores = base.scores if base else {}
        found = [number(scores.get(split, {}).get(task.metric)) for split in ("validation", "test")]
        known = [number(recorded.baseline[split]) for split in ("validation", "test")] if recorded else ["–"]
        published = recorded.published if recorded else {}
        table.add_row(
            Path(task.name).name,
            task.metric,
            "/".join(found),
            "/".join(known),
            number(recorded.noise.get("test") if recorded else None),
            f"{number(published.get('baseline'))}/{number(published.get('best'))}",
            number(recorded.best if recorded else None),
            *([f"{base.seconds:.1f}", f"{base.mb:.0f}", f"{base.grading_s:.1f}"] if base else ["–"] * 3),
            f"{seconds:.0f}",
            examination.data,
            "ok" if examination.ok else "FAIL",
        )
    return table


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
