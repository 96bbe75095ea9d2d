"""Which processes of a sandbox may be ended by the watchdog, and how."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from mlgym.sandbox import trees
from mlgym.sandbox.trees import Process


def others(tree: Sequence[Process], driver: int) -> list[Process]:
    """The processes below the driver; below the root, where there is no driver (0)."""
    numbers = [each.pid for each in tree]
    above = set(numbers[: numbers.index(driver) + 1] if driver in numbers else numbers[:1])
    return [each for each in tree if each.pid not in above]


def first(tree: Sequence[Process]) -> int:
    """The first process inside: the first of the innermost namespace of pids, or of the tree where there is just one.

    0 where there is none. While a sandbox starts it is one of those outside, so it is asked for anew each time.
    """
    depths = {process.pid: namespaces(process.pid) for process in tree[:6]}
    deepest = max(map(len, depths.values()), default=0)
    if deepest == len(namespaces(os.getpid())):
        return tree[0].pid
    found = (pid for pid, numbers in depths.items() if len(numbers) == deepest and numbers[-1:] == ["1"])
    return next(found, 0)


def namespaces(pid: int) -> list[str]:
    """A process's number in each namespace that it is in, from this one inward."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])


def end(process: Process, number: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal to this process, not to another that has got its number since."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        found = trees.look(process.pid)
        if found and found.started == process.started:
            signal.pidfd_send_signal(fd, number)
    except OSError:
        pass
    finally:
        os.close(fd)
