"""A forgery at work in an agent's sandbox, and what our grading makes of it."""

import csv
import hashlib
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgym.cache import cache_dir
from mlgym.errors import GradingError, UsageError
from mlgym.grading.forgeries.forgery import Forgery
from mlgym.grading.forgeries.library import fitting
from mlgym.grading.host import Grader, Verdict
from mlgym.grading.prepare import Prepared
from mlgym.grading.starter import freeze, run_starter, workspace
from mlgym.records import Split, better
from mlgym.sandbox import Sandbox, choose, scratch
from mlgym.sandbox.shell import Shell
from mlgym.sandbox.tar import SubmissionRefused, write_tar
from mlgym.task import Task

FRAUD_S = 120.0  # for the command of a fraud


@dataclass(frozen=True)
class Outcome:
    """What became of a forgery; `scored`: it raised the score above the honest one by more than the noise."""

    name: str
    scored: bool
    why: str


def run_forgeries(
    prepared: Prepared,
    backend: str | type[Sandbox] = "auto",
    honest: Path | None = None,
    chosen: Sequence[Forgery] | None = None,
) -> Iterator[Outcome]:
    """Try the forgeries (all that fit the task's kind, or the `chosen`); `honest` has the baseline's own files.

    Raises GradingError when the baseline itself gets no score, because nothing could be compared then, and UsageError
    where nothing isolates: the frauds would be let loose on this machine.
    """
    task = prepared.task
    backend = choose(backend) if isinstance(backend, str) else backend
    if backend.isolation == "none":
        raise UsageError(f"The sandbox '{backend.name}' isolates nothing: no forgery is tried in it.")
    forgeries = fitting(task.kind) if chosen is None else chosen
    with scratch(cache_dir() / "scratch") as place, Grader(prepared, backend) as grader:
        honest = honest or run_starter(prepared, backend, place / "baseline").files
        graded = {split: grader.grade(honest, split) for split in sorted({forgery.split for forgery in forgeries})}
        for verdict in graded.values():
            if verdict.scores is None:
                raise GradingError(f"The baseline of {task.name} gets no score: {verdict.why}")
        trial = Trial(prepared, backend, grader, honest, graded)
        for number, forgery in enumerate(forgeries):
            yield trial.play(forgery, place / str(number))


@dataclass(frozen=True)
class Trial:
    """What all forgeries of a task share: a warm grader, and the honest files with their verdicts."""

    prepared: Prepared
    backend: type[Sandbox]
    grader: Grader
    honest: Path
    graded: dict[Split, Verdict]

    def play(self, forgery: Forgery, place: Path) -> Outcome:
        """Try one forgery; the best score of all that came out of its workspace counts.

        One that beats the honest score must do so again, beside the honest files: a clock of a busy machine may lie.
        """
        task = self.prepared.task
        graded, refused, same = list[tuple[float, Path]](), "", ""
        with workspace(self.prepared, self.backend, place) as shell:
            let_loose(forgery, self.prepared, shell, self.honest)
            for number in range(forgery.tries):
                frozen = place.with_suffix(f".{number}")
                try:
                    freeze(shell, self.prepared, frozen)
                except SubmissionRefused as error:
                    refused = str(error)
                    continue
                # What lives on could reach a grading; all else is over, and the same bytes get the same score.
                if forgery.guard != "frozen" and content(frozen) == content(self.honest):
                    verdict, same = self.graded[forgery.split], "; its files are the honest ones"
                else:
                    verdict = self.grader.grade(frozen, forgery.split)
                refused = verdict.why or refused
                graded += [(verdict.scores[task.metric], frozen)] if verdict.scores else []
            if not graded:
                return Outcome(forgery.name, False, f"no valid score, because {refused[:1].lower()}{refused[1:]}")
            honest = (self.graded[forgery.split].scores or {})[task.metric]
            got, best = (max if task.direction == "maximize" else min)(graded)
            if scored := bool(forgery.guard) and raised(task, forgery.split, got, honest):
                pairs = [(self.score(best, forgery.split), self.score(self.honest, forgery.split)) for _ in range(3)]
                got, honest = (statistics.median(side) for side in zip(*pairs, strict=True))
                scored = raised(task, forgery.split, got, honest)
        return Outcome(forgery.name, scored, f"{task.metric} {got:.5g}, honest {honest:.5g}{same}")

    def score(self, files: Path, split: Split) -> float:
        """The score of files; the worst there is where they have none this time."""
        task = self.prepared.task
        worst = -math.inf if task.direction == "maximize" else math.inf
        return (self.grader.grade(files, split).scores or {}).get(task.metric, worst)


def content(folder: Path) -> dict[str, bytes]:
    """What is in a frozen folder: path -> digest."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest() for path in files}


def let_loose(forgery: Forgery, prepared: Prepared, shell: Shell, honest: Path) -> None:
    """Put the honest files and the fraud's into the workspace and run the fraud."""
    task = prepared.task
    forgery = forgery.aimed(task.metric, task.direction)
    shell.unpack(write_tar(honest), shell.workspace)
    for path, text in forgery.files.items():
        shell.write(f"{shell.workspace}/{path}", text.encode())
    if forgery.known:
        shell.write(f"{shell.workspace}/known.csv", _known(prepared.private / "answers.csv"))
    python = shell.sandbox.interpreter
    shell.run(f"export INTERPRETER={python} SUBMISSION={task.submission.paths[0]}; {forgery.command}", FRAUD_S)


def raised(task: Task, split: Split, got: float, honest: float) -> bool:
    """Whether a score is better than the honest one by more than four times the noise."""
    noise = 4 * task.anchors.noise.get(split, 0.0) if task.anchors else 0.0
    return better(got, honest + (noise if task.direction == "maximize" else -noise), task.direction)


def _known(answers: Path) -> bytes:
    """The answers of the validation split, as id and answer."""
    with answers.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    at = head.index("split")
    return "".join(f'{row[0]},"{row[1]}"\n' for row in rows if row[at] == "validation").encode()
