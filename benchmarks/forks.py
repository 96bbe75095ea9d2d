"""Snapshots, forks and restores of an episode, by how much its agent has written: with layers and with copies.

    .venv/bin/python benchmarks/forks.py [--write] [--file FILE] [--commit HASH]   # --write records benchmarks/forks.md

A row is an episode of the example task whose agent writes so many bytes into its workspace, in ten files. Each figure
is the median of RUNS (the worst in brackets), in milliseconds, from the call to its return: the shell answers then.
With copies up to three times the bytes lie on the disk for a moment.
"""

import argparse
import datetime
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from mlgym.cache import cache_dir
from mlgym.env import ResearchEnv
from mlgym.records import Action, Limits
from mlgym.sandbox import layers

ROOT = Path(__file__).parent.parent
GUESS = ROOT / "examples" / "guess"
SIZES = (("nothing", 0), ("100 MB", 100), ("1 GB", 1000))
RUNS = {"layers": 7, "copies": 3}
COLUMNS = ("snapshot", "fork", "restore", "fork + 1st command")


def timed(act: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def figures(megabytes: int, runs: int, sandbox: str) -> list[list[float]]:
    """Milliseconds of each column, `runs` of them."""
    env = ResearchEnv(GUESS, sandbox=sandbox, limits=Limits(command_s=600))
    env.reset(seed=0)
    found: list[list[float]] = [[] for _ in COLUMNS]
    write = "for i in 0 1 2 3 4 5 6 7 8 9; do head -c {} /dev/zero | tr '\\0' x >big$i; done"
    try:
        for _ in range(runs):
            env.step(Action(tool="bash", args={"command": write.format(megabytes * 100_000)}))
            names: list[str] = []
            forks: list[ResearchEnv] = []
            found[0].append(timed(lambda: names.append(env.snapshot())))  # noqa: B023 - called at once
            found[1].append(timed(lambda: forks.append(env.fork(names[0]))))  # noqa: B023
            first = timed(lambda: forks[0].step("wc -c big9"))  # noqa: B023
            found[3].append(found[1][-1] + first)
            assert str(megabytes * 100_000) in forks[0].session.shell.run("wc -c big9", 60).output
            forks[0].close()
            env.step("echo 1 >changed; rm big0")
            found[2].append(timed(lambda: env.restore(names[0])))  # noqa: B023
            assert str(megabytes * 100_000) in env.session.shell.run("wc -c big0", 60).output
            if runs == RUNS["copies"] and megabytes >= 1000:  # what was saved fills the disk
                env.close()
                env.reset(seed=0)
    finally:
        env.close()
    return found


def main() -> None:
    """Print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table")
    parser.add_argument("--file", type=Path, default=ROOT / "benchmarks" / "forks.md")
    parser.add_argument("--commit", default="", help="for a copy of the tree without git")
    parser.add_argument("--sandbox", default="auto")
    args = parser.parse_args()
    user = "root" if os.getuid() == 0 else "an ordinary user"
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = args.commit or subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    policy = "" if os.sched_getscheduler(0) == os.SCHED_OTHER else ", with real-time priority"
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}{policy}"
    lines = [f"## As {user}", "", f"Commit {commit}, {datetime.date.today()}, {machine}.", ""]
    lines += [f"| how | written | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 2)]
    print("\n".join(lines))
    marks = layers.marks(cache_dir())
    for how, runs in RUNS.items():
        if how == "layers" and not marks:
            continue
        layers.marks = lambda place: marks if how == "layers" else ""  # type: ignore[assignment] # noqa: B023
        for name, megabytes in SIZES:
            cells = [
                f"{statistics.median(each):.0f} ({max(each):.0f})" for each in figures(megabytes, runs, args.sandbox)
            ]
            lines.append(f"| {how} | {name} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if args.write:
        record(args.file, user, "\n".join(lines))


def record(file: Path, user: str, section: str) -> None:
    """Put the section of this kind of user into the file, and leave the other's."""
    head = "# Forks, measured\n\n`benchmarks/forks.py --write` writes this file; milliseconds, median (worst). With\n"
    head += "`chrt -r 1` before it, it measures what the work takes on a machine that others use meanwhile.\n\n"
    text = file.read_text() if file.exists() else head
    text = re.sub(rf"## As {user}\n.*?(?=^## |\Z)", "", text, flags=re.DOTALL | re.MULTILINE)
    file.write_text(f"{text.rstrip()}\n\n{section}\n")


if __name__ == "__main__":
    main()
