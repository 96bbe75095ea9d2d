"""Episodes in bulk: tasks by ranges x methods x seeds, in shards of which each is an ordinary run.

The cells stand in one order, tasks first, and are never listed: the specs of a shard are made when its turn comes.
`RUN/plan.json` says what the cells are; a shard that is whole has `done.json`, and is not looked at again. Everything
else can be killed at any moment and run again.
"""

import functools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlgym import bench, interrupts, outcome
from mlgym.allocator import Allocator
from mlgym.bench import Launcher, Report, run_grid
from mlgym.disk import guarded, write_whole
from mlgym.errors import SourceError, TaskError, UsageError
from mlgym.grading.prepare import prepare
from mlgym.grid import Grid, plan
from mlgym.protocol import keep, lock
from mlgym.ranges import Names
from mlgym.records import EpisodeSpec, Result
from mlgym.store import Episode, episode_folder
from mlgym.task import for_training, load_task
from mlgym.versions import keep_run, versions

PLAN, DONE = "plan.json", "done.json"
CELLS = 500  # of a shard
EVERY_S = 10.0
LISTED = 1000  # tasks in a shard's run.json
Say = Callable[[str], None]


@dataclass(frozen=True)
class Bulk:
    """What is to be made: a grid whose tasks may be ranges, `cells` of which are a shard."""

    grid: Grid
    cells: int = CELLS
    include_eval: bool = False

    def __post_init__(self) -> None:
        if not self.grid.agents:
            raise UsageError("Name the agents with -a, a model with -m, or in the file.")
        if not self.grid.tasks:
            raise UsageError("Name tasks, suites, or ranges of made tasks such as tabular-s0..99-d0.1..0.9.")
        for_training([load_task(name) for name in self.names.first], self.include_eval)

    @functools.cached_property
    def names(self) -> Names:
        """Its tasks."""
        return Names(self.grid.tasks)

    def __len__(self) -> int:
        return len(self.names) * len(self.grid.agents) * len(self.grid.seeds)

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-len(self) // self.cells)

    def folder(self, run: Path, shard: int) -> Path:
        """Where a shard lies."""
        return run / f"shard-{shard:0{max(4, len(str(self.shards - 1)))}d}"

    def specs(self, shard: int) -> Iterator[EpisodeSpec]:
        """The cells of a shard: task by task, on each its methods, with each all seeds. Raises UsageError for a task
        that may not be trained on.
        """
        grid, seeds = self.grid, self.grid.seeds
        each = len(grid.agents) * len(seeds)
        first, last = shard * self.cells, min((shard + 1) * self.cells, len(self))
        for number in range(first // each, (last - 1) // each + 1):
            low, high = max(first - number * each, 0), min(last - number * each, each)
            ways = grid.agents[low // len(seeds) : (high - 1) // len(seeds) + 1]
            flags = {"tasks": [self.names[number]], "agents": [one.model_dump(mode="json") for one in ways]}
            made = plan(grid.with_flags({**flags, "seeds": [0]}))
            for_training(made.tasks.values(), self.include_eval)
            for cell in range(low, high):
                yield made.specs[cell // len(seeds) - low // len(seeds)].changed(seed=seeds[cell % len(seeds)])

    def told(self) -> dict[str, Any]:
        """What decides the cells, as JSON."""
        but = {"concurrent", "launcher", "ray_address", "money", "gpus"}
        return {"cells": self.cells, "grid": self.grid.model_dump(mode="json", exclude=but)}


@dataclass
class Made:
    """How far it is: shards and episodes of this part, those that were there before included; steps, episodes and
    seconds of this command; what was lost, by cell, with the reason; and why it stopped.
    """

    shards: int
    cells: int
    shards_done: int = 0
    episodes: int = 0
    new: int = 0
    steps: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def line(self) -> str:
        """In a line."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate, left = self.new / seconds, self.cells - self.episodes - len(self.lost)
        hours = left / rate / 3600 if rate else 0.0
        ahead = f", {hours:.1f} hours" if hours >= 1 else f", {hours * 60:.0f} minutes"
        ahead = f"{ahead} left" if hours else ""
        lost = f", {len(self.lost)} lost" if self.lost else ""
        return (
            f"{self.episodes:,} of {self.cells:,} episodes, {self.shards_done:,} of {self.shards:,} shards, "
            f"{self.steps:,} new steps, {rate:.2f} episodes a second{lost}{ahead}"
        )


@dataclass(frozen=True)
class Way:
    """How it is run: `launcher` makes one for each shard, `concurrent` tasks are prepared at once; `money` bounds the
    dollars of all shards, `compact` lets go of what can be computed again.
    """

    launcher: Callable[[], Launcher]
    allocator: Allocator | None = None
    concurrent: int = 1
    money: float | None = None
    compact: bool = False
    say: Say = lambda _: None


def part_of(text: str) -> tuple[int, int]:
    """Which of how many parts `I/N` means: I from 0 to N - 1. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found or int(found[1]) >= int(found[2]):
        raise UsageError(f"--shard takes I/N with I from 0 to N - 1, such as 0/16, not '{text}'.")
    return int(found[1]), int(found[2])


def generate(bulk: Bulk, run: Path, way: Way, part: tuple[int, int] = (0, 1)) -> tuple[Made, int]:
    """Make, or go on with, every n-th shard of a bulk run from the i-th on, (i, n) being its `part`.

    Returns how far it came and the exit code, as `live.run`. Raises UsageError where the folder has another plan.
    """
    _same(bulk, run)
    mine = range(part[0], bulk.shards, part[1])
    made = Made(len(mine), sum(min(bulk.cells, len(bulk) - shard * bulk.cells) for shard in mine))
    spent = 0.0
    with interrupts.heard(bench.ASKED) as signalled:
        try:
            for shard in mine:
                folder = bulk.folder(run, shard)
                about = _done(folder)
                if about is None:
                    left = None if way.money is None else max(0.0, way.money - spent)
                    about = _shard(list(bulk.specs(shard)), folder, bulk, way, made, left)
                else:
                    made.episodes += about["episodes"]
                spent += about["money"]
                if made.stopped or bench.ASKED.is_set():
                    break
                made.shards_done += _done(folder) is not None
                way.say(made.line)
        except KeyboardInterrupt:
            if not signalled.number:
                raise
    if signalled.number:
        return made, signalled.code
    return made, interrupts.GO_ON if made.stopped else int(bool(made.lost))


def _same(bulk: Bulk, run: Path) -> None:
    """Write the plan, or raise UsageError where there is another."""
    told, path = json.dumps(bulk.told(), indent=1), run / PLAN
    if path.exists():
        if json.loads(path.read_text()) != json.loads(told):
            raise UsageError(
                f"{run} was begun with another plan ({path}): repeat it, or choose another folder with -o."
            )
        return
    if any(run.glob("*/*/*/spec.json")):
        raise UsageError(f"{run} holds an ordinary run: choose another folder with -o.")
    with guarded(run):
        run.mkdir(parents=True, exist_ok=True)
    write_whole(path, told.encode())


def _done(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((folder / DONE).read_bytes()))
    except (OSError, ValueError):
        return None


def _shard(
    specs: Sequence[EpisodeSpec], folder: Path, bulk: Bulk, way: Way, made: Made, money: float | None
) -> dict[str, Any]:
    """Run what a shard lacks; what it came to, which is stored where all of its episodes have their results."""
    _apart(folder, specs)
    able = _prepared(specs, folder, way, made)
    about: dict[str, Any] = {"episodes": 0, "steps": 0, "money": 0.0}
    if not able:
        return about
    grid = bulk.grid.changed(tasks=tuple(dict.fromkeys(spec.task for spec in able))[:LISTED])
    keep(folder, lock(able, gpus=grid.gpus, here=grid.launcher != "ray"), preset=grid.protocol)
    made_with = versions({Path(spec.task).name: spec.version for spec in able})
    keep_run(folder, grid.model_dump(mode="json"), made_with)
    there = {spec for spec in map(_key, able) if (folder / spec / "result.json").exists()}
    report, told = Report(), time.monotonic()
    for spec, ended in run_grid(
        able, folder, launcher=way.launcher(), allocator=way.allocator, money=money, tell=way.say, report=report
    ):
        if isinstance(ended, Result) and ended.scored:
            _count(about, made, ended, new=_key(spec) not in there)
            if way.compact:
                compact(folder / _key(spec))
        if time.monotonic() - told > EVERY_S:
            told = time.monotonic()
            way.say(made.line)
    made.stopped = report.stopped
    made.lost |= {f"{folder.name}/{name}": why for name, why in report.lost.items()}
    if about["episodes"] == len(specs):
        write_whole(folder / DONE, json.dumps(about).encode())
    return about


def _count(about: dict[str, Any], made: Made, ended: Result, new: bool) -> None:
    about["episodes"] += 1
    about["steps"] += ended.steps
    about["money"] += ended.cost.money or 0.0
    made.episodes += 1
    made.new += new
    made.steps += ended.steps * new


def _key(spec: EpisodeSpec) -> str:
    return episode_folder(Path(), spec).as_posix()


def compact(folder: Path) -> None:
    """Let go of what an ended episode can do without: see `Episode.compact`."""
    store = Episode.read(folder)
    attempts = store.attempts()
    final = next((attempt for attempt in reversed(attempts) if attempt.kind != "validate"), None)
    store.compact(filter(None, (final, outcome.selected(attempts, load_task(store.spec.task)))))


def _apart(folder: Path, specs: Sequence[EpisodeSpec]) -> None:
    """Raise UsageError where two episodes of a shard would share a folder."""
    seen: set[str] = set()
    for spec in specs:
        if (key := _key(spec)) in seen:
            raise UsageError(f"{key} is named twice in {folder.name}: leave one out.")
        seen.add(key)


def _prepared(specs: Sequence[EpisodeSpec], folder: Path, way: Way, made: Made) -> list[EpisodeSpec]:
    """The cells whose tasks' data is there, that of a shard made side by side; the others are told as lost."""
    tasks = {spec.task: spec.python for spec in specs}

    def one(name: str) -> str:
        try:
            prepare(load_task(name), say=way.say, python=tasks[name])
        except (SourceError, TaskError) as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(max(1, way.concurrent)) as pool:
        why = dict(zip(tasks, pool.map(one, tasks), strict=True))
    made.lost |= {f"{folder.name}/{_key(spec)}": why[spec.task] for spec in specs if why[spec.task]}
    return [spec for spec in specs if not why[spec.task]]
