"""A run on the terminal while it happens: the steps of a single episode, or a table of many; what to type next."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.live import Live

from mlgym import bench, interrupts
from mlgym.allocator import Allocator
from mlgym.bench import Launcher, Patience, Report, run_grid
from mlgym.board import Board, line, tasks
from mlgym.episode import want
from mlgym.errors import SourceError
from mlgym.grading.prepare import prepare
from mlgym.launchers import in_process, threads
from mlgym.records import Attempt, EpisodeSpec, Outcome, Result, Step, better
from mlgym.report import console as show
from mlgym.report.show import difference
from mlgym.status import Status
from mlgym.store import episode_folder
from mlgym.task import load_task

EVERYTHING = Allocator()
ROWS = 60  # of the table at the end; of more episodes, or of several methods, there is a row a task
QUIET_S = 60.0  # seconds between two lines on how far a run is, where there is no terminal


class _Display:
    """What has been shown: the best validation score of each episode, and the results of those that ended."""

    def __init__(self, specs: Sequence[EpisodeSpec], detail: str) -> None:
        self.out = Console(highlight=False)
        self.notes = Console(highlight=False, stderr=detail == "none")  # what is read by programs has a line an episode
        self.tasks = {name: load_task(name) for name in dict.fromkeys(spec.task for spec in specs)}
        ways = Counter(task for task, *_ in {(spec.task, spec.agent, spec.model) for spec in specs})
        self.several, self.methods = len(specs) > 1, max(ways.values(), default=0)  # the most methods on one task
        self.detail = "ends" if self.several and detail == "steps" else detail
        self.best: dict[tuple[str, str, str, int], float] = {}
        self.board = Board(self.see) if self.detail == "ends" and self.out.is_terminal else None
        self.report = Report()
        self.told_at = time.monotonic()

    def step(self, spec: EpisodeSpec, step: Step, attempt: Attempt | None) -> None:
        """A step, where steps are shown, or a valid attempt."""
        task, key = self.tasks[spec.task], (spec.task, spec.agent, spec.model, spec.seed)
        value = attempt.validation[task.metric] if attempt and attempt.valid and attempt.validation else None
        if value is not None and (key not in self.best or better(value, self.best[key], task.direction)):
            self.best[key] = value
        if self.detail == "steps":
            self.out.print(show.live(spec, step, self.best.get(key), self.several), end="")
        elif self.detail == "attempts" and value is not None:
            seen = f"{task.metric} {show.number(value)}, best {show.number(self.best[key])}"
            self.out.print(show.safe(f"{task.name} seed {spec.seed}: step {step.n}, {seen}"), markup=False)

    def say(self, spec: EpisodeSpec, note: str) -> None:
        """A note about an episode."""
        who = _who(spec) if self.methods > 1 else self.tasks[spec.task].name
        self.tell(f"{who} seed {spec.seed}: {note}")

    def tell(self, note: str) -> None:
        """A note about the run."""
        if self.board:
            if " It has " not in f" {note.partition(': ')[2]}":  # a share of the machine: in the table nobody misses it
                self.board.notes.append(note)
        else:
            self.notes.print(show.safe(note), style="yellow", markup=False, soft_wrap=True)

    def ended(self, spec: EpisodeSpec, outcome: Outcome) -> None:
        """An episode's end: a line, but where the table tells it."""
        if not self.board and not self.several and not isinstance(outcome, Result):
            print(show.safe(outcome.why), file=sys.stderr)
        elif not self.board:
            self.out.print(_line(spec, outcome), markup=False, soft_wrap=True)
        elif not (isinstance(outcome, Result) and outcome.boundary in ("", "budget")):
            self.tell(_line(spec, outcome))

    def see(self) -> Status | None:
        """The run as it is now."""
        return self.report.follow.status(self.report.running()) if self.report.follow else None

    def tick(self, report: Report) -> None:
        """A line from time to time, where no terminal shows the table."""
        if self.detail != "ends" or self.board or time.monotonic() - self.told_at < QUIET_S:
            return
        self.told_at = time.monotonic()
        if (status := self.see()) is not None:
            self.notes.print(line(status), markup=False, soft_wrap=True)


def run(
    specs: list[EpisodeSpec],
    target: Path,
    concurrent: int,
    detail: str,
    stored: bool = True,
    allocator: Allocator = EVERYTHING,
    *,
    launcher: Launcher | None = None,
    money: float | None = None,
    redo: Sequence[str] = (),
    patience: Patience | None = None,
    here: bool = True,
) -> int:
    """Run a grid in the folder `target`, at most `concurrent` episodes at once and no more than the machine has
    processors and cards for; returns the exit code: 0 when every episode has its result, 1 when some are missing or
    ended with an error, 75 when the run stopped with something left to go on with (`money` of the whole run spent,
    cancelled, SIGUSR1), 128 and the number of another signal that stopped it.

    `detail` is steps (of a single episode each with its action and observation; of several a table that is kept up to
    date on a terminal, else a line an episode), attempts (a line each), ended (a line an episode, and the table at the
    end) or none (a line an episode). `launcher` takes
    the place of threads in this process; one that uses other machines is not `here`, so that this one's processors and
    cards are no bound. `redo` and `patience` are those of `bench.run_grid`.
    """
    display = _Display(specs, detail)
    specs, missing = _possible(specs, target, allocator, display) if here else (specs, 0)
    specs, unprepared = _prepared(specs, display)
    missing += unprepared
    at_once = concurrent > 1 and display.several
    place = launcher or (threads(concurrent) if at_once else in_process)
    graceful = launcher is not None or display.several
    done: list[tuple[EpisodeSpec, Outcome]] = []
    with interrupts.heard(bench.ASKED) if graceful else nullcontext(interrupts.Signalled()) as signalled:
        try:
            with Live(display.board, console=display.out, refresh_per_second=1) if display.board else nullcontext():
                for spec, outcome in run_grid(
                    specs,
                    target,
                    launcher=place,
                    on_step=display.step,
                    say=display.say,
                    allocator=allocator,
                    money=money,
                    redo=redo,
                    patience=patience,
                    tell=display.tell,
                    tick=display.tick,
                    report=display.report,
                ):
                    done.append((spec, outcome))
                    display.ended(spec, outcome)
        except KeyboardInterrupt:
            if not signalled.number:
                raise
    code = _code(signalled, display.report, missing, done)
    if code >= interrupts.GO_ON:
        _why(signalled, display.report.stopped)
        return code
    if detail != "none" and done:
        _end(display, specs, target, done, stored)
    return code


