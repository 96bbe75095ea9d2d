"""Environments side by side: python benchmarks/vector.py [--write] [--most 128] [--sandbox NAME].

A round is one step of all environments. First 64 that sleep for half a second, then 8 that compute beside them, then
rounds of the command `true` for 1 to `--most` environments. `--write` records the table in benchmarks/vector.md.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from record import record

from mlgym.records import Limits
from mlgym.sandbox import choose
from mlgym.vector import Episodes, vector

TASK = Path(__file__).parent.parent / "examples" / "guess"
SLEEP, SLEEPERS, WORKERS, ROUNDS = "sleep 0.5", 64, 8, 10
LIMITS = Limits(steps=None, command_s=60)  # no episode ends, so that no round holds a grading
WORK = "python -c 'sum(i * i for i in range(4_000_000))'"  # a third of a second of a processor or so


def seconds(envs: Episodes, actions: list[str]) -> float:
    """How long a round of these actions takes, after one that is not counted."""
    envs.step(["true"] * envs.num_envs)
    began = time.perf_counter()
    envs.step(actions)
    return time.perf_counter() - began


def rounds(most: int, sandbox: str) -> Iterator[tuple[str, str, str]]:
    """The rows of the table."""
    envs = vector(SLEEPERS + WORKERS, task=TASK, limits=LIMITS, sandbox=sandbox)
    began = time.perf_counter()
    envs.reset(seed=0)
    yield f"reset of {envs.num_envs}", f"{time.perf_counter() - began:.2f} s", ""
    asleep, idle = [SLEEP] * SLEEPERS, ["true"] * WORKERS
    yield f"{SLEEPERS} that sleep 0.5 s", f"{seconds(envs, asleep + idle):.2f} s", "under 2 s"
    alone = seconds(envs, ["true"] * SLEEPERS + [WORK] * WORKERS)
    yield f"{WORKERS} that compute", f"{alone:.2f} s", ""
    yield f"{SLEEPERS} that sleep, {WORKERS} that compute", f"{seconds(envs, asleep + [WORK] * WORKERS):.2f} s", ""
    envs.close()
    n = 1
    while n <= most:
        envs = vector(n, task=TASK, limits=LIMITS, sandbox=sandbox)
        envs.reset(seed=0)
        took = sum(seconds(envs, ["true"] * n) for _ in range(ROUNDS))
        yield f"{n} environments, `true`", f"{1000 * took / ROUNDS:.1f} ms", f"{n * ROUNDS / took:.0f} steps a second"
        envs.close()
        n *= 2


def main() -> None:
    """Print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/vector.md")
    parser.add_argument("--most", type=int, default=128)
    parser.add_argument("--sandbox", default="auto")
    args = parser.parse_args()
    backend = choose(args.sandbox)
    rows = list(rounds(args.most, args.sandbox))
    record("vector", ("what", "a round takes", ""), rows, args.write, backend.name)


if __name__ == "__main__":
    main()
