"""From the flags of `mlgym data generate` to a bulk run."""

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mlgym.allocator import Allocator
from mlgym.cli.app import tell
from mlgym.cli.running import Ways, ask, launched
from mlgym.errors import UsageError
from mlgym.forecast import lacking, unpriced
from mlgym.generate import Bulk, Way, generate, part_of
from mlgym.grid import from_flags, read_grid
from mlgym.launchers import in_process, threads
from mlgym.store import episode_folder


@dataclass(frozen=True)
class How:
    """Where a bulk run is stored, in shards of how many cells, which part is made here, and how."""

    output: Path
    cells: int
    part: str
    compact: bool = False
    include_eval: bool = False
    dry: bool = False


def run(config: Path | None, ways: Ways, flags: dict[str, Any], how: How) -> int:
    """Make the grid of a file and flags; the exit code."""
    asked = read_grid(config) if config else None
    if named := ways.methods():
        flags["agents"] = named
    elif ways.sampling or ways.base_url:
        raise UsageError("-M and --base-url belong to a model named with -m.")
    grid = asked.with_flags(flags) if asked else from_flags(flags)
    bulk, part = Bulk(grid, how.cells, how.include_eval), part_of(how.part)
    mine = len(range(part[0], bulk.shards, part[1]))
    print(
        f"{len(bulk.names):,} tasks x {len(grid.agents)} methods x {len(grid.seeds)} seeds: {len(bulk):,} episodes in "
        f"{bulk.shards:,} shards, {mine:,} of them here"
    )
    if how.dry or not mine:
        return 0
    first = bulk.folder(how.output, part[0])
    left = [spec for spec in bulk.specs(part[0]) if not (episode_folder(first, spec) / "result.json").exists()]
    if missing := lacking(left):
        raise UsageError(" ".join(missing))
    if grid.money is not None and (unknown := unpriced(left, grid.money)):
        raise UsageError(" ".join(unknown))
    ask(left, begun=how.output.exists(), out=sys.stdout)
    concurrent = grid.concurrent or 1
    here = threads(concurrent) if concurrent > 1 else in_process
    way = Way(
        launcher=lambda: launched(grid) or here,
        allocator=Allocator(grid.gpus),
        concurrent=concurrent,
        money=grid.money,
        compact=how.compact,
        say=tell,
    )
    made, code = generate(bulk, how.output, way, part)
    for name, why in islice(made.lost.items(), 10):
        tell(f"Lost: {name}: {why}")
    if made.stopped:
        tell(made.stopped)
    print(f"{made.line}. Next: mlgym data export {how.output} -o DATA")
    return code
