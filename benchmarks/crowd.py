"""Many sandboxes at once: python benchmarks/crowd.py [--write] [-n 300] [--sandbox NAME].

All are open together and each answers a command. Memory is told twice: as what the machine has less, and as the
proportional share (PSS) of all their processes. `--write` records the table in benchmarks/crowd.md.
"""

import argparse
import os
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from record import record

from mlgym.cache import cache_dir
from mlgym.sandbox import SandboxSpec, choose, open_shell, scratch, trees

MB = 1 << 20


def available() -> float:
    """MB of memory that the machine has free."""
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable"))
    return int(line.split()[1]) / 1024


def shares() -> tuple[int, float]:
    """The number of processes below this one, and their proportional share of memory in MB."""
    found = trees.below(os.getpid(), trees.processes())[1:]
    total = 0
    for process in found:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return len(found), total / 1024


def main() -> None:
    """Print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/crowd.md")
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("-n", type=int, default=300)
    args = parser.parse_args()
    backend = choose(args.sandbox)
    with scratch(cache_dir() / "scratch") as place, ExitStack() as stack:
        before, shells = available(), []
        began = time.perf_counter()
        for number in range(args.n):
            folder = place / str(number)
            folder.mkdir()
            shell = open_shell(backend, SandboxSpec(folder))
            stack.callback(shell.stop)
            shell.start()
            shells.append(shell)
        opened = time.perf_counter() - began
        waits = []
        for number, shell in enumerate(shells):
            one = time.perf_counter()
            assert shell.run(f"echo {number}", 30).output == f"{number}\n"
            waits.append(time.perf_counter() - one)
        less = before - available()
        processes, share = shares()
        quiet, begun = time.process_time(), time.perf_counter()
        time.sleep(5)
        busy = (time.process_time() - quiet) / (time.perf_counter() - begun)
        began = time.perf_counter()
        for shell in shells:
            shell.stop()
        closed = time.perf_counter() - began
    n = args.n
    rows = [
        ("open at once, each has answered", f"{n}", f"{processes} processes"),
        ("memory of each, by what the machine has less", f"{less / n:.1f} MB", f"{less:.0f} MB in all"),
        ("memory of each, by proportional share", f"{share / n:.1f} MB", f"{share:.0f} MB in all"),
        ("opening all, one after another", f"{opened:.1f} s", f"{opened / n * 1000:.0f} ms each"),
        ("a command in each, by turns", f"{statistics.median(waits) * 1000:.1f} ms", "median"),
        ("processor of the host process while all are idle", f"{busy * 100:.1f} %", "of one, over 5 s"),
        ("closing all, one after another", f"{closed:.1f} s", f"{closed / n * 1000:.0f} ms each"),
    ]
    record("crowd", ("what", "measured", "beside it"), rows, args.write, backend.name)


if __name__ == "__main__":
    main()
