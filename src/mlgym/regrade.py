"""All scores of a run computed again from its stored files: what was recorded is compared and never changed."""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from mlgym.cache import SAY, Say, cache_dir
from mlgym.disk import write_whole
from mlgym.errors import MlgymError, UsageError
from mlgym.grading import Grader, Verdict
from mlgym.grading.prepare import prepare
from mlgym.records import Attempt, Provenance, Scores, Split
from mlgym.sandbox import choose, scratch
from mlgym.store import Episode, episodes
from mlgym.task import Task, load_task, place

SPLITS: tuple[Split, ...] = ("validation", "test")
NOISES = 4.0  # standard deviations of the difference of two gradings: more is no noise
ROUNDING = 1e-6  # of a score that is made of the submission's own floating-point numbers
IMPORTED = "imported from another system, which kept no files of its attempts"
LET_GO = "its files were let go for space"
TIME_OUT = ("took longer", "took too long")  # in a verdict: another machine, or a busy one, may say otherwise
# What else may have graded: the field of the record, and the same in words.
OTHERS = {
    "version": "version of the task",
    "grader": "grader (task.py, what it shares or its settings)",
    "data": "draw of the prepared data",
    "environment": "set of packages",
    "grader_environment": "set of the grader's packages",
}
Status = Literal["equal", "within noise", "differs", "not comparable", "let go"]


@dataclass(frozen=True)
class Regraded:
    """A score of an attempt as it was recorded and as it is graded again; None where there is no valid score.

    `differs` is beyond the noise, by the same grader on the same data; `not comparable` was graded by something else,
    or cannot be graded here; of `let go` the files are not kept. `why` says more.
    """

    episode: str
    attempt: int
    split: Split
    recorded: float | None
    again: float | None
    status: Status
    why: str = ""


def regrade(run: Path, backend: str = "auto", say: Say = SAY) -> Iterator[Regraded]:
    """Grade what a run's or an episode's folder has stored again, with a fresh grader for each task.

    `say` gets a line for each episode. Raises UsageError where there is no episode, SandboxError where none starts.
    """
    kind = choose(backend)
    folders = list(episodes(run))
    if not folders:
        raise UsageError(f"There is no episode in {run}; give a run's or an episode's folder.")
    stores: list[Episode] = []
    for folder in folders:
        try:
            stores.append(_readable(Episode.read(folder)))
        except (MlgymError, ValueError) as error:
            yield Regraded(_name(run, folder), 0, "test", None, None, "differs", str(error))
    number = 0
    for (reference, version, python), group in groupby(stores, _task):
        with contextlib.ExitStack() as opened:
            grader, task, why = None, None, ""
            try:
                _ours(version)
                _not_of(run, str(place(reference)), python)
                task = load_task(reference)
                if task.version == version:
                    grader = opened.enter_context(Grader(prepare(task, say=say, python=python), kind))
                else:
                    why = f"made with version {version} of {task.name}, here is version {task.version}"
            except MlgymError as error:
                why = str(error)
            for store in group:
                number += 1
                name = _name(run, store.folder)
                attempts = store.attempts()
                say(f"[{number}/{len(stores)}] {name}: {len(attempts)} attempts")
                metric = task.metric if task else store.result.metric if store.result else ""
                again = _Again(store, task, grader, why)
                for attempt in attempts:
                    yield from again.rows(name, attempt, metric)


def write(run: Path, rows: list[Regraded]) -> Path:
    """Put the comparison beside the run's records, as `regrade.json`."""
    path = run / "regrade.json"
    write_whole(path, json.dumps([asdict(row) for row in rows], indent=1).encode())
    return path


def _name(run: Path, folder: Path) -> str:
    return str(folder if folder == run else folder.relative_to(run))


def _readable(store: Episode) -> Episode:
    """The episode; raises UsageError where a record that is needed cannot be read."""
    _ = store.spec, store.result, store.attempts()
    return store


def _task(store: Episode) -> tuple[str, int, str]:
    spec = store.spec
    return spec.task, spec.version, spec.python


def _ours(version: int) -> None:
    """Raise UsageError for an episode that was graded by none of our versions of a task."""
    if version == 0:
        raise UsageError(IMPORTED)


def _not_of(run: Path, *places: str) -> None:
    """A run is data: a task or an interpreter that lies in it is not run. Raises UsageError."""
    for each in places:
        if each and Path(each).resolve().is_relative_to(run.resolve()):
            raise UsageError(f"{each} lies in the run itself and is not run")


