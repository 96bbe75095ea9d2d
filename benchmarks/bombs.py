"""Bombs in one sandbox, commands in eight others: python benchmarks/bombs.py [--write] [--sandbox NAME].

The eight run a command each by turns, before, while and after a ninth runs a fork bomb, a memory bomb, a disk bomb and
a flood of output, one after the other: how long their commands take is the measure. The bombs are bounded themselves,
should a limit not hold. `--write` records the table in benchmarks/bombs.md.
"""

import argparse
import statistics
import threading
import time
from contextlib import ExitStack

from record import record

from mlgym.cache import cache_dir
from mlgym.sandbox import SandboxLimits, SandboxSpec, Shell, choose, open_shell, scratch

SECONDS = 8.0  # of quiet before and after
OTHERS = 8
MEMORY = """python3 -c '
import os
for _ in range(8):
    if not os.fork():
        kept = [b"x" * (8 << 20) for _ in range(60)]
        os._exit(0)
for _ in range(8): os.wait()
'"""
BOMBS = {
    "fork bomb": "b() { b | b & }; b; sleep 8",
    "memory bomb": f"for n in 1 2 3 4 5; do {MEMORY}; done",
    "disk bomb": "for n in $(seq 60); do head -c 32M /dev/zero >big$n || break; done",
    "output flood": "head -c 20G /dev/zero | tr '\\0' 'x'",
}
LIMITS = SandboxLimits(memory_mb=512, disk_mb=256, processes=256)


def driven(shells: list[Shell], into: list[float], until: threading.Event) -> None:
    """Run a command in each shell by turns, five rounds a second, and note how long each took."""
    while not until.is_set():
        for shell in shells:
            began = time.perf_counter()
            assert shell.run("ls /usr/bin | head -n 3 | wc -l", 60).output == "3\n"
            into.append(time.perf_counter() - began)
        until.wait(0.2)


def measured(shells: list[Shell], act: object) -> tuple[list[float], str]:
    """How long commands took while `act` ran, and what it returned."""
    taken: list[float] = []
    over = threading.Event()
    thread = threading.Thread(target=driven, args=(shells, taken, over))
    thread.start()
    try:
        said = act()  # type: ignore[operator]
    finally:
        over.set()
        thread.join()
    return taken, said


def main() -> None:
    """Print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/bombs.md")
    parser.add_argument("--sandbox", default="auto")
    args = parser.parse_args()
    backend = choose(args.sandbox)
    rows = []
    with scratch(cache_dir() / "scratch") as place, ExitStack() as stack:

        def opened(name: str) -> Shell:
            (place / name).mkdir()
            return stack.enter_context(open_shell(backend, SandboxSpec(place / name, limits=LIMITS)))

        shells = [opened(str(number)) for number in range(OTHERS)]

        def row(what: str, act: object) -> None:
            taken, said = measured(shells, act)
            middle, most = statistics.median(taken), sorted(taken)[len(taken) * 95 // 100]
            times = (f"{middle * 1000:.1f} ms", f"{most * 1000:.1f} ms")
            rows.append((what, *times, f"{max(taken) * 1000:.0f} ms", str(len(taken)), said))

        def bomb(name: str) -> str:
            shell = opened(name)
            began = time.perf_counter()
            ran = shell.run(BOMBS[name], 60)
            taken = time.perf_counter() - began
            shell.run("true", 60)  # it may be told of a last hit
            alive = shell.run("echo alive", 60).output == "alive\n"
            shell.stop()
            return f"{ran.hit or 'no hit'} after {taken:.1f} s, then {'alive' if alive else 'not alive'}"

        def quiet() -> str:
            time.sleep(SECONDS)
            return ""

        row("before", quiet)
        for name in BOMBS:
            row(name, lambda name=name: bomb(name))
        row("after", quiet)
    head = ("while", "median", "95th percentile", "longest", "commands", "the bomb")
    record("bombs", head, rows, args.write, backend.name)


if __name__ == "__main__":
    main()
