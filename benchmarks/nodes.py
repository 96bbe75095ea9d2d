"""Lose a machine of a cluster in the middle of a grid, twice, and write what was run again into nodes.md here.

.venv/bin/python benchmarks/nodes.py [--seeds 3] [--write]

The grid is that of benchmarks/interrupts.py, on a Ray cluster of two nodes of this machine. First both see the run's
folder, and one is killed with all its processes, as a machine that loses its power; then one sees another folder in its
place, and its raylet alone is killed, which the others are to end with. Needs Ray and the rights of user 0.
"""

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from mlgym.launchers import cluster  # noqa: E402
from tests.faults import descendants  # noqa: E402
from tests.grids import TASKS, Grid, differences, methods, specs  # noqa: E402
from tests.nodes import SETTINGS, Loss, Node, Nodes, apart, kill, raylet_alone, surroundings  # noqa: E402

TIDY = "from mlgym import allocator, episode; episode.tidy(allocator.Allocator())"
FETCH_S = 2.0  # between two looks at what an episode has done so far where the folder is not seen; else a minute
PAGE = ROOT / "benchmarks" / "nodes.md"


LOSSES: dict[str, tuple[Callable[[Node], None], bool]] = {"power": (kill, False), "apart": (raylet_alone, True)}


def lost(nodes: Nodes, grid: Grid, undisturbed: Path, name: str, midst_s: float) -> tuple[str, bool]:
    """The grid with a loss; a part of the page, and whether nothing is amiss."""
    lose, hide = LOSSES[name]
    run, cells = grid.runs / name, len(grid.tasks) * len(methods()) * grid.seeds
    run.mkdir()
    other = Grid(grid.root / f"other-{name}") if hide else grid
    victim = nodes.add(1, surroundings(other, grid.root / "calls"), apart(run) if hide else ())
    loss = Loss(specs(grid.tasks, grid.seeds), run, victim, lose, midst_s)
    seconds = loss.go(nodes.address)
    kill(victim)
    (grid.root / "calls").rename(grid.root / f"{name}.calls")
    differs = differences(undisturbed, run, cells)
    again = [note for _, note in loss.log if "run again" in note]
    twice = len(loss.ended) - len(set(loss.ended))
    if hide:  # what a process could not take away that was killed there is swept by the next one
        subprocess.run([sys.executable, "-c", TIDY], env={**os.environ, **surroundings(other, grid.root)}, check=True)
    orphans = beside(nodes.head, grid.orphans() + (other.orphans() if hide else []))
    rows = [
        (
            "the run's folder",
            f"another one on the second node: sent there and back, every {FETCH_S:g} s"
            if hide
            else "seen by both nodes",
        ),
        ("episodes", f"{len(loss.ended)} of {cells} in {seconds:.0f} s, {twice} twice"),
        ("run again", str(len(again))),
        ("differences from the undisturbed run", "; ".join(differs) or "none"),
        ("model calls paid twice", str(grid.paid(run))),
        ("processes, mounts, folders and locks left", "; ".join(orphans) or "none"),
    ]
    table = "".join(f"| {what} | {value} |\n" for what, value in rows)
    log = "".join(f"{at:6.1f} s  {note}\n" for at, note in loss.log)
    good = not differs and not orphans and not twice and len(loss.ended) == cells and bool(again)
    return f"## {name}\n\n| what | |\n|---|---|\n{table}\n```text\n{log}```\n", good


def beside(node: Node, orphans: Sequence[str]) -> list[str]:
    """What is left without the node that lives on."""
    its = {f"process {pid}" for pid in (node.pid, *(pid for pid, *_ in descendants(node.pid)))}
    return [each for each in orphans if " ".join(each.split()[:2]) not in its]


def main() -> int:
    """Measure, print, write; 1 where something is amiss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--only", nargs="+", choices=LOSSES, default=tuple(LOSSES))
    parser.add_argument("--midst", type=float, default=4, help="seconds that an episode of the lost node has run")
    given = parser.parse_args()
    grid = Grid(Path(tempfile.mkdtemp(prefix="mlgym-nodes-", dir="/tmp")), given.tasks, given.seeds)
    undisturbed, seconds = grid.undisturbed()
    cluster.FETCH_S = FETCH_S
    os.environ |= SETTINGS | surroundings(grid, grid.root / "calls")
    nodes = Nodes(1, surroundings(grid, grid.root / "calls"))
    try:
        parts = [lost(nodes, grid, undisturbed, name, given.midst) for name in given.only]
    finally:
        nodes.close()
    import ray

    run = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    text = (
        "# A machine of a cluster lost\n\n`python benchmarks/nodes.py --write` writes this file; see its first lines.\n"
        f"\nCommit {commit}, {datetime.date.today()}, Ray {ray.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores for both nodes, load {os.getloadavg()[0]:.0f} when it ended; undisturbed, by two "
        f"threads and without Ray: {seconds:.0f} s. The log says how many steps the run's folder had of an episode "
        "when the loss was noticed: from there it goes on.\n\n" + "\n".join(text for text, _ in parts)
    )
    print(text)
    if given.write:
        PAGE.write_text(text)
    left = grid.orphans()
    print("\n".join(left) or "nothing is left of the cluster")
    shutil.rmtree(grid.root)
    return bool(left) or not all(good for _, good in parts)


if __name__ == "__main__":
    sys.exit(main())
