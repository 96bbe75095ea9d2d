"""A grid of episodes in one folder: what is done is read, what is missing is run, what the infrastructure lost is tried
again. Which episode comes next is decided in `schedule`, where it runs by a launcher, and here the two meet.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlgym import beside
from mlgym.allocator import Allocator
from mlgym.driver import Driver, plan
from mlgym.episode import tidy
from mlgym.errors import InUse, UsageError
from mlgym.job import ASKED, Job, OnStep, RunEpisode, Say, costly
from mlgym.records import EpisodeSpec, Failure, Outcome, Result
from mlgym.schedule import Cell, Patience, Schedule
from mlgym.status import Follow
from mlgym.store import Episode, episode_folder
from mlgym.task import load_task

__all__ = ["ASKED", "Failure", "Job", "Launcher", "Outcome", "Patience", "RunEpisode", "run_grid"]

Launcher = Callable[[Job, Iterable[EpisodeSpec | None]], Iterator[tuple[EpisodeSpec, Outcome]]]
PAUSE = "MLGYM_PAUSE"
MORE = "the same command with more goes on."
AGENTS = ("agent", "model")  # whose errors `redo` speaks of


@dataclass
class Report:
    """What a run came to beside its results, filled in while it goes: why it stopped before its end (empty: it did
    not), cells that are missing with the reason, cells that were cancelled. `follow` is the run as it is seen now,
    `running` what runs.
    """

    stopped: str = ""
    lost: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    follow: Follow | None = None
    running: Callable[[], list[str]] = list


def run_grid(
    specs: Sequence[EpisodeSpec],
    run: Path,
    *,
    launcher: Launcher,
    on_step: OnStep | None = None,
    say: Say | None = None,
    allocator: Allocator | None = None,
    money: float | None = None,
    redo: Sequence[str] = (),
    patience: Patience | None = None,
    tell: Callable[[str], None] = lambda _: None,
    tick: Callable[[Report], None] = lambda _: None,
    report: Report | None = None,
) -> Iterator[tuple[EpisodeSpec, Outcome]]:
    """Run (or go on with, or read) every episode of `specs` under the folder `run`; yields each once, as it ends.

    With an `allocator` each waits for its part of the machine, so that no more run at once than fit. What the
    infrastructure lost is tried again with `patience`, and yielded as it was lost the last time. `money` bounds the
    dollars of the whole run, those of earlier commands included: nothing is started that is expected to exceed it, and
    what runs stops when it is spent. `redo` runs episodes again that have ended: `error` for those that an error of the
    agent or of the model ended, or an episode's folder; the old ones are kept under `RUN/aside`. `tell` gets sentences
    on the run, `tick` is called every second from another thread, and `report` is filled in.
    """
    report = report if report is not None else Report()
    if at := beside.cancelled(run):
        report.stopped = f"The run in {run} was cancelled at {at}; 'mlgym cancel {run} --undo' lets it go on."
        return
    bench = _Bench({_name(run, spec): spec for spec in specs}, run, patience or usual(), money, report, tell)
    bench.say = say or bench.say
    bench.redo(redo)
    tidy(allocator)
    yield from bench.known()
    if not bench.schedule.waiting:
        return
    with Driver(run, lambda: bench.tick(tick)) as driver:
        bench.driver = driver
        job = RunEpisode(
            run, "", allocator is not None, allocator, driver.name, on_step=on_step, say=say, broke=bench.broke
        )
        for spec, outcome in launcher(job, bench.source()):
            if bench.judge(spec, outcome):
                yield spec, outcome
    bench.conclude()


def usual() -> Patience:
    """The patience where none is given; MLGYM_PAUSE are the seconds before a second try. Raises UsageError."""
    given = os.environ.get(PAUSE, "")
    try:
        seconds = float(given or Patience.first_s)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{PAUSE} is a number of seconds, not '{given}'.")
    return Patience(first_s=seconds)


def _name(run: Path, spec: EpisodeSpec) -> str:
    return episode_folder(run, spec).relative_to(run).as_posix()


def _cell(name: str, spec: EpisodeSpec) -> Cell:
    sources = {"sandbox": f"the sandbox {spec.sandbox}"}
    if spec.model:
        sources["model"] = f"{spec.model.split('/')[0]}{f' at {spec.base_url}' if spec.base_url else ''}"
    return Cell(name, sources, costly(spec))


def _label(spec: EpisodeSpec) -> str:
    """What is compared, in words."""
    settings = [f"{key}={value}" for key, value in sorted(spec.sampling.items())]
    return " ".join(filter(None, ("" if spec.agent == "react" and spec.model else spec.agent, spec.model, *settings)))


class _Bench:
    """One command's work on a run."""

    def __init__(
        self,
        specs: dict[str, EpisodeSpec],
        run: Path,
        patience: Patience,
        money: float | None,
        report: Report,
        tell: Callable[[str], None],
    ) -> None:
        self.specs, self.run, self.report, self.tell = specs, run, report, tell
        self.money = money
        self.driver: Driver | None = None
        self.say: Say = lambda *_: None
        self.lock = threading.RLock()
        self.costs: dict[tuple[str, ...], list[float]] = {}
        tasks = {name: load_task(name) for name in {spec.task for spec in specs.values()}}
        scales = {name: tasks[spec.task] for name, spec in specs.items()}
        plan(run, {name: (task.metric, task.direction, _label(specs[name])) for name, task in scales.items()})
        self.patience = patience
        self.schedule = Schedule(())
        self.follow = report.follow = Follow(run)
        report.running = lambda: list(self.schedule.running)

    def redo(self, wanted: Sequence[str]) -> None:
        """Put aside the ended episodes that are to be run again. Raises UsageError for one that is not of the run, and
        InUse for one that a process runs.
        """
        names, root = set[str](), self.run.resolve()
        for each in wanted:
            if each == "error":
                names |= {name for name in self.specs if _erred(self.run / name)}
                continue
            place = Path(each).resolve()
            name = place.relative_to(root).as_posix() if place.is_dir() and place.is_relative_to(root) else each
            if name not in self.specs:
                raise UsageError(
                    f"--redo takes 'error' or an episode such as TASK/METHOD/SEED of this run, not '{each}'."
                )
            names |= {name} if (self.run / name).exists() else set()
        for name in names:
            self.tell(f"{name} is run again; the old one lies in {beside.put_aside(self.run, name)}.")

    def known(self) -> Iterator[tuple[EpisodeSpec, Outcome]]:
        """The results that are there, and the schedule of the others."""
        missing: list[Cell] = []
        for name, spec in self.specs.items():
            folder = self.run / name
            result = _result(folder, spec)
            if result is not None:
                yield spec, result
            elif at := beside.cancelled(folder):
                self.report.cancelled.append(name)
                self.tell(f"{name} was cancelled at {at}; 'mlgym cancel {self.run} {name} --undo' lets it go on.")
            else:
                missing.append(_cell(name, spec))
        self.schedule = Schedule(missing, self.patience, budget=self.money, expected=self._expected)
        self.follow.look()
        for name, seen in self.follow.cells.items():
            self.schedule.spent[name] = seen.money
            if seen.scored and name in self.specs:
                self._cost(name, seen.money)

    def source(self) -> Iterator[EpisodeSpec | None]:
        """What to start, for the launcher: asked for when a worker is free."""
        while True:
            with self.lock:
                if self._halted() or self.schedule.over:
                    return
                cell = self.schedule.next(time.monotonic())
                self._heard()
                if cell is not None:
                    self._runs()
            yield self.specs[cell.name] if cell else None

    def judge(self, spec: EpisodeSpec, outcome: Outcome) -> bool:
        """Take in how an episode ended; whether that is the last word on it."""
        name, now = _name(self.run, spec), time.monotonic()
        with self.lock:
            self._seen([name])
            if isinstance(outcome, Result) and outcome.scored:
                self.schedule.ended(name)
                self._cost(name, outcome.cost.money or 0.0)
                last = True
            elif outcome.boundary == "stopped":
                last = self._stopped(name, outcome.why, now)
            elif outcome.boundary == "busy":
                last = self._busy(name, outcome.why, now)
            else:
                last = self._failed(spec, name, outcome, now)
            self._heard()
            self._runs()
        return last

    def tick(self, then: Callable[[Report], None]) -> None:
        """Every second, from another thread: count what is spent, see whether to stop."""
        with self.lock:
            self._seen(list(self.schedule.running))
            self._halted()
            self.broke()
        then(self.report)

    def broke(self) -> str:
        """Why no model that costs money may be asked now."""
        if self.money is None:
            return ""
        with self.lock:
            self._seen(list(self.schedule.running))
            why = self._short() if sum(self.schedule.spent.values()) >= self.money else ""
            if self.driver:
                self.driver.broke(why)
            return why

    def _short(self) -> str:
        return f"The {self.money:g} dollars of the run are spent, or do not reach for what is left; {MORE}"

    def conclude(self) -> None:
        """What is left over at the end."""
        if self.schedule.waiting and not self.report.stopped:
            self.report.stopped = self._short()
        self.report.lost |= self.schedule.lost

    def _halted(self) -> str:
        """Why nothing more is started, which the driver then tells its episodes; empty while it goes on."""
        driver = self.driver
        assert driver is not None
        why = driver.stopping
        if not why and ASKED.is_set():
            why = "It was asked to stop."
        if not why and (at := beside.cancelled(self.run)):
            why = f"The run was cancelled at {at}; 'mlgym cancel {self.run} --undo' lets it go on."
        if why and not self.report.stopped:
            driver.stop(why)
            self.report.stopped = why
            if self.schedule.running:
                self.tell("Stopping: what runs now has some seconds to end.")
        return why

    def _stopped(self, name: str, why: str, now: float) -> bool:
        if beside.cancelled(self.run / name):
            self.schedule.drop(name)
            self.report.cancelled.append(name)
            self.tell(f"{name}: {why} 'mlgym cancel {self.run} {name} --undo' lets it go on.")
        else:
            self.schedule.put_back(name, now)
        return False

    def _busy(self, name: str, why: str, now: float) -> bool:
        if len(self.specs) == 1:
            raise InUse(why)
        self.schedule.put_back(name, now, self.patience.first_s)
        return False

    def _failed(self, spec: EpisodeSpec, name: str, outcome: Outcome, now: float) -> bool:
        lone = len(self.specs) == 1 and isinstance(outcome, Failure)  # somebody may be waiting to hear it
        pause = self.schedule.failed(name, outcome.boundary, outcome.why, now, outcome.lasting or lone)
        if pause is None:
            return True
        tried = f"try {self.schedule.tried[name] + 1} of {self.patience.tries} in {pause:.0f} s"
        self.say(spec, f"{outcome.why} It is tried again ({tried}).")
        return False

    def _heard(self) -> None:
        for note in self.schedule.notes:
            self.tell(note)
        self.schedule.notes.clear()

    def _runs(self) -> None:
        if self.driver:
            self.driver.runs(sorted(self.schedule.running))

    def _seen(self, names: list[str]) -> None:
        self.follow.look(names)
        for name in names:
            self.schedule.spent[name] = self.follow.cells[name].money

    def _cost(self, name: str, money: float) -> None:
        spec = self.specs[name]
        for key in ((spec.task, spec.agent, spec.model), (spec.agent, spec.model), (spec.model,)):
            self.costs.setdefault(key, []).append(money)

    def _expected(self, cell: Cell) -> float | None:
        """The mean of what ended episodes of the same task and method cost, else of the same method or model."""
        spec = self.specs[cell.name]
        for key in ((spec.task, spec.agent, spec.model), (spec.agent, spec.model), (spec.model,)):
            if found := self.costs.get(key):
                return sum(found) / len(found)
        return None


def _erred(folder: Path) -> bool:
    result = Episode(folder).result
    return result is not None and result.scored and (result.boundary in AGENTS or result.ended == "error")


def _result(folder: Path, spec: EpisodeSpec) -> Result | None:
    """The episode's scored result, if it has one. Raises UsageError where another spec made it."""
    if not (folder / "result.json").exists() or not (folder / "result.json").stat().st_size:
        return None
    result = Episode.read(folder).result
    if result is None or not result.scored:
        return None
    Episode.read(folder).same(spec)
    return result
