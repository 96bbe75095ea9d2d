"""`tuner` and `tree`, both without a language model, against the baselines of the suite `mini`, within an hour:

    .venv/bin/python -m benchmarks.search [TASK ...] [--minutes 52] [--seeds 2] [--quick-seeds 3] [-o FOLDER] [--write]

Each episode has the same steps and seconds of commands, whatever the agent. Tasks whose baseline is run and graded in
QUICK seconds have TRIALS trials; the others have the seconds of as many runs of the baseline as the minutes allow, by
what docs/tasks.md says was measured of each. The same command goes on with what is in the folder.
"""

import argparse
import json
import re
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.record import ROOT, record
from mlgym.allocator import Allocator
from mlgym.bench import run_grid
from mlgym.environments import environment
from mlgym.grading.prepare import prepare
from mlgym.launchers import threads
from mlgym.metrics import bootstrap
from mlgym.metrics.intervals import mean
from mlgym.records import EpisodeSpec, Limits, Result
from mlgym.sandbox import choose
from mlgym.task import Task, load_tasks

AGENTS = ("tuner?sampler=tpe", "tree?nodes=20")
AT_ONCE, PROCESSORS = 2, 1.0
QUICK, TRIALS = 3.0, 20
SLOWER = 1.6  # a run on one processor, by a run on two, as the table of docs/tasks.md has it
LONGEST = 3.0  # runs of the baseline that one command may take
NOTES = """{episodes} episodes in {minutes:.0f} minutes, {at_once} at once, {processors:g} processor each, no language
model; the tuner asks Optuna after five trials. Quick tasks ({quick}): {some} seeds, steps for some {trials} trials. The
others: {others} seeds, the command seconds of {runs:.1f} runs of the baseline, at most {longest:g} for one command
(3sat, which runs nothing: steps for as many gradings).

Scores are means, on test, of the final submission, which is the best by validation. Progress is 0 for the baseline and
1 for the best known score; with it stands the 95 % bootstrap interval of its mean over the runs, stratified by task.
`validated` is how many trials came to a score."""
Runs = dict[tuple[str, str], list[Result]]


