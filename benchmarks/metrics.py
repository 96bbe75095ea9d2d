"""Metrics and tables of many episodes: python benchmarks/metrics.py [--write] [-n 10000 100000] [--keep FOLDER].

Makes runs of that many episodes on disk (specs, results and steps, written by the records themselves; 25 methods on 16
shipped tasks), then reads and measures each in a process of its own: seconds of each stage and the peak of its memory.
A profile of the first size follows. `--write` records the table in benchmarks/metrics.md.
"""

import argparse
import contextlib
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import record

BUDGET = "5 s"
METHODS, STEPS, SPENT, VALIDATIONS = 25, 20, 0.01, 4
DEEP = 12  # functions of the profile that are shown


def make(run: Path, episodes: int) -> None:
    """A run of that many episodes: each has its skill, its luck, and now and then no valid score or a fault."""
    from mlgym.records import EpisodeSpec
    from mlgym.store import episode_folder
    from mlgym.task import list_tasks

    tasks = [task for task in list_tasks() if task.anchors and task.anchors.best is not None][:16]
    rng = np.random.default_rng(0)
    skill = rng.normal(0.3, 0.3, (METHODS, len(tasks)))
    for number in range(episodes):
        seed, cell = divmod(number, METHODS * len(tasks))
        m, t = divmod(cell, len(tasks))
        task = tasks[t]
        model = f"openai/model-{m}" if m else ""
        spec = EpisodeSpec(
            task=task.name, version=task.version, agent="react" if m else "tuner", model=model, seed=seed
        )
        folder = episode_folder(run, spec)
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(spec.model_dump_json(indent=1))
        steps, result = _played(task, float(skill[m, t]), rng)
        (folder / "steps.jsonl").write_text(steps)
        (folder / "result.json").write_text(result)


