"""What the gate asks of a task, cheap questions first."""

import filecmp
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlgym.cache import cache_dir
from mlgym.check import SPLITS, Finding, Measured, anchored, answers, measure
from mlgym.episode import run_episode
from mlgym.errors import GradingError
from mlgym.gate.alike import mark, nearest
from mlgym.grading import Grader
from mlgym.grading.forgeries import Forgery, run_forgeries
from mlgym.grading.prepare import Prepared, prepare, remake
from mlgym.mutations import corrupted
from mlgym.records import EpisodeSpec, Limits
from mlgym.sandbox import Sandbox, SubmissionRefused, scratch
from mlgym.task import Anchors, Task

CLOSE = 0.05  # of the way from the baseline to the best that the solution, or a try, may lack
GAP = 8.0  # noises between starter and solution
ALIKE = 0.8  # of all runs of words of two instructions: as many in common are too many
SECONDS, TRIES = 60.0, 8
REPAIR, LESS = {"corrupt"}, {"drop", "rows"}  # changes: the starter is broken; the best was found with more

Question = tuple[str, Finding]


@dataclass
class Examined:
    """A task on its way through the gate; `measured` has what its starter (False) and its solution (True) scored.

    `name` is what it was asked for by, `known` maps marks to such names, `chosen` are the forgeries (None: all that
    fit).
    """

    name: str
    task: Task
    backend: type[Sandbox]
    known: Mapping[str, str]
    seconds: float = SECONDS
    tries: int = TRIES
    chosen: Sequence[Forgery] | None = None
    mark: str = ""
    making_s: float = 0.0
    measured: dict[bool, Measured] = field(default_factory=dict)

    def progress(self, solution: bool) -> float:
        """The progress on test of the starter or the solution; -1 without a score."""
        found = self.task.progress(self.measured[solution].scores.get("test"), "test")
        return -1.0 if found is None else found


def questions(examined: Examined) -> Iterator[Question]:
    """Cause and finding, one after another; raises MlgymError where the task cannot be examined any further."""
    began = time.monotonic()
    prepared = prepare(examined.task)
    examined.making_s = time.monotonic() - began
    yield "builds", Finding("it builds", True, f"in {examined.making_s:.1f} s")
    yield "duplicate", _duplicate(examined, prepared)
    with scratch(cache_dir() / "scratch") as place:
        yield "deterministic", _same_data(prepared, place / "again")
        with Grader(prepared, examined.backend) as grader:
            yield from _starter(examined, prepared, grader, place / "starter")
            yield from _solution(examined, prepared, grader, place / "solution")
            yield "learnable", _learnable(examined, prepared, grader, place)
        spent = examined.making_s + examined.measured[False].seconds + examined.measured[True].grading_s
        yield "time", Finding("time", spent <= examined.seconds, f"{spent:.1f} s of {examined.seconds:g} s")
        yield "answers", answers(prepared, examined.backend, place / "answers")
        if examined.backend.isolation == "none":
            yield "forgeries", Finding("forgeries", True, "not tried: this sandbox isolates nothing")
            return
        honest = place / ("solution" if examined.measured[False].why else "starter") / "files"
        for outcome in run_forgeries(prepared, examined.backend, honest, examined.chosen):
            yield "forgeries", Finding(f"forgery {outcome.name}", not outcome.scored, outcome.why)


def _duplicate(examined: Examined, prepared: Prepared) -> Finding:
    examined.mark = mark(prepared)
    equal = examined.known.get(examined.mark, examined.name)
    if equal != examined.name:
        return Finding("it is new", False, f"it is {equal}")
    name, share = nearest(examined.task)
    return Finding("it is new", share < ALIKE, f"nearest to {name}: {share:.0%} of its words in common")


def _same_data(prepared: Prepared, place: Path) -> Finding:
    """Make the data again: another process, with other hashes."""
    remake(prepared, place)
    first, second = (
        {path.relative_to(side).as_posix(): path for part in ("public", "private") for path in _files(side / part)}
        for side in (prepared.public.parent, place)
    )
    differ = set(first) ^ set(second) or {
        name for name in first if not filecmp.cmp(first[name], second[name], shallow=False)
    }
    return Finding("the same data again", not differ, f"{min(differ)} differs" if differ else f"{len(first)} files")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _starter(examined: Examined, prepared: Prepared, grader: Grader, place: Path) -> Iterator[Question]:
    """The starter scores what is recorded, and the same again; one that is broken on purpose scores something else."""
    task = examined.task
    found = examined.measured[False] = _measured(examined, prepared, grader, place, solution=False)
    if REPAIR & set(task.changes):
        same = not found.why and abs(examined.progress(False)) <= max(4 * examined.task.noise, 1e-6)
        yield "baseline", Finding("the starter is broken", not same, found.why or "it scores what it did unbroken")
        return
    yield "baseline", Finding("the starter scores", not found.why, found.why or _said(task, found))
    if examined.task.anchors or "most" in task.changes or "least" in task.changes:
        for finding in anchored(task, prepared, found) if task.anchors else ():
            yield "baseline", finding
    else:
        yield "baseline", Finding("anchors", False, "task.toml has none: `mlgym check --measure 5` prints them")
    yield "deterministic", _same_score(examined, grader, place / "files")


