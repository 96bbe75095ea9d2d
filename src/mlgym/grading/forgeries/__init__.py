"""The shipped forgeries: honest submissions with a fraud beside or inside them, none of which may raise the score.

Each starts from the task's own baseline. With its defence at work it scores what the baseline scores, or is refused;
the tests show that the same fraud pays where the defence is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlgym.cache import cache_dir
from mlgym.errors import GradingError, UsageError
from mlgym.grading.forgeries.captions import CAPTIONS
from mlgym.grading.forgeries.classifiers import CLASSIFIERS
from mlgym.grading.forgeries.common import COMMON
from mlgym.grading.forgeries.forgery import Forgery
from mlgym.grading.forgeries.games import GAMES
from mlgym.grading.forgeries.language_models import LANGUAGE_MODELS
from mlgym.grading.forgeries.policies import POLICIES
from mlgym.grading.forgeries.sat import SAT
from mlgym.grading.forgeries.tables import TABLES
from mlgym.grading.host import Grader
from mlgym.grading.prepare import Prepared
from mlgym.grading.starter import freeze, run_starter, workspace
from mlgym.records import Scores, better
from mlgym.sandbox import Sandbox, choose, scratch
from mlgym.sandbox.tar import SubmissionRefused, write_tar

FRAUD_S = 120.0  # for the command of a fraud
FORGERIES: tuple[Forgery, ...] = (*COMMON, *CAPTIONS, *CLASSIFIERS, *GAMES, *LANGUAGE_MODELS, *POLICIES, *SAT, *TABLES)


@dataclass(frozen=True)
class Outcome:
    """Whether a forgery raised the score above the baseline's, and what became of it."""

    name: str
    scored: bool
    why: str


def fitting(kind: str) -> list[Forgery]:
    """The forgeries of a kind of task."""
    return [forgery for forgery in FORGERIES if not forgery.kinds or kind in forgery.kinds]


def run_forgeries(
    prepared: Prepared, backend: str | type[Sandbox] = "auto", honest: Path | None = None
) -> Iterator[Outcome]:
    """Try each forgery that fits the task's kind, on the validation split; `honest` has the baseline's own files.

    Raises GradingError when the baseline itself gets no score, because nothing could be compared then, and UsageError
    where nothing isolates: the frauds would be let loose on this machine.
    """
    task = prepared.task
    backend = choose(backend) if isinstance(backend, str) else backend
    if backend.isolation == "none":
        raise UsageError(f"The sandbox '{backend.name}' isolates nothing: no forgery is tried in it.")
    with scratch(cache_dir() / "scratch") as place, Grader(prepared, backend) as grader:
        honest = honest or run_starter(prepared, backend, place / "baseline").files
        reference = grader.grade(honest, "validation")
        if reference.scores is None:
            raise GradingError(f"The baseline of {task.name} gets no score: {reference.why}")
        for number, forgery in enumerate(fitting(task.kind)):
            yield _try(forgery, prepared, backend, grader, honest, place / str(number), reference.scores)


def _try(
    forgery: Forgery,
    prepared: Prepared,
    backend: type[Sandbox],
    grader: Grader,
    honest: Path,
    place: Path,
    reference: Scores,
) -> Outcome:
    """Play one forgery; more than four times the noise above the honest `reference` is a success."""
    task = prepared.task
    noise = 4 * task.anchors.noise.get("validation", 0.0) if task.anchors else 0.0
    frozen = place.with_suffix(".frozen")
    with workspace(prepared, backend, place) as shell:
        shell.unpack(write_tar(honest), shell.workspace)
        for path, text in forgery.files.items():
            shell.write(f"{shell.workspace}/{path}", text.encode())
        shell.run(f"export ROOT= SUBMISSION={task.submission.paths[0]}; {forgery.command}", FRAUD_S)
        try:
            freeze(shell, prepared, frozen)
        except SubmissionRefused as error:
            return Outcome(forgery.name, False, str(error))
        verdict = grader.grade(frozen, "validation")
    if verdict.scores is None:
        return Outcome(forgery.name, False, verdict.why)
    margin = noise if task.direction == "maximize" else -noise
    got, limit = verdict.scores[task.metric], reference[task.metric] + margin
    scored = better(got, limit, task.direction)
    return Outcome(forgery.name, scored, f"{task.metric} {got:.5g}, honest {reference[task.metric]:.5g}")
