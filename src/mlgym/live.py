"""A run on the terminal while it happens: steps as they come, the table at the end, and what to type next."""

from pathlib import Path

from rich.console import Console

from mlgym.allocator import Allocator
from mlgym.bench import run_grid
from mlgym.episode import want
from mlgym.grading.prepare import prepare
from mlgym.launchers import in_process, threads
from mlgym.records import Attempt, EpisodeSpec, Result, Step, better
from mlgym.report import console as show
from mlgym.report.show import difference
from mlgym.store import episode_folder
from mlgym.task import load_task

EVERYTHING = Allocator()


class _Display:
    """What has been shown: the best validation score of each episode, and the results of those that ended."""

    def __init__(self, specs: list[EpisodeSpec], detail: str) -> None:
        self.out = Console(highlight=False)
        self.notes = Console(highlight=False, stderr=detail == "none")  # what is read by programs has a line an episode
        self.tasks = {spec.task: load_task(spec.task) for spec in specs}
        self.detail = detail
        self.several = len(specs) > 1
        self.best: dict[tuple[str, int], float] = {}

    def step(self, spec: EpisodeSpec, step: Step, attempt: Attempt | None) -> None:
        """A step, where steps are shown, or a valid attempt."""
        task, key = self.tasks[spec.task], (spec.task, spec.seed)
        value = attempt.validation[task.metric] if attempt and attempt.valid and attempt.validation else None
        if value is not None and (key not in self.best or better(value, self.best[key], task.direction)):
            self.best[key] = value
        if self.detail == "steps":
            self.out.print(show.live(spec, step, self.best.get(key), self.several), end="")
        elif self.detail == "attempts" and value is not None:
            seen = f"{task.metric} {show.number(value)}, best {show.number(self.best[key])}"
            self.out.print(f"{task.name} seed {spec.seed}: step {step.n}, {seen}", markup=False)

    def say(self, spec: EpisodeSpec, note: str) -> None:
        """A note about an episode."""
        line = f"{self.tasks[spec.task].name} seed {spec.seed}: {show.safe(note)}"
        self.notes.print(line, style="yellow", markup=False, soft_wrap=True)


def run(
    specs: list[EpisodeSpec],
    target: Path,
    concurrent: int,
    detail: str,
    stored: bool = True,
    allocator: Allocator = EVERYTHING,
) -> int:
    """Run a grid of one method in the folder `target`, at most `concurrent` episodes at once and no more than the
    machine has processors and cards for; how many broke, or need what this machine can never give.

    `detail` is steps (each with its action and observation), attempts (a line each) or none (a line an episode).
    """
    display = _Display(specs, detail)
    out = display.out
    specs, missing = _possible(specs, target, allocator, display)
    display.tasks = {spec.task: display.tasks[spec.task] for spec in specs}
    for name, task in display.tasks.items():
        python = next(spec.python for spec in specs if spec.task == name)
        prepare(task, say=lambda line: out.print(line, markup=False), python=python)
    launcher = threads(concurrent) if concurrent > 1 and display.several else in_process
    done: list[tuple[EpisodeSpec, Result]] = []
    grid = run_grid(specs, target, launcher=launcher, on_step=display.step, say=display.say, allocator=allocator)
    for spec, result in grid:
        done.append((spec, result))
        out.print(_line(spec, result), markup=False, soft_wrap=True)
    broken = missing + sum(result.boundary not in ("", "budget") for _, result in done)
    if detail == "none" or not done:
        return broken
    out.print()
    out.print(show.results(sorted(done, key=lambda row: specs.index(row[0]))))
    if not stored:
        out.print("\nNext: mlgym run blotto -a tuner, or with a language model: mlgym run blotto -m PROVIDER/NAME")
        return broken
    if len(done) == 1 and show.chosen_attempt(done[0][1]):
        difference(episode_folder(target, specs[0]))
    out.print(
        f"\nStored in {target}. Next: mlgym show {target}, mlgym show {target} --diff", markup=False, soft_wrap=True
    )
    return broken


def _possible(
    specs: list[EpisodeSpec], target: Path, allocator: Allocator, display: _Display
) -> tuple[list[EpisodeSpec], int]:
    """The episodes that are done or that this machine can run, and how many others there are, which is said."""
    why = {name: allocator.impossible(want(next(s for s in specs if s.task == name))) for name in display.tasks}
    kept = [spec for spec in specs if not why[spec.task] or (episode_folder(target, spec) / "result.json").exists()]
    for name in {spec.task: None for spec in specs if spec not in kept}:
        display.out.print(f"{display.tasks[name].name} was not run: {why[name]}", style="yellow", markup=False)
    return kept, len(specs) - len(kept)


def _line(spec: EpisodeSpec, result: Result) -> str:
    """An episode's end in a line."""
    who = " ".join(filter(None, (Path(spec.task).name, spec.agent, spec.model)))
    best, final = (show.number(show.score(scores, result.metric)) for scores in (result.best, result.final))
    ended = f"{result.ended} after {result.steps} steps, {result.metric} on test: best {best}, final {final}"
    again = "" if result.scored else " (not scored; the same command tries again)"
    why = f"; {show.safe(result.why)}" if result.why else ""
    return f"{who} seed {spec.seed}: {ended}{why}{again}"