class _Again:
    """The attempts of one episode graded again; without a grader none can be, because `why`."""

    def __init__(self, store: Episode, task: Task | None, grader: Grader | None, why: str) -> None:
        self._store, self._task, self._grader, self._why = store, task, grader, why
        self._known: dict[tuple[Any, ...], Verdict | str] = {}

    def rows(self, episode: str, attempt: Attempt, metric: str) -> Iterator[Regraded]:
        """A row for each split with scores; of an attempt without any, for the one that it was refused on."""
        if self._why == IMPORTED and attempt.n == 0:  # once for the episode
            yield Regraded(episode, 0, "test", None, None, "not comparable", IMPORTED)
        by = attempt.provenance
        splits = [split for split in SPLITS if getattr(attempt, split) is not None]
        for split in (splits or [by.feedback if by else "validation"]) if attempt.files else []:
            scores: Scores | None = getattr(attempt, split)
            verdict = self._verdict(attempt, split, by.seed if by else 0)
            status, why = self._status(attempt, scores, verdict, split)
            again = None if isinstance(verdict, str) or not verdict.scores else verdict.scores.get(metric)
            yield Regraded(episode, attempt.n, split, (scores or {}).get(metric), again, status, why)

    def _verdict(self, attempt: Attempt, split: Split, seed: int) -> Verdict | str:
        """Today's verdict, the same files being graded once; in words why there is none."""
        key = (*sorted(attempt.files.items()), split, seed)
        if key not in self._known:
            self._known[key] = self._graded(attempt, split, seed)
        return self._known[key]

    def _graded(self, attempt: Attempt, split: Split, seed: int) -> Verdict | str:
        if self._grader is None:
            return self._why
        with scratch(cache_dir() / "scratch") as place:
            try:
                return self._grader.grade(self._store.checkout(attempt.files, place / "files"), split, seed)
            except FileNotFoundError:
                return LET_GO
            except (MlgymError, OSError) as error:
                return str(error)

    def _status(
        self, attempt: Attempt, recorded: Scores | None, verdict: Verdict | str, split: Split
    ) -> tuple[Status, str]:
        try:
            changed = [name for name, digest in attempt.files.items() if self._store.intact(digest) is False]
        except UsageError as error:
            return "differs", str(error)
        if changed:
            return "differs", f"the stored {', '.join(changed)} is not what was graded"
        if isinstance(verdict, str) or self._task is None or self._grader is None:
            return ("let go" if verdict == LET_GO else "not comparable"), str(verdict)
        if verdict.scores == recorded:
            return "equal", ""
        other = _other(attempt.provenance, self._grader.provenance)
        if (other or self._task.timed) and within_noise(self._task, split, recorded, verdict.scores):
            return "within noise", other
        if self._task.rounded and within_rounding(recorded, verdict.scores):
            return "within noise", "rounded otherwise by the submission's own code"
        if not other and any(words in said for words in TIME_OUT for said in (verdict.why, attempt.why)):
            other = "a grading ran out of time"
        return ("not comparable" if other else "differs"), "; ".join(filter(None, (other, verdict.why)))


def _other(recorded: Provenance | None, here: Provenance) -> str:
    """In what the grader here is another than that of the record, in words."""
    if recorded is None:
        return "there is no record of what graded it"
    differs = [words for field, words in OTHERS.items() if getattr(recorded, field) != getattr(here, field)]
    return f"graded by another {' and another '.join(differs)}" if differs else ""


def within_rounding(a: Scores | None, b: Scores | None) -> bool:
    """Whether two gradings differ only as sums do that are added up in another order."""
    if a is None or b is None or a.keys() != b.keys():
        return False
    return all(math.isclose(a[name], b[name], rel_tol=ROUNDING) for name in a)


def within_noise(task: Task, split: Split, a: Scores | None, b: Scores | None) -> bool:
    """Whether two gradings of the same files may differ so: by the noise of the anchors, a share on the log scale."""
    if a is None or b is None or task.anchors is None:
        return False
    one, two = a.get(task.metric, math.nan), b.get(task.metric, math.nan)
    noise = task.anchors.noise.get(split, 0.0)
    if task.anchors.scale == "log":
        noise *= abs(one / task.anchors.baseline[split])
    return abs(one - two) <= NOISES * math.sqrt(2) * noise
