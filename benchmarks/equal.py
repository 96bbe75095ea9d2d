"""The arena: a random search, TPE, a tree search and a language model on the same tasks at the same compute.

    .venv/bin/python -m benchmarks.equal [TASK ...] [--seeds 5] [--minutes 80] [-m MODEL] [-o FOLDER] [--write]

Every episode of a task has the same steps and the same seconds of commands, whatever the agent: on quick tasks steps
for some 20 trials, on the others the seconds of RUNS runs of the baseline. For all tasks of a suite name it: `mini`.
The same command goes on with what is in the folder. The tables are those of `mlgym report FOLDER`.
"""

import argparse
import json
import time
from pathlib import Path

from benchmarks.record import ROOT, commit, machine
from benchmarks.search import LONGEST, QUICK, SLOWER, TRIALS, measured
from mlgym.allocator import Allocator
from mlgym.bench import run_grid
from mlgym.environments import environment
from mlgym.grading.prepare import prepare
from mlgym.launchers import threads
from mlgym.records import EpisodeSpec, Limits, Result
from mlgym.report.compute import arena, equal_compute, hpo_equivalent
from mlgym.report.folder import report
from mlgym.report.pool import load, pools
from mlgym.report.study import Study
from mlgym.report.tables import markdown
from mlgym.sandbox import choose
from mlgym.task import Task, load_tasks

TASKS = ("games", "house-price", "titanic", "tabular-s901-d0.4", "series-s901-d0.4", "cifar10-mini")
AGENTS = (f"random?trials={TRIALS}", f"tuner?sampler=tpe&trials={TRIALS}", f"tree?nodes={TRIALS}")
REACT = "react?prompts=benchmarks/language_model&mistakes=10&window=4"  # so weak a model needs more than three tries
AT_ONCE, PROCESSORS, RUNS = 2, 1.0, 5.0
NOTES = """{episodes} episodes in {minutes:.0f} minutes, {at_once} at once, {processors:g} processor each, {seeds}
seeds; quick tasks: steps for some {trials} trials, the others: the command seconds of {runs:g} runs of the baseline.
The budget at which all are compared is what the runs of the reference took, commands and grading together."""


def limits(task: Task) -> Limits:
    """The bounds that all agents have on a task."""
    run, grading = measured().get(task.name, (1.0, 0.2))
    if SLOWER * run + grading <= QUICK or not task.baseline.command:
        return task.episode_limits.changed(steps=2 * TRIALS + 6)
    run *= SLOWER
    return Limits(steps=2 * TRIALS + 6, seconds=round(RUNS * run, 1), command_s=round(LONGEST * run, 1))


def grid(tasks: list[Task], seed: int, model: str, sandbox: str) -> list[EpisodeSpec]:
    """The episodes of one seed."""
    methods = [(agent, "") for agent in AGENTS] + [(REACT, model)] * bool(model)
    return [
        EpisodeSpec(
            task=task.reference,
            version=task.version,
            agent=agent,
            model=name,
            seed=seed,
            limits=limits(task),
            processors=min(PROCESSORS, task.limits.processors),
            sandbox=sandbox,
        )
        for task in tasks
        for agent, name in methods
    ]


def main() -> None:
    """Run what is missing, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=80, help="begin no further seed after these")
    parser.add_argument("-m", "--model", default="", help="a language model for react, such as local/smollm2")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "runs" / "equal")
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--write", action="store_true", help="record the tables in benchmarks/equal.md")
    args = parser.parse_args()
    tasks = load_tasks(args.tasks)
    for task in tasks:
        prepare(task)
        environment(task.packages)
    args.out.mkdir(parents=True, exist_ok=True)
    clock = args.out / "seconds.json"
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    began = time.monotonic()

    def passed() -> float:
        return before + time.monotonic() - began

    for seed in range(args.seeds):
        if passed() > 60 * args.minutes:
            break
        specs = grid(tasks, seed, args.model, args.sandbox)
        for spec, result in run_grid(specs, args.out, launcher=threads(AT_ONCE), allocator=Allocator()):
            clock.write_text(json.dumps(passed()))
            said = f"{result.ended}, progress {result.progress}" if isinstance(result, Result) else result.why
            print(f"{passed() / 60:5.1f} min  {spec.task} {spec.agent} seed {spec.seed}: {said}", flush=True)
    report([args.out], args.out / "report")
    parts = []
    for pool in pools(load([args.out])):
        found = arena(Study(pool))
        parts += [markdown(equal_compute(found)), markdown(hpo_equivalent(found))] if found else []
    print("\n".join(parts))
    if args.write:
        done = sum(1 for _ in args.out.glob("*/*/*/result.json"))
        notes = NOTES.format(
            episodes=done, minutes=passed() / 60, at_once=AT_ONCE, processors=PROCESSORS, seeds=args.seeds,
            trials=TRIALS, runs=RUNS,
        )  # fmt: skip
        about = f"Commit {commit()}, {time.strftime('%Y-%m-%d')}, {choose(args.sandbox).name}, {machine()}."
        text = "\n\n".join(
            ["# Measured: equal", "`python -m benchmarks.equal --write` writes this file.", about, notes]
        )
        (ROOT / "benchmarks" / "equal.md").write_text(text + "\n\n" + "\n".join(parts))


if __name__ == "__main__":
    main()
