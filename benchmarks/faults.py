"""Put a fault into each of many episodes, run them again, and write the table fault × outcome into faults.md here.

.venv/bin/python benchmarks/faults.py [--episodes 200] [--seed 0] [--sandbox auto] [--jobs 2] [--only WORDS]

What is done is kept in a file in the temporary folder, so that the same command goes on after a stop.
"""

import argparse
import datetime
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from mlgym.sandbox import choose  # noqa: E402
from tests.fault_kinds import KINDS  # noqa: E402
from tests.faults import World  # noqa: E402

PAGE = ROOT / "benchmarks" / "faults.md"
HEAD = """| fault | episodes | faults | ended | equal | steps lost | attempts lost | calls, most | orphans | crashes |
|---|---|---|---|---|---|---|---|---|---|
"""


def planned(episodes: int, seed: int, only: str) -> list[tuple[int, str]]:
    """(number, kind) of each episode: the kinds' shares of 200, mixed."""
    kinds = [kind for kind, (share, _) in KINDS.items() for _ in range(share)]
    random.Random(seed).shuffle(kinds)
    whole = [kinds[n % len(kinds)] for n in range(episodes)]
    return [(n, kind) for n, kind in enumerate(whole) if only in kind]


def row(name: str, found: Sequence[dict[str, Any]]) -> str:
    """A line of the table."""
    cells: list[object] = [name, len(found), sum(one["faults"] for one in found)]
    cells += [sum(one["resumed"] for one in found), sum(not one["differs"] for one in found)]
    cells += [sum(one["lost_steps"] for one in found), sum(one["lost_attempts"] for one in found)]
    cells += [max(one["extra_calls"] for one in found), sum(len(one["orphans"]) for one in found)]
    return "| " + " | ".join(map(str, [*cells, sum(len(one["crashed"]) for one in found)])) + " |\n"


def good(one: dict[str, Any]) -> bool:
    """Whether nothing is amiss with an episode's end."""
    bad = ("differs", "lost_steps", "lost_attempts", "too_many_calls", "orphans", "crashed")
    return one["resumed"] and not any(one[name] for name in bad)


def main() -> int:
    """Run, print, write; 1 where something is amiss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    backend = choose(given.sandbox).name
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    about = f"{commit.stdout.strip()}-{given.seed}-{backend}"
    kept = Path(tempfile.gettempdir()) / f"mlgym-faults-{os.getuid()}-{about}.jsonl"
    done = {one["n"]: one for one in map(json.loads, kept.read_text().splitlines())} if kept.exists() else {}
    plan = planned(given.episodes, given.seed, given.only)
    began, local = time.monotonic(), threading.local()
    with tempfile.TemporaryDirectory(prefix="mlgym-faults-") as place, ThreadPoolExecutor(given.jobs) as pool:

        def one(n: int, kind: str) -> dict[str, Any]:
            if not hasattr(local, "world"):
                local.world = World(Path(tempfile.mkdtemp(dir=place)), backend)
            try:
                found = KINDS[kind][1](local.world, random.Random(f"{given.seed}-{n}"))
            except Exception as error:
                found = {"faults": 1, "resumed": False, "differs": [f"{type(error).__name__}: {error}"]}
                found |= {"lost_steps": 0, "lost_attempts": 0, "extra_calls": 0, "too_many_calls": False}
                found |= {"orphans": [], "crashed": []}
                del local.world
            return {"n": n, "kind": kind, **found}

        futures = [pool.submit(one, n, kind) for n, kind in plan if n not in done]
        for future in as_completed(futures):
            found = future.result()
            done[found["n"]] = found
            with kept.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(f"{len(done)}/{len(plan)} {found['kind']} {'good' if good(found) else found}", flush=True)
    seconds = time.monotonic() - began
    every = [done[n] for n, _ in plan]
    skipped = [one for one in every if "skipped" in one]
    ran = [one for one in every if "skipped" not in one]
    table = HEAD + "".join(row(kind, some) for kind in KINDS if (some := [one for one in ran if one["kind"] == kind]))
    table += row("**all**", ran)
    text = (
        "# Faults\n\nWritten by `benchmarks/faults.py`; what is promised, and how it is tested: `docs/faults.md`.\n\n"
        f"Commit {commit.stdout.strip()}, {datetime.date.today()}, seed {given.seed}, {backend}, "
        f"{len(os.sched_getaffinity(0))} cores, {given.jobs} at once, Python {platform.python_version()}; "
        f"{len(ran)} episodes, {len(skipped)} skipped; {seconds / 60:.1f} minutes.\n\n{table}"
    )
    print(text)
    bad = [one for one in ran if not good(one)]
    for one in bad:
        print(f"AMISS: {one}")
    if not given.only:
        PAGE.write_text(text)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
