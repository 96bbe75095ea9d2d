"""For authors: does a task hold (`mlgym check`), and what does a folder score as a submission (`mlgym grade`)?"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlgym.cache import SAY, Say, cache_dir
from mlgym.env import ResearchEnv
from mlgym.grading import Grader, Verdict, collect
from mlgym.grading.forgeries import run_forgeries
from mlgym.grading.prepare import prepare
from mlgym.records import Action, Split
from mlgym.sandbox import SandboxSpec, choose, open_shell, scratch
from mlgym.sandbox.tar import SubmissionRefused, write_tar
from mlgym.task import Task, load_task

NEEDLES = 20


@dataclass(frozen=True)
class Check:
    """One line of a check: what was looked at, whether it holds, and what was seen."""

    what: str
    ok: bool
    seen: str


def check_task(name: str | Path, backend: str = "auto", say: Say = SAY) -> list[Check]:
    """Prepare a task, run its baseline in a sandbox, grade it and try to cheat; the findings in order."""
    task = load_task(name)
    env = ResearchEnv(task, sandbox=backend)
    try:
        say(f"{task.name}: preparing")
        env.reset(seed=0)
        findings = list(_baseline(env, task, say))
        say(f"{task.name}: looking for the answers from inside")
        findings.append(_answers(env))
        say(f"{task.name}: trying the shipped forgeries")
        assert env.prepared is not None
        for outcome in run_forgeries(env.prepared, env.backend.name):
            findings.append(Check(f"forgery {outcome.name}", not outcome.scored, outcome.why))
    finally:
        env.close()
    return findings


def _baseline(env: ResearchEnv, task: Task, say: Say) -> Iterator[Check]:
    if task.baseline.command:
        say(f"{task.name}: running the baseline ({task.baseline.command})")
        info = env.step(Action(tool="bash", args={"command": task.baseline.command}))[4]
        status = info["observation"]["status"]
        yield Check("baseline runs", status == "ok", "" if status == "ok" else info["observation"]["text"][-500:])
    attempt = env.finish("submitted")
    yield Check("baseline is valid", attempt.valid, attempt.why)
    splits: tuple[Split, ...] = ("validation", "test")
    if task.anchors is None:
        yield Check("anchors", False, "task.toml has no [anchors]: write down the baseline's measured scores")
        return
    for split in splits:
        scores = getattr(attempt, split) or {}
        value = scores.get(task.metric, math.nan)
        recorded, noise = task.anchors.baseline[split], task.anchors.noise.get(split, 0.0)
        within = abs(value - recorded) <= max(4 * noise, 1e-6 * max(1.0, abs(recorded)))
        yield Check(f"baseline {split}", within, f"{value:.5g} (recorded {recorded:.5g}, noise {noise:.2g})")


def _answers(env: ResearchEnv) -> Check:
    """Whether lines of the private files stand in anything that the agent can read."""
    assert env.prepared is not None
    if env.backend.isolation == "none":
        return Check("answers cannot be found", True, "not looked for: this sandbox isolates nothing")
    visible = b"\n".join(path.read_bytes() for path in _files(env.prepared.public, env.task.workspace))
    needles: list[str] = []
    for path in _files(env.prepared.private):
        lines = sorted(set(path.read_bytes().splitlines()), key=len, reverse=True)
        fresh = (line for line in lines if len(line) >= 8 and line not in visible and line.isascii())
        needles += [line.decode() for _, line in zip(range(NEEDLES), fresh, strict=False)]
    if not needles:
        return Check("answers cannot be found", True, "the task has no private text to look for")
    env.session.shell.write("/tmp/needles", "\n".join(needles).encode())
    places = "/home /opt /tmp /var /etc /srv /mnt /media /run /root /dev/shm"
    ran = env.session.shell.exec(
        ["sh", "-c", f"grep -rFls -f /tmp/needles {places} 2>/dev/null | grep -v '^/tmp/needles$'"], timeout=300
    )
    hits = [line for line in ran.output.splitlines() if line.strip()]
    env.session.shell.exec(["rm", "-f", "/tmp/needles"])
    return Check(
        "answers cannot be found", not hits, f"found in {hits[0]}" if hits else f"{len(needles)} lines looked for"
    )


def _files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def grade_folder(
    name: str | Path, folder: Path, backend: str = "auto", say: Say = SAY
) -> Iterator[tuple[Split, Verdict]]:
    """Grade a folder of the host as a submission on both splits, taken out of a sandbox as an agent's would be."""
    task = load_task(name)
    prepared = prepare(task, say=say)
    kind, limits = choose(backend), task.submission
    splits: tuple[Split, ...] = ("validation", "test")
    with scratch(cache_dir() / "scratch") as place, Grader(prepared, kind.name) as grader:
        (place / "workspace").mkdir()
        with open_shell(kind, SandboxSpec(place / "workspace")) as shell:
            try:
                shell.unpack(write_tar(folder), shell.workspace)
                collect(shell, limits.paths, place / "files", limits.max_mb * 1_000_000, limits.max_files)
            except (SubmissionRefused, ValueError) as error:
                yield "validation", Verdict(False, str(error), None, 0.0)
                return
        for split in splits:
            yield split, grader.grade(place / "files", split)
