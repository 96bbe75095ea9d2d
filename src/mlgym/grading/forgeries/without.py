"""A forgery against an evaluator that lacks its defence: both in one sandbox, so that the harm stays in there."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlgym.cache import cache_dir
from mlgym.errors import GradingError, UsageError
from mlgym.grading.forgeries.forgery import Forgery
from mlgym.grading.forgeries.trial import Outcome, let_loose, raised
from mlgym.grading.prepare import KINDS, Prepared
from mlgym.grading.starter import run_starter, workspace
from mlgym.sandbox import Bind, Sandbox, SandboxLimits, Shell, choose, scratch
from mlgym.sandbox.tar import write_tar

PLACE, PACKAGES = "/home/agent/evaluation", "/opt/grader"
EVALUATOR = f"{PLACE}/evaluate.py"
EARLY = ("hidden", "regular")  # what lacks these lies in sight while the fraud is at work
LIMITS = SandboxLimits(memory_mb=2800)  # less than the enormous file
EVALUATION_S, BROKEN_S = 240.0, 20.0
HONEST = "honest"


def run_without(
    prepared: Prepared,
    forgeries: Sequence[Forgery],
    backend: str | type[Sandbox] = "auto",
    honest: Path | None = None,
) -> Iterator[Outcome]:
    """Try each forgery against an evaluator without its defence; `scored`: it was seen to succeed.

    Raises UsageError unless the sandbox isolates in full: here the answers and an evaluator that can be harmed are
    within the fraud's reach. Raises GradingError where that evaluator has no score for the honest files.
    """
    backend = choose(backend) if isinstance(backend, str) else backend
    if backend.isolation != "full":
        raise UsageError(f"Defences are switched off in a sandbox that isolates in full; '{backend.name}' does not.")
    fair: dict[str, float] = {}
    with scratch(cache_dir() / "scratch") as place:
        honest = honest or run_starter(prepared, backend, place / "baseline").files
        for number, forgery in enumerate(forgeries):
            if forgery.guard not in fair:
                nothing = Forgery(HONEST, (), "true", "", guard=forgery.guard)
                score, said = _evaluated(nothing, prepared, backend, honest, place / f"honest-{number}")
                if score is None:
                    raise GradingError(f"Without '{forgery.guard}' the baseline gets no score: {said}")
                fair[forgery.guard] = score
            yield _judged(forgery, prepared, backend, honest, place / str(number), fair[forgery.guard])


def _judged(
    forgery: Forgery, prepared: Prepared, backend: type[Sandbox], honest: Path, place: Path, fair: float
) -> Outcome:
    task = prepared.task
    score, said = _evaluated(forgery, prepared, backend, honest, place)
    if score is None:
        return Outcome(forgery.name, forgery.harm == "breaks", f"no verdict: {said}")
    won = raised(task, forgery.split, score, fair)
    return Outcome(forgery.name, won, f"{task.metric} {score:.5g}, honest {fair:.5g}")


def _evaluated(
    forgery: Forgery, prepared: Prepared, backend: type[Sandbox], honest: Path, place: Path
) -> tuple[float | None, str]:
    """The score in the last line that the evaluator prints; None without one, and what it said."""
    task = prepared.task
    more = (Bind(prepared.grader_env, PACKAGES),)
    brought_down = forgery.harm == "breaks" and forgery.guard != "checked"
    with workspace(prepared, backend, place, more=more, limits=LIMITS) as shell:
        if forgery.guard in EARLY:
            _lay(forgery, prepared, shell)
        let_loose(forgery, prepared, shell, honest)
        if forgery.guard not in EARLY:
            _lay(forgery, prepared, shell)
        seconds = BROKEN_S if brought_down else EVALUATION_S
        if forgery.start:
            ran = shell.run(f"export EVALUATOR={EVALUATOR}; cd {shell.workspace}; {forgery.start}", seconds)
        else:
            argv = ["env", f"EVALUATOR={EVALUATOR}", "python", "-I", "-B", EVALUATOR]
            ran = shell.exec(argv, timeout=seconds, cwd=shell.workspace)
    lines = [line for line in ran.output.splitlines() if line.strip()]
    try:
        score = float(json.loads(lines[-1])["scores"][task.metric])
        return (None, "the score is no number") if math.isnan(score) else (score, "")
    except (IndexError, ValueError, TypeError, KeyError):
        return None, f"{ran.status}, {lines[-1][:200] if lines else 'nothing was said'}"


def _lay(forgery: Forgery, prepared: Prepared, shell: Shell) -> None:
    """Put the evaluator, the task's module, the shared graders and the answers into the sandbox."""
    task, here = prepared.task, Path(__file__).parent
    about = {
        "lacks": forgery.guard,
        "start": forgery.start,
        "raced": forgery.tries > 1,
        "kind": task.kind,
        "metric": task.metric,
        "direction": task.direction,
        "paths": task.submission.paths,
        "settings": task.settings,
        "split": "validation",
        "seed": 0,
        "packages": [f"{PACKAGES}/{path.relative_to(prepared.grader_env)}" for path in _sites(prepared.grader_env)],
    }
    texts = {
        "evaluate.py": (here / "naive.py").read_text(),
        "evaluate.json": json.dumps(about, default=str),
        "task.py": task.code.read_text(),
        **{name: (here.parent / name).read_text() for name in ("frames.py", "player_main.py")},
    }
    for name, text in texts.items():
        shell.write(f"{PLACE}/{name}", text.encode())
    shell.unpack(write_tar(KINDS), f"{PLACE}/kinds")
    shell.unpack(write_tar(prepared.private), f"{PLACE}/private")


def _sites(env: Path) -> list[Path]:
    """The folders of an environment's packages."""
    return sorted(env.glob("lib*/python3*/site-packages"))
