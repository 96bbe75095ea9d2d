"""The memory and the processes of one sandbox, held to their bounds by ending processes: where no group does it."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlgym.sandbox import measure, trees
from mlgym.sandbox.trees import Process
from mlgym.sandbox.victims import end, first, others

if TYPE_CHECKING:
    from mlgym.sandbox import SandboxLimits


class Memory:
    """The memory of the tree below `pid`, with what lies in its temporary file systems at the places `temporary`.

    `struck` counts "oom" and "processes"; `cpu_s` are the most processor seconds that were seen.
    """

    def __init__(self, pid: int, limits: "SandboxLimits", temporary: Sequence[str], struck: Counter[str]) -> None:
        self.pid, self.processes, self.temporary, self.struck = pid, limits.processes, temporary, struck
        self.most = limits.memory_mb << 20
        self.cpu_s = 0.0

    def look(self, table: dict[int, Process]) -> None:
        """Measure, and end the biggest processes where it is too much."""
        tree = trees.below(self.pid, table)
        if not tree:
            return
        self.cpu_s = max(self.cpu_s, sum(each.cpu_s for each in tree))
        if sum(each.threads for each in tree) >= self.processes:
            self.struck["processes"] += 1
        driver = first(tree)
        held = [each for each in measure.held(tree) if each.memory]
        files = measure.temporary(driver, self.temporary) + sum(each.size for each in held)
        if files + sum(each.rss for each in tree) <= self.most:
            return
        total, sizes = measure.memory(tree, files, held)
        if total > self.most:
            self.struck["oom"] += 1
            victims = sorted(others(tree, driver), key=lambda each: -sizes[each.pid])
            self.shrink(victims or tree[:1], total - self.most, sizes)

    def shrink(self, victims: Sequence[Process], excess: int, sizes: dict[int, int]) -> None:
        """End processes until they held so many bytes: the sandbox itself only where nothing else is left in it."""
        for process in victims:
            if excess <= 0:
                return
            end(process)
            excess -= sizes[process.pid]