def _code(
    signalled: interrupts.Signalled, report: Report, missing: int, done: Sequence[tuple[EpisodeSpec, Outcome]]
) -> int:
    if signalled.number:
        return signalled.code
    if report.stopped:
        return interrupts.GO_ON
    broken = any(outcome.boundary not in ("", "budget") for _, outcome in done)
    return int(bool(missing or broken or report.lost or report.cancelled))


def _why(signalled: interrupts.Signalled, stopped: str) -> None:
    """Why it stopped; of an interrupt the command line tells itself."""
    if signalled.code != 130:
        print("Interrupted; the same command goes on." if signalled.number else stopped, file=sys.stderr)


def _end(
    display: _Display, specs: Sequence[EpisodeSpec], target: Path, done: list[tuple[EpisodeSpec, Outcome]], stored: bool
) -> None:
    """The table at the end, and what to type next."""
    out = display.out
    results = [(spec, outcome) for spec, outcome in done if isinstance(outcome, Result)]
    out.print()
    status = display.see()
    if status and (len(done) > ROWS or display.methods > 1):
        out.print(line(status), markup=False)
        out.print(tasks(status))
    elif results:
        order = {id(spec): place for place, spec in enumerate(specs)}
        out.print(show.results(sorted(results, key=lambda row: order[id(row[0])])))
    if not stored:
        out.print("\nNext: mlgym run blotto -a tuner, or with a language model: mlgym run blotto -m PROVIDER/NAME")
        return
    if len(done) == 1 and results and show.chosen_attempt(results[0][1]):
        difference(episode_folder(target, results[0][0]))
    further = f"mlgym report {target} -o report" if display.methods > 1 else f"mlgym show {target} --diff"
    out.print(
        f"\nStored in {target}. Next: mlgym show {target}, mlgym view {target}, {further}", markup=False, soft_wrap=True
    )


def _possible(
    specs: list[EpisodeSpec], target: Path, allocator: Allocator, display: _Display
) -> tuple[list[EpisodeSpec], int]:
    """The episodes that are done or that this machine can run, and how many others there are, which is said."""
    why = {name: allocator.impossible(want(next(s for s in specs if s.task == name))) for name in display.tasks}
    kept = [spec for spec in specs if not why[spec.task] or (episode_folder(target, spec) / "result.json").exists()]
    for name in {spec.task: None for spec in specs if spec.task not in {one.task for one in kept}}:
        display.out.print(f"{display.tasks[name].name} was not run: {why[name]}", style="yellow", markup=False)
    return kept, len(specs) - len(kept)


def _prepared(specs: list[EpisodeSpec], display: _Display) -> tuple[list[EpisodeSpec], int]:
    """The episodes whose data can be had, and how many others there are; of one task alone the error is raised."""
    missing: dict[tuple[str, str], str] = {}
    say: Callable[[str], None] = lambda note: display.out.print(note, markup=False)  # noqa: E731
    for name, python in dict.fromkeys((spec.task, spec.python) for spec in specs):
        try:
            prepare(display.tasks[name], say=say, python=python)
        except SourceError as error:
            if len(display.tasks) == 1:
                raise
            missing[name, python] = str(error)
            display.tell(f"{display.tasks[name].name} was not run: {error}")
    kept = [spec for spec in specs if (spec.task, spec.python) not in missing]
    return kept, len(specs) - len(kept)


def _who(spec: EpisodeSpec) -> str:
    return " ".join(filter(None, (Path(spec.task).name, spec.agent, spec.model)))


def _line(spec: EpisodeSpec, outcome: Outcome) -> str:
    """An episode's end in a line."""
    again = "(not scored; the same command tries again)"
    who = f"{_who(spec)} seed {spec.seed}"
    if not isinstance(outcome, Result):
        return show.safe(f"{who}: {outcome.why} {again}")
    best, final = (show.number(show.score(scores, outcome.metric)) for scores in (outcome.best, outcome.final))
    ended = f"{outcome.ended} after {outcome.steps} steps, {outcome.metric} on test: best {best}, final {final}"
    why = f"; {outcome.why}" if outcome.why else ""
    return show.safe(f"{who}: {ended}{why}{'' if outcome.scored else f' {again}'}")