def measured() -> dict[str, tuple[float, float]]:
    """Seconds of a baseline's run and of a grading, both splits together, by task."""
    found = {}
    for line in (ROOT / "docs" / "tasks.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        name = re.match(r"\[([\w-]+)\]", cells[0]) if len(cells) == 11 else None
        if name and cells[7].endswith(" s"):
            found[name[1]] = float(cells[7][:-2]), float(cells[9][:-2])
    return found


def worth(tasks: list[Task], minutes: float, seeds: int, quick_seeds: int) -> tuple[float, set[str]]:
    """How many runs of the baseline the episode of a task that is not quick gets, and which tasks are quick."""
    known = measured()
    cost = {task.name: SLOWER * known[task.name][0] + known[task.name][1] for task in tasks}
    quick = {name for name, seconds in cost.items() if seconds <= QUICK}
    spent = len(AGENTS) * quick_seeds * TRIALS * sum(cost[name] for name in quick) / AT_ONCE
    each = len(AGENTS) * seeds * sum(seconds for name, seconds in cost.items() if name not in quick) / AT_ONCE
    return max(2.0, (60 * minutes - spent) / each) if each else TRIALS, quick


def limits(task: Task, runs: float, quick: bool) -> Limits:
    """Steps for TRIALS trials and seconds for `runs` runs of the baseline; where it has no command, steps for those."""
    if quick or not task.baseline.command:
        return task.episode_limits.changed(steps=round(2 * (TRIALS if quick else runs)) + 6)
    run = SLOWER * measured()[task.name][0]
    return Limits(steps=2 * TRIALS + 6, seconds=round(runs * run, 1), command_s=round(LONGEST * run, 1))


def grid(tasks: list[Task], runs: float, quick: set[str], seeds: int, quick_seeds: int) -> list[EpisodeSpec]:
    """The episodes, the long ones first."""
    order = sorted(tasks, key=lambda task: -measured()[task.name][0])
    return [
        EpisodeSpec(
            task=task.reference,
            version=task.version,
            agent=agent,
            seed=seed,
            limits=limits(task, runs, task.name in quick),
            processors=min(PROCESSORS, task.limits.processors),
        )
        for task in order
        for seed in range(quick_seeds if task.name in quick else seeds)
        for agent in AGENTS
    ]


def interval(values: dict[str, list[float]]) -> str:
    """The mean over all runs and its interval, stratified by task."""
    everything = [value for each in values.values() for value in each]
    if not everything:
        return "–"
    low, high = bootstrap(values, mean)
    return f"{sum(everything) / len(everything):.3f} [{low:.3f}, {high:.3f}]"


def rows(tasks: list[Task], done: Runs) -> list[list[str]]:
    """A line for each task, and one for all: the baseline's score on test, and of each agent score and progress."""
    lines = []
    all_of: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for task in tasks:
        base = task.anchors.baseline["test"] if task.anchors else float("nan")
        line = [task.name, task.metric + (" ↑" if task.direction == "maximize" else " ↓"), f"{base:.4g}"]
        for agent in AGENTS:
            results = done.get((task.name, agent), [])
            scores = [result.final[task.metric] for result in results if result.final]
            gained = [result.progress for result in results if result.progress is not None]
            all_of[agent][task.name] = gained
            tried = [sum(attempt.kind == "validate" for attempt in result.attempts) for result in results]
            line += [
                f"{sum(scores) / len(scores):.4g}" if scores else "–",
                interval({task.name: gained}),
                f"{sum(tried) / len(tried):.1f}" if tried else "–",
            ]
        seeds = {len(done.get((task.name, agent), [])) for agent in AGENTS}
        lines.append([*line, "/".join(map(str, sorted(seeds)))])
    total = ["**all**, mean of the runs", "", "0"]
    for agent in AGENTS:
        total += ["", f"**{interval(all_of[agent])}**", ""]
    return [*lines, [*total, ""]]


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["mini"])
    parser.add_argument("--minutes", type=float, default=52)
    parser.add_argument("--seeds", type=int, default=2, help="of each task that is not quick")
    parser.add_argument("--quick-seeds", type=int, default=3, help="of each quick task")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "runs" / "search")
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/search.md")
    args = parser.parse_args()
    tasks = load_tasks(args.tasks)
    for task in tasks:
        prepare(task)
        environment(task.packages)
    runs, quick = worth(tasks, args.minutes, args.seeds, args.quick_seeds)
    specs = [spec.changed(sandbox=args.sandbox) for spec in grid(tasks, runs, quick, args.seeds, args.quick_seeds)]
    print(f"{len(specs)} episodes; {runs:.1f} runs of the baseline in each that is not of a quick task", flush=True)
    clock = args.out / "seconds.json"
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    began = time.monotonic()
    done: Runs = defaultdict(list)
    by_reference = {task.reference: task.name for task in tasks}
    for spec, result in run_grid(specs, args.out, launcher=threads(AT_ONCE), allocator=Allocator()):
        name, passed = by_reference[spec.task], before + time.monotonic() - began
        clock.write_text(json.dumps(passed))
        if isinstance(result, Result):
            done[name, spec.agent].append(result)
            said = f"{result.ended}, progress {result.progress}"
        else:
            said = f"{result.boundary}: {result.why}"
        print(f"{passed / 60:5.1f} min  {name} {spec.agent} seed {spec.seed}: {said}", flush=True)
    head = ["task", "metric", "baseline"]
    for agent in AGENTS:
        head += [agent, "progress", "validated"]
    notes = NOTES.format(
        episodes=len(specs),
        minutes=(before + time.monotonic() - began) / 60,
        quick=", ".join(sorted(quick)),
        some=args.quick_seeds,
        others=args.seeds,
        runs=runs,
        trials=TRIALS,
        longest=LONGEST,
        at_once=AT_ONCE,
        processors=PROCESSORS,
    )
    record("search", [*head, "seeds"], rows(tasks, done), args.write, choose(args.sandbox).name, notes)


if __name__ == "__main__":
    main()
