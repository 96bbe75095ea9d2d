"""A real small language model in this process, beside `random` and `tuner`: writes benchmarks/language_model.md.

    .venv/bin/python benchmarks/language_model.py [--write] [-o FOLDER] [--tasks NAME ...] [--seeds 3] [--steps 15]

The run is `mlgym run` as a user would call it, and goes on in FOLDER where it was interrupted; the table is computed
from what it stored. It needs the extra `local`, and the registry once. The prompts beside this file are short: with
those of react so small a model loses itself and never acts.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from record import ROOT, record

from mlgym.metrics import bootstrap, mean
from mlgym.report.pool import load, pools
from mlgym.report.study import Method, Study
from mlgym.report.tables import between, minus
from mlgym.sandbox import choose

TASKS = ("battle-of-sexes", "prisoners-dilemma", "blotto", "house-price")
MODEL = "local/smollm2"
SAMPLING = {"temperature": 0.7, "max_tokens": 400, "threads": 1}
REACT = "react?prompts=benchmarks/language_model&mistakes=10&window=4"  # so weak a model needs more than three tries
AGENTS = (REACT, "tuner", "random")
HEAD = (
    "task",
    "method",
    "episodes",
    "progress, mean [95%]",
    "replies that acted",
    "actions that ended ok",
    "steps",
    "how they ended",
    "tokens in / out",
    "seconds",
)
EVERY = "all"


def run(folder: Path, tasks: Sequence[str], seeds: int, steps: int) -> None:
    """All methods on all tasks, those that have ended left as they are."""
    command = [sys.executable, "-m", "mlgym", "run", *tasks, "-m", MODEL, "-o", str(folder.resolve()), "--quiet"]
    command += [part for agent in AGENTS for part in ("-a", agent)]
    command += [part for key, value in SAMPLING.items() for part in ("-M", f"{key}={value}")]
    subprocess.run([*command, "--seeds", str(seeds), "--steps", str(steps)], cwd=ROOT, check=True)


def rows(study: Study, tasks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A row a task and method, and for each method one over all tasks."""
    for task in (*tasks, *([EVERY] if len(tasks) > 1 else [])):
        for method in study.methods:
            yield task, _named(method), *_figures(study, method, tasks if task == EVERY else [task])


def _named(method: Method) -> str:
    return f"react with {MODEL}" if method.kind == "model" else method.name


def _figures(study: Study, method: Method, tasks: Sequence[str]) -> tuple[str, ...]:
    progress = {task: study.values(method.name, task, "progress") for task in tasks}
    all_of = {
        key: np.concatenate([study.values(method.name, task, key) for task in tasks])
        for key in ("steps", "calls", "tokens_in", "tokens_out", "command_s", "model_s", "grader_s")
    }
    taken = study.pool.steps
    own = (taken["method"] == method.name) & np.isin(taken["task"], tasks) & (taken["tool"] != "end")
    episodes = study.columns
    ends = episodes["ended"][(episodes["method"] == method.name) & np.isin(episodes["task"], tasks)]
    low, high = bootstrap(progress, mean)
    calls = all_of["calls"].sum()
    clocks = all_of["command_s"] + all_of["model_s"] + all_of["grader_s"]
    return (
        str(all_of["steps"].size),
        f"{minus(f'{np.concatenate([*progress.values()]).mean():.3f}')} {between(low, high)}",
        f"{all_of['steps'].sum() / calls:.0%} of {calls:.0f}" if calls else "–",
        f"{np.mean(taken['status'][own] == 'ok'):.0%} of {own.sum()}" if own.any() else "–",
        f"{all_of['steps'].mean():.1f}",
        ", ".join(f"{(ends == end).sum()} {end or 'not ended'}" for end in np.unique(ends)),
        f"{all_of['tokens_in'].mean():,.0f} / {all_of['tokens_out'].mean():,.0f}" if calls else "–",
        f"{clocks.mean():.0f}",
    )


def main() -> None:
    """Run, print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/language_model.md")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "runs" / "language-model")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=15)
    args = parser.parse_args()
    run(args.output, args.tasks, args.seeds, args.steps)
    (pool,) = pools(load([args.output]))
    how = ", ".join(f"{key} {value}" for key, value in SAMPLING.items())
    where = f"{choose('auto').name}, {REACT} with {how}, at most {args.steps} steps"
    record("language_model", HEAD, rows(Study(pool), args.tasks), args.write, where)


if __name__ == "__main__":
    main()
