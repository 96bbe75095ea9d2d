"""The shipped recipe of duels from random weights, next to its control and to the best of k random strategies:

    .venv/bin/python -m benchmarks.training [--seeds 3] [--set key=value ...] [-o FOLDER] [--write]

For each seed the recipe runs twice, the second time with rewards that are permuted among the rollouts of a step; both
begin with the same weights and the same episodes of the teacher. The same command goes on with what is in the folder.
"""

import argparse
import json
import random
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, record
from mlgym.curriculum import Curriculum
from mlgym.metrics import bootstrap
from mlgym.metrics.intervals import mean
from mlgym.records import Limits
from mlgym.rl import progress
from mlgym.rl.recipe import Recipe, changes, read_recipe
from mlgym.rl.train import train
from mlgym.sandbox import choose
from mlgym.session import LocalSession

WAYS = {"rewards": (), "control": ("shuffle_rewards=true",)}
COLUMNS = (("rewards", 0), ("rewards", -1), ("control", -1))
Curves = dict[tuple[str, int], list[dict[str, Any]]]
BEST_OF, WINDOW = (1, 2, 4, 8), 10
NOTES = """The recipe `duel` with {seeds} seeds: {steps} steps of {rows} rollouts, each an episode in a sandbox of its
own that the real grader ends, on one thread of torch and {at_once} environments. A mean is over all evaluation episodes
of all seeds, {episodes} for each; with it stands its 95 % bootstrap interval, stratified by seed. Before: after the
warm-up on the teacher's episodes (their own mean reward: {teacher}). Control: the same, but the rewards are permuted
among the rollouts of each step.

Best of k random: k strategies of five numbers, each 0, .5 or 1, validated one after the other, the best submitted; the
trained policy writes one. {best}

Training reward, mean of the first and the last {window} steps: {curve}; of the control: {flat}. {rate:.1f} rollouts a
second while the environments ran; a run took {minutes:.1f} minutes in all and at most {memory} MB. Sampler and learner
differed in no log-probability by more than {drift:.1e}."""


def runs(recipe: Recipe, out: Path, seeds: int) -> dict[tuple[str, int], Path]:
    """The folders of all runs, made where they are missing."""
    found = {}
    for seed in range(seeds):
        for way, more in WAYS.items():
            folder = out / f"{way}-{seed}"
            first = out / f"rewards-{seed}"
            if way != "rewards" and not folder.exists():
                folder.mkdir()
                shutil.copytree(first / "tiny", folder / "tiny")
                shutil.copy(first / "teacher.jsonl", folder)
            print(f"== {way}, seed {seed}", flush=True)
            if code := train(recipe.with_changes(changes([f"seed={seed}", *more])), folder):
                raise SystemExit(code)
            found[way, seed] = folder
    return found


def best_of(recipe: Recipe, out: Path, episodes: int) -> list[list[float]]:
    """For each k of BEST_OF the utility, on held-out seeds, of the best of k random strategies by validation."""
    path = out / "random.json"
    if path.exists():
        return list(json.loads(path.read_text()))
    names = next(iter(recipe.evaluation.sets.values()))
    found: list[list[float]] = [[] for _ in BEST_OF]
    for number, (task, seed) in enumerate(Curriculum(names).draw(episodes, seed=0)):
        luck = random.Random(number)
        session = LocalSession(task, limits=Limits(steps=2 * max(BEST_OF) + 1))
        session.reset(seed)
        for k in range(1, max(BEST_OF) + 1):
            session.act(f"echo {' '.join(luck.choice(('0', '.5', '1')) for _ in range(5))} >strategy.txt")
            session.act("validate")
            if k in BEST_OF:  # what the potential has risen to, from -1 on
                found[BEST_OF.index(k)].append(session.parts["shaping"] - 1)
        session.close()
    path.write_text(json.dumps(found))
    return found


def interval(values: dict[str, Sequence[float]]) -> str:
    """The mean of all and its interval, stratified by seed."""
    everything = [value for each in values.values() for value in each]
    low, high = bootstrap(values, mean)
    return f"{statistics.fmean(everything):+.2f} [{low:+.2f}, {high:+.2f}]"


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", dest="changed", action="append", default=[])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "runs" / "training")
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/training.md")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    recipe = read_recipe("duel", changes(args.changed))
    folders = runs(recipe, args.out, args.seeds)
    curves = {key: progress.lines(folder) for key, folder in folders.items()}
    head = ["", "before", "after", "control, after"]
    rows = [[name, *(_tried(curves, *which, name) for which in COLUMNS)] for name in recipe.evaluation.sets]
    luck = best_of(recipe, args.out, recipe.evaluation.episodes)
    told = [f"{k}: {interval({'': each})}" for k, each in zip(BEST_OF, luck, strict=True)]
    record("training", head, rows, args.write, choose("auto").name, _notes(recipe, folders, curves, ", ".join(told)))


def _tried(curves: Curves, way: str, place: int, name: str) -> str:
    """The mean reward on a set of tasks, at the first evaluation (place 0) or the last (-1)."""
    found = {}
    for (its_way, seed), lines in curves.items():
        tried = [line["evaluation"][name]["rewards"] for line in lines if "evaluation" in line]
        if its_way == way:
            found[str(seed)] = [reward for reward in tried[place] if reward is not None]
    return interval(found)


def _notes(recipe: Recipe, folders: dict[tuple[str, int], Path], curves: Curves, best: str) -> str:
    steps = {key: [line for line in lines if "update" in line] for key, lines in curves.items()}
    every = [line for lines in steps.values() for line in lines]

    def ends(way: str) -> str:
        shown = []
        for part in (slice(WINDOW), slice(-WINDOW, None)):
            means = {
                str(key): [line["reward"] for line in lines[part]] for key, lines in steps.items() if key[0] == way
            }
            shown.append(interval(means))
        return " to ".join(shown)

    taught = [json.loads(line)["reward"] for line in (folders["rewards", 0] / "teacher.jsonl").open()]
    return NOTES.format(
        seeds=len(steps) // len(WAYS),
        steps=recipe.steps,
        rows=recipe.rows,
        at_once=recipe.environments,
        episodes=recipe.evaluation.episodes,
        teacher=f"{statistics.fmean(taught):+.2f}",
        best=f"Their mean, by k: {best}.",
        window=WINDOW,
        curve=ends("rewards"),
        flat=ends("control"),
        rate=sum(line["rollouts"] for line in every) / sum(line["seconds"]["rollout"] for line in every),
        minutes=statistics.fmean(lines[-1]["seconds"]["all"] for lines in steps.values()) / 60,
        memory=max(line["memory_mb"] for line in every),
        drift=max(line["update"].get("drift", 0.0) for line in every),
    )


if __name__ == "__main__":
    main()