def _played(task: Any, skill: float, rng: np.random.Generator) -> tuple[str, str]:
    """The steps and the result of one episode of a task, as JSON."""
    from mlgym.metrics import progress
    from mlgym.records import Action, Attempt, Cost, Observation, Result, Step

    base, best = task.anchors.baseline, task.anchors.best
    valid, scored = rng.random() > 0.05, rng.random() > 0.02
    steps, attempts = [], []
    for n in range(1, STEPS + 1):
        graded = n % (STEPS // (VALIDATIONS + 1)) == 0
        seen = Observation(text="epoch 1: loss 0.25\n" * 8, money_left=4 - n * SPENT)
        if graded:
            gains = np.array(skill + rng.normal(0, 0.2, 2)) * abs(best - base["test"])
            gains = gains if task.direction == "maximize" else -gains
            scores = [{task.metric: float(base[s] + g)} for s, g in zip(("validation", "test"), gains, strict=True)]
            given: dict[str, Any] = {"valid": True, "validation": scores[0], "test": scores[1]} if valid else {}
            kind = "submit" if n == STEPS else "validate"
            attempts.append(Attempt(n=len(attempts), step=n, kind=kind, files={"submission.csv": "0" * 64}, **given))
            seen = seen.changed(validation=given.get("validation"))
        action = Action(tool="validate" if graded else "bash", args={"command": "python train.py --epochs 3"})
        at = len(attempts) - 1 if graded else None
        steps.append(Step(n=n, action=action, observation=seen, command_s=2.5, model_s=1.5, calls=n, attempt=at))
    tests = [attempt.test for attempt in attempts if attempt.test]
    pick = max if task.direction == "maximize" else min
    final = attempts[-1].test
    anchors: dict[str, Any] = {"baseline": base["test"], "baseline_test": base["test"], "best": best}
    result = Result(
        ended="submitted",
        boundary="" if scored else "grader",
        metric=task.metric,
        attempts=tuple(attempts),
        final=final,
        best=pick(tests, key=lambda scores: scores[task.metric]) if tests else None,
        selected=tests[0] if tests else None,
        baseline={name: {task.metric: value} for name, value in base.items()},
        progress=progress(
            final[task.metric] if final else None, direction=task.direction, scale=task.anchors.scale, **anchors
        ),
        scored=scored,
        steps=STEPS,
        cost=Cost(money=STEPS * SPENT, tokens_in=90_000, tokens_out=9_000, calls=STEPS, command_s=50.0, model_s=30.0),
        backend="bubblewrap",
    )
    return "".join(step.model_dump_json() + "\n" for step in steps), result.model_dump_json(indent=1)


def measure(run: Path) -> dict[str, float]:
    """Seconds of each stage, from the folder to the tables as text; and MB of memory at its largest."""
    out: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began, used = time.perf_counter(), time.process_time()
        made = work()
        out[name], processor = time.perf_counter() - began, time.process_time() - used
        out["processor"] = out.pop("processor", 0.0) + processor
        print(f"{name}: {out[name]:.2f} s, {processor:.2f} s of processors", file=sys.stderr)
        return made

    def imports() -> None:
        import mlgym.report.estimates
        import mlgym.report.results
        import mlgym.runs  # noqa: F401

    timed("importing", imports)
    from mlgym.report.estimates import estimates
    from mlgym.report.pool import Pool
    from mlgym.report.results import tables
    from mlgym.report.study import Study
    from mlgym.report.tables import latex, markdown
    from mlgym.runs import open_run

    opened = timed("finding the folders", lambda: open_run(run))
    read = timed("reading episodes, attempts and steps", opened.tables)
    columns, attempts, steps = read["episodes"], read["attempts"], read["steps"]
    study = timed("cells", lambda: Study(Pool("A", {}, columns, attempts, steps, {})))
    found = timed("all metrics, intervals and comparisons", lambda: estimates(study))
    made = timed("tables", lambda: tables(study, found))
    timed("tables as Markdown and LaTeX", lambda: [(markdown(table), latex(table)) for table in made])
    processor = out.pop("processor")
    out["together"], out["of processors"] = sum(out.values()), processor
    out["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out["rows of attempts"], out["rows of steps"] = len(attempts["n"]), len(steps["n"])
    timed("beside: reading episodes only", opened.columns)
    del out["processor"]
    out["problems"] = len(opened.problems)
    return out


def profiled(run: Path) -> list[tuple[str, str]]:
    """The functions that take most of the time by themselves."""
    profile = cProfile.Profile()
    profile.runcall(measure, run)
    stats = pstats.Stats(profile)
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:DEEP]  # type: ignore[attr-defined]
    return [
        (
            f"profile: {Path(file).name}:{name}".replace("~:", "").replace("|", ""),
            f"{own:.2f} s of its own, {calls} calls",
        )
        for (file, _, name), (_, calls, own, _, _) in rows
    ]


def main() -> None:
    """Print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/metrics.md")
    parser.add_argument("-n", type=int, nargs="+", default=[10_000, 100_000], help="numbers of episodes")
    parser.add_argument("--keep", type=Path, help="make the runs in this folder, and use those that it has")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--profile", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure or args.profile:
        print(json.dumps(measure(args.measure) if args.measure else profiled(args.profile)))
        return
    with contextlib.ExitStack() as stack:
        place = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found: list[dict[str, float]] = []
        for number in args.n:
            if not (place / str(number)).exists():
                make(place / str(number), number)
            found.append(_child("--measure", place / str(number)))
        profile = _child("--profile", place / str(args.n[0]))
    head = ["what", *(f"{number:,} episodes" for number in args.n)]
    rows = [[_named(name), *(_said(name, one[name]) for one in found)] for name in found[0]]
    rows += [[name, text, *[""] * (len(args.n) - 1)] for name, text in profile]
    record("metrics", head, rows, args.write, "files in the page cache")


def _child(flag: str, run: Path) -> Any:
    """What this program says of a run in a process of its own."""
    ran = subprocess.run([sys.executable, __file__, flag, str(run)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout)


def _named(name: str) -> str:
    return {
        "together": f"**together** (budget for 10,000: {BUDGET})",
        "of processors": "together, seconds of processors",
        "peak": "peak memory",
        "problems": "episodes that could not be read",
    }.get(name, name)


def _said(name: str, value: float) -> str:
    if name.startswith("peak"):
        return f"{value:.0f} MB"
    if name.startswith(("rows", "problems")):
        return f"{value:,.0f}"
    return f"{value:.2f} s"


if __name__ == "__main__":
    main()
