"""One thread of this process that holds all its sandboxes to the bounds that nothing else enforces.

Disk always, and memory and processes where there are no control groups. Ten times a second it looks at figures of the
whole machine, and measures a sandbox only when these have moved far enough to matter, or now and then; what measuring
takes is bounded. It ends processes, the biggest or the busiest first; the first process of a sandbox last.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

from mlgym.sandbox import trees
from mlgym.sandbox.watch_disk import Disk
from mlgym.sandbox.watch_memory import Memory

TICK = 0.1  # seconds between two looks
TURN = 0.01  # seconds of a look that measuring disks may take
REGULAR = 2.0  # seconds after which memory is measured though the machine's has not moved far
SHARE = 10  # a measuring of memory of t seconds is followed by a pause of at least SHARE * t
NOTICE = 32 << 20  # how far the machine's free memory falls before memory is measured


class Watchdog:
    """The thread, which lives while there is something to watch."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.watched: list[Memory | Disk] = []
        self.running = False
        self.last = self.cost = 0.0
        self.free = 0

    def add(self, *watched: Memory | Disk) -> None:
        """Watch over these from now on."""
        with self.lock:
            self.watched = [*self.watched, *watched]
            if not self.running:
                self.running = True
                threading.Thread(target=self.run, name="sandbox watchdog", daemon=True).start()

    def remove(self, *watched: Memory | Disk) -> None:
        """Watch over these no longer; safe to call twice."""
        with self.lock:
            self.watched = [each for each in self.watched if each not in watched]

    def run(self) -> None:
        """Look, until nothing is left to watch."""
        while True:
            time.sleep(TICK)
            with self.lock:
                watched = self.watched
                self.running = bool(watched)
            if not watched:
                return
            self.memories([each for each in watched if isinstance(each, Memory)])
            self.disks([each for each in watched if isinstance(each, Disk)])

    def memories(self, watched: list[Memory]) -> None:
        """Measure these, when it is time."""
        if not watched:
            return
        free, began = available(), time.monotonic()
        pause = SHARE * self.cost if self.free - free >= NOTICE else max(REGULAR, 5 * SHARE * self.cost)
        if began - self.last < pause:
            self.free = max(self.free, free)
            return
        self.free = free
        table = trees.processes()
        for each in watched:
            with contextlib.suppress(Exception):  # what is looked at may end meanwhile; the watch must not
                each.look(table)
        self.last = time.monotonic()
        self.cost = self.last - began

    def disks(self, watched: list[Disk]) -> None:
        """Measure these as far as this turn goes; the first to come is another each time."""
        until = time.monotonic() + TURN
        start = time.monotonic_ns() % len(watched) if watched else 0
        for each in (*watched[start:], *watched[:start]):
            with contextlib.suppress(Exception):
                each.look(until)


def available() -> int:
    """Bytes of the machine's free memory; 0 where it does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


_dogs: dict[int, Watchdog] = {}


def dog() -> Watchdog:
    """The watchdog of this process; a forked child has its own."""
    return _dogs.setdefault(os.getpid(), Watchdog())
