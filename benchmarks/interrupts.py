"""4 tasks x {baseline, random, tuner, react with a scripted model} x 3 seeds, two at once, once undisturbed and once
interrupted by SIGINT and SIGKILL, each five times at random moments: python -m benchmarks.interrupts [SEED] [FOLDER]

Writes benchmarks/interrupts.md. Data and packages are shared with the usual cache, all else lies in FOLDER.
"""

import datetime
import random
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.record import commit, machine
from tests.grids import TASKS, WORKERS, Grid, differences, methods

TIMES, SEEDS = 5, 3
PAGE = Path(__file__).with_suffix(".md")


def main() -> None:
    """Measure, and write the page."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    root = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="mlgym-interrupts-"))
    grid, cells = Grid(root, TASKS, SEEDS), len(TASKS) * len(methods()) * SEEDS
    run, seconds = grid.undisturbed()
    signs = [signal.SIGINT, signal.SIGKILL] * TIMES
    random.Random(seed).shuffle(signs)
    seen = grid.disturbed(signs, (1.5, max(3.0, seconds / 6)), seed)
    differs = differences(run, grid.runs / "disturbed", cells)
    kills = seen["met"].count("SIGKILL")
    rows = [
        ("episodes", f"{cells}: {len(TASKS)} tasks, {len(methods())} methods, {SEEDS} seeds, {WORKERS} at once"),
        ("methods", ", ".join(" ".join(method.values()) for method in methods())),
        ("undisturbed", f"{seconds:.0f} s"),
        ("interruptions, in order", ", ".join(seen["met"])),
        ("exit codes", ", ".join(map(str, seen["codes"])) + f"; at the end {seen['code']}"),
        ("slowest stop by SIGINT", f"{seen['slowest_stop_s']:.1f} s"),
        ("differences of scores, steps, attempts, replies, money", "; ".join(differs) or "none"),
        ("model calls paid twice", f"{seen['paid_twice']} ({kills} kills of {WORKERS} episodes each)"),
        ("processes, mounts, folders and locks left", "; ".join(seen["orphans"]) or "none"),
    ]
    text = (
        f"# Interruptions\n\n`python -m benchmarks.interrupts {seed}`, see its first lines.\n\n"
        f"Commit {commit()}, {datetime.date.today()}, {machine()}.\n\n| what | |\n|---|---|\n"
    )
    PAGE.write_text(text + "".join(f"| {name} | {value} |\n" for name, value in rows))
    print(PAGE.read_text())
    good = not differs and not seen["orphans"] and seen["code"] == 0 and seen["paid_twice"] <= kills * WORKERS
    sys.exit(not good)


if __name__ == "__main__":
    main()
