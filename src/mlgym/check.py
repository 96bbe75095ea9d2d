"""For authors: does a task hold (`mlgym check`), and what does a folder score as a submission (`mlgym grade`)?"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlgym.cache import SAY, Say, cache_dir
from mlgym.errors import GradingError
from mlgym.grading import Grader, Verdict, collect
from mlgym.grading.forgeries import Forgery, run_forgeries
from mlgym.grading.prepare import GENERATED, Prepared, prepare
from mlgym.grading.starter import run_starter, workspace
from mlgym.records import Scores, Split
from mlgym.sandbox import Sandbox, SandboxSpec, choose, open_shell, scratch
from mlgym.sandbox.tar import SubmissionRefused, write_tar
from mlgym.task import Task, load_task

NEEDLES = 20
SPLITS: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True)
class Finding:
    """One line of a check: what was looked at, whether it holds, and what was seen."""

    what: str
    ok: bool
    seen: str


@dataclass(frozen=True)
class Measured:
    """A starter at work: its scores on each split, seconds and MB of its run, seconds of one grading (both splits)."""

    seed: int
    scores: Mapping[Split, Scores]
    seconds: float
    mb: float
    grading_s: float
    why: str = ""


@dataclass
class Examination:
    """A task's check as it goes on: its findings in order, and its baseline's figures once there are some."""

    task: Task
    findings: list[Finding] = field(default_factory=list)
    baseline: Measured | None = None
    data: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return all(finding.ok for finding in self.findings)


def check_task(
    examination: Examination, backend: str = "auto", say: Say = SAY, chosen: Sequence[Forgery] | None = None
) -> Iterator[Finding]:
    """Prepare the task, run its baseline in a sandbox, grade it and try to cheat; yields each finding as it is made.

    `chosen` are the forgeries that are tried, all that fit if left out.

    Raises SourceError and TaskError where the task cannot even be prepared.
    """
    task, kind = examination.task, choose(backend)
    say(f"{task.name}: preparing")
    prepared = prepare(task, say=say)
    examination.data = prepared.data
    with scratch(cache_dir() / "scratch") as place:
        for finding in _examined(examination, prepared, kind, place, say, chosen):
            examination.findings.append(finding)
            yield finding


def _examined(
    examination: Examination,
    prepared: Prepared,
    kind: type[Sandbox],
    place: Path,
    say: Say,
    chosen: Sequence[Forgery] | None,
) -> Iterator[Finding]:
    task = prepared.task
    say(f"{task.name}: running the baseline{f' ({task.baseline.command})' if task.baseline.command else ''}")
    try:
        with Grader(prepared, kind) as grader:
            measured = measure(prepared, kind, grader, place / "baseline")
    except (GradingError, SubmissionRefused) as error:
        yield Finding("baseline runs", False, str(error))
        return
    examination.baseline = measured
    yield Finding("baseline runs", True, f"{measured.seconds:.1f} s, {measured.mb:.0f} MB")
    yield Finding("baseline is valid", not measured.why, measured.why)
    yield from anchored(task, prepared, measured)
    if task.solution is None:
        yield Finding("solution", True, "there is no folder solution: nothing shows that the baseline can be beaten")
    say(f"{task.name}: looking for the answers from inside")
    yield answers(prepared, kind, place / "answers")
    if measured.why:
        return
    if kind.isolation == "none":  # they overwrite whatever they find
        yield Finding("forgeries", True, "not tried: this sandbox isolates nothing")
        return
    say(f"{task.name}: trying the shipped forgeries")
    for outcome in run_forgeries(prepared, kind, place / "baseline" / "files", chosen):
        yield Finding(f"forgery {outcome.name}", not outcome.scored, outcome.why)


def measure(
    prepared: Prepared,
    kind: type[Sandbox],
    grader: Grader,
    place: Path,
    *,
    seed: int = 0,
    solution: bool | Path = False,
) -> Measured:
    """Run the baseline (or the hidden solution, or that folder) in a sandbox, in the new folder `place`, and grade what
    it submits.

    `seed` is that of the run and of the test's own luck.

    Raises GradingError when it does not run, SubmissionRefused when it leaves no submission.
    """
    trial = run_starter(prepared, kind, place, seed=seed, solution=solution)
    scores: dict[Split, Scores] = {}
    why, seconds = "", 0.0
    for split in SPLITS:
        verdict = _graded(prepared.task, grader, trial.files, split, seed)
        seconds += verdict.seconds
        why = why or verdict.why
        if verdict.scores is not None:
            scores[split] = verdict.scores
    return Measured(seed, scores, trial.seconds, trial.mb, seconds, why)


def _graded(task: Task, grader: Grader, files: Path, split: Split, seed: int) -> Verdict:
    """The verdict, of a timed task the middle one of three: one may be taken in a bad moment of the machine."""
    verdict = grader.grade(files, split, seed)
    if not task.timed or verdict.scores is None:
        return verdict
    three = [verdict, *(grader.grade(files, split, seed) for _ in range(2))]
    return sorted(three, key=lambda one: (one.scores or {}).get(task.metric, math.inf))[1]


def measurements(
    task: Task, seeds: int, *, solution: bool, backend: str = "auto", say: Say = SAY
) -> Iterator[Measured]:
    """The baseline (or the hidden solution) of a task with the seeds 0 to `seeds` - 1; raises what `measure` raises."""
    kind = choose(backend)
    prepared = prepare(task, say=say)
    with scratch(cache_dir() / "scratch") as place, Grader(prepared, kind) as grader:
        for seed in range(seeds):
            yield measure(prepared, kind, grader, place / str(seed), seed=seed, solution=solution)


def anchors(task: Task, baselines: list[Measured], solutions: list[Measured]) -> str:
    """What was measured as lines for the table [anchors]: means, and standard deviations where there are several."""

    def line(what: str, numbers: Mapping[Split, float]) -> str:
        return f"{what} = {{ " + ", ".join(f"{split} = {value:.6g}" for split, value in numbers.items()) + " }"

    found = {split: [one.scores[split][task.metric] for one in baselines] for split in SPLITS}
    lines = [line("baseline", {split: statistics.fmean(values) for split, values in found.items()})]
    lines.append(line("noise", {s: statistics.stdev(v) if len(v) > 1 else 0.0 for s, v in found.items()}))
    if solutions:
        lines.append(f"best = {statistics.fmean(one.scores['test'][task.metric] for one in solutions):.6g}")
    return "\n".join(lines)


def anchored(task: Task, prepared: Prepared, measured: Measured) -> Iterator[Finding]:
    """Whether the measured baseline is the recorded one, on each split."""
    if task.anchors is None:
        advice = f"task.toml has no [anchors]: `mlgym check {task.name} --measure 5` prints them"
        yield Finding("anchors", False, advice)
        return
    if prepared.data == GENERATED:
        yield Finding("anchors", True, "not compared: they belong to the real data, and this is generated")
        return
    if task.anchors.best is None:
        yield Finding("anchors", True, "no best score is known, so there is no progress, only scores")
    for split in SPLITS:
        value = measured.scores.get(split, {}).get(task.metric, math.nan)
        recorded, noise = task.anchors.baseline[split], task.anchors.noise.get(split, 0.0)
        if set(task.changes) - {"budget"}:
            yield Finding(f"baseline {split}", True, f"{value:.5g} (of the unchanged task {recorded:.5g})")
            continue
        within = abs(value - recorded) <= max(4 * noise, 1e-6 * max(1.0, abs(recorded)))
        yield Finding(f"baseline {split}", within, f"{value:.5g} (recorded {recorded:.5g}, noise {noise:.2g})")


def answers(prepared: Prepared, kind: type[Sandbox], place: Path) -> Finding:
    """Whether lines of the private files stand in anything that the agent can read."""
    what = "answers cannot be found"
    if kind.isolation == "none":
        return Finding(what, True, "not looked for: this sandbox isolates nothing")
    visible = b"\n".join(path.read_bytes() for path in _files(prepared.public, prepared.task.workspace))
    needles: list[str] = []
    for path in _files(prepared.private):
        lines = sorted(set(path.read_bytes().splitlines()), key=len, reverse=True)
        fresh = (line for line in lines if len(line) >= 8 and line not in visible and line.isascii())
        needles += [line.decode() for _, line in zip(range(NEEDLES), fresh, strict=False)]
    if not needles:
        return Finding(what, True, "the task has no private text to look for")
    with workspace(prepared, kind, place) as shell:
        own = f"{shell.sandbox.home}/needles"
        shell.write(own, "\n".join(needles).encode())
        places = f"'{shell.sandbox.home}' /home /opt /tmp /var /etc /srv /mnt /media /run /root /dev/shm"
        ran = shell.exec(["sh", "-c", f"grep -rFls -f '{own}' {places} 2>/dev/null | grep -vFx '{own}'"], timeout=300)
    hits = [line for line in ran.output.splitlines() if line.strip()]
    return Finding(what, not hits, f"found in {hits[0]}" if hits else f"{len(needles)} lines looked for")


def _files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def grade_folder(
    name: str | Path, folder: Path, backend: str = "auto", say: Say = SAY
) -> Iterator[tuple[Split, Verdict]]:
    """Grade a folder of the host as a submission on both splits, taken out of a sandbox as an agent's would be."""
    task = load_task(name)
    prepared = prepare(task, say=say)
    kind, limits = choose(backend), task.submission
    with scratch(cache_dir() / "scratch") as place, Grader(prepared, kind.name) as grader:
        (place / "workspace").mkdir()
        with open_shell(kind, SandboxSpec(place / "workspace")) as shell:
            try:
                shell.unpack(write_tar(folder), shell.workspace)
                collect(shell, limits.paths, place / "files", limits.max_mb * 1_000_000, limits.max_files)
            except (SubmissionRefused, ValueError) as error:
                yield "validation", Verdict(False, str(error), None, 0.0)
                return
        for split in SPLITS:
            yield split, grader.grade(place / "files", split)