def _solution(examined: Examined, prepared: Prepared, grader: Grader, place: Path) -> Iterator[Question]:
    """The solution reaches the best, and is apart from the starter by a margin."""
    task = examined.task
    if task.solution is None:
        yield "ceiling", Finding("the solution scores", False, "there is no folder solution: nothing shows a ceiling")
        return
    found = examined.measured[True] = _measured(examined, prepared, grader, place, solution=True)
    yield "ceiling", Finding("the solution scores", not found.why, found.why or _said(task, found))
    if task.anchors is None:  # another metric counts: the scale is what was measured
        examined.task = task = _scaled(task, examined.measured)
    if task.anchors and task.anchors.best is not None and not LESS & set(task.changes):
        lacks = 1 - examined.progress(True)
        seen = f"progress {examined.progress(True):.3f} (noise {examined.task.noise:.3f})"
        yield "ceiling", Finding("the solution is at the ceiling", lacks <= max(CLOSE, 4 * examined.task.noise), seen)
    gain = examined.progress(True) - examined.progress(False)
    seen = f"{gain:.3f} of progress, noise {examined.task.noise:.3f}"
    yield "margin", Finding("the ceiling is above the starter", gain > max(CLOSE, GAP * examined.task.noise), seen)


def _scaled(task: Task, measured: Mapping[bool, Measured]) -> Task:
    """The task with the scale that starter and solution span; raises GradingError where they span none."""
    if measured[False].why:
        raise GradingError(f"{task.name} has another metric, and its starter has no score: there is no scale.")
    base, best = ({split: measured[which].scores[split][task.metric] for split in SPLITS} for which in (False, True))
    if base["test"] == best["test"]:
        raise GradingError(f"Starter and solution of {task.name} have the same {task.metric}: there is no scale.")
    return task.changed(anchors=Anchors(baseline=base, best=best["test"]))


def _measured(examined: Examined, prepared: Prepared, grader: Grader, place: Path, *, solution: bool) -> Measured:
    """What starter or solution score; one that does not run has no scores, and says why."""
    try:
        return measure(prepared, examined.backend, grader, place, solution=solution)
    except (GradingError, SubmissionRefused) as error:
        return Measured(0, {}, 0.0, 0.0, 0.0, str(error))


def _said(task: Task, found: Measured) -> str:
    scores = ", ".join(f"{split} {found.scores[split][task.metric]:.5g}" for split in SPLITS)
    return f"{task.metric} {scores}; {found.seconds:.1f} s, graded in {found.grading_s:.1f} s"


def _same_score(examined: Examined, grader: Grader, files: Path) -> Finding:
    """Grade the starter again, with the same luck."""
    task, off = examined.task, 0.0
    for split in SPLITS:
        again = (grader.grade(files, split).scores or {}).get(task.metric, float("inf"))
        off = max(off, abs(again - examined.measured[False].scores[split][task.metric]))
    noise = max(task.anchors.noise.values(), default=0.0) if task.anchors else 0.0
    return Finding(
        "the same score again", off <= (4 * noise if task.timed or task.rounded else 0.0), f"off by {off:.2g}"
    )


def _learnable(examined: Examined, prepared: Prepared, grader: Grader, place: Path) -> Finding:
    """Whether cheap tries beat the starter sometimes, and do not all reach the best.

    A try is the starter with its settings changed by chance or, where these tries do not tell, the solution with one
    place broken by chance: what an agent comes by on its way to it.
    """
    if REPAIR & set(examined.task.changes):
        return Finding("it can be learned", True, "not tried: its starter is broken")
    said = []
    for what, tried in (
        ("changes of the starter", _changed_starters(examined, place / "episode")),
        ("broken solutions", _broken_solutions(examined, prepared, grader, place)),
    ):
        found = list(tried)
        beaten = sum(each > max(CLOSE, 4 * examined.task.noise) for each in found)
        reached = sum(each >= 1 - CLOSE for each in found)
        said.append(f"of {len(found)} {what} {beaten} are better than the starter, {reached} reach the best")
        if beaten and reached < len(found):
            return Finding("it can be learned", True, said[-1])
    return Finding("it can be learned", False, "; ".join(said))


def _changed_starters(examined: Examined, folder: Path) -> Iterator[float]:
    """The progress of the starter with settings changed by chance, as the agent `random` does."""
    task, tries = examined.task, examined.tries
    limits = Limits(steps=3 * tries + 10, command_s=task.limits.command_s)
    agent, sandbox = f"random?trials={tries}", examined.backend.name
    spec = EpisodeSpec(task=task.reference, version=task.version, agent=agent, sandbox=sandbox, limits=limits)
    for attempt in run_episode(spec, folder).attempts:
        if attempt.kind == "validate":
            yield task.progress(attempt.test, "test") or 0.0


def _broken_solutions(examined: Examined, prepared: Prepared, grader: Grader, place: Path) -> Iterator[float]:
    """The progress of the solution with one place broken by chance, -1 where it does not run."""
    task = examined.task
    assert task.solution
    for seed in range(examined.tries):
        folder = corrupted(task.solution, task.baseline.files, str(seed))
        try:
            found = measure(prepared, examined.backend, grader, place / f"broken-{seed}", solution=folder)
        except (GradingError, SubmissionRefused):
            found = None
        yield (task.progress(found.scores.get("test"), "test") if found else None) or -1.0
