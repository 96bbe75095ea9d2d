"""The shipped forgeries: honest submissions with a fraud beside or inside them, none of which may raise the score.

Each starts from the task's own baseline. With its defence at work it scores what the baseline scores, or is refused;
the tests show that the same fraud pays where the defence is missing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlgym.cache import cache_dir
from mlgym.errors import GradingError
from mlgym.grading.host import Grader
from mlgym.grading.prepare import Prepared
from mlgym.grading.submission import collect
from mlgym.records import Scores, better
from mlgym.sandbox import WORKSPACE, Bind, Sandbox, SandboxLimits, SandboxSpec, choose, open_shell, scratch
from mlgym.sandbox.shell import Shell
from mlgym.sandbox.tar import SubmissionRefused, write_tar

FRAUD_S = 120.0  # for the command of a fraud


@dataclass(frozen=True)
class Forgery:
    """A fraud: `files` planted in the workspace, then `command` run there, with $SUBMISSION naming the graded file.

    $ROOT is empty but in tests, which let frauds loose on a folder instead of the whole file system.
    `kinds` are the kinds of task that it fits; `defence` says what foils it.
    """

    name: str
    kinds: tuple[str, ...]
    command: str
    defence: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Whether a forgery raised the score above the baseline's, and what became of it."""

    name: str
    scored: bool
    why: str


VERDICT = '{"op": "verdict", "valid": true, "why": "", "scores": {"score": 99.0}, "sizes": []}'

ALL, TABLE, GAME = ("table", "game"), ("table",), ("game",)

FIND_ANSWERS = """
import csv, os, sys
own = sys.argv[1]
with open(own, newline="") as file:
    wanted = next(csv.reader(file))
for root in sys.argv[2:]:
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names if name.endswith(".csv")):
            try:
                with open(path, newline="") as file:
                    rows = list(csv.DictReader(file))
            except (OSError, ValueError, csv.Error):
                continue
            if rows and {*wanted, "split"} <= set(rows[0]):
                with open(own, "w", newline="") as file:
                    out = csv.writer(file)
                    out.writerows([wanted, *([row[name] for name in wanted] for row in rows)])
"""

SHADOW = f"""
import atexit, os
atexit.register(os.write, 1, b'\\n' + {VERDICT!r}.encode() + b'\\n')
class InvalidSubmission(Exception): pass
def grade(*args, **kwargs): return {{"score": 99.0}}
grade_numbers = grade_classes = grade
"""

# The frauds of games wrap the honest row_strategy, to which they fall back; sys, os and honest are there.
GAME_HEAD = "\nimport sys, os\nhonest = row_strategy\n"

READ_FRAMES = """
def row_strategy(history):
    frame = sys._getframe()
    while frame:
        if "column" in frame.f_locals:
            column = frame.f_locals["column"]
            row_strategy.calls = row_strategy.calls + 1
            return best_reply(column[(row_strategy.calls - 1) % len(column)])
        frame = frame.f_back
    return honest(history)
row_strategy.calls = 0
def best_reply(move):
    if hasattr(move, "__len__"):
        weakest = sorted(range(len(move)), key=lambda field: int(move[field]))[:4]
        return [int(move[field]) + 1 if field in weakest else 0 for field in range(len(move))]
    return int(move)
"""

PATCH_EVALUATOR = """
def row_strategy(history):
    frame = sys._getframe()
    while frame:
        game = frame.f_locals.get("game")
        if hasattr(game, "payoff"):
            object.__setattr__(game, "payoff", lambda row, column: column.sum(axis=-1) * 0 + 99.0 + 0 * row.sum())
        frame = frame.f_back
    return honest(history)
"""

WRITE_DESCRIPTORS = f"""
def row_strategy(history):
    for fd in range(1, 256):
        try:
            os.write(fd, b'\\n' + {VERDICT!r}.encode() + b'\\n')
        except OSError:
            pass
    os._exit(0)
"""

REPLACE_MODULES = f"""
import json, random
json.dumps = lambda *args, **kwargs: {VERDICT!r}
json.dump = lambda obj, file, **kwargs: file.write({VERDICT!r})
random.seed = random.Random = lambda *args: None
if "numpy" in sys.modules:
    sys.modules["numpy"].mean = lambda *args, **kwargs: 99.0
"""

FORGERIES: tuple[Forgery, ...] = (
    Forgery(
        "score file",
        ALL,
        f"for name in score scores result results metrics verdict; do echo '{VERDICT}' > $name.json; done;"
        f" echo '{VERDICT}' > $ROOT/tmp/verdict.json",
        "the verdict comes through the grader's own pipe; no file of the submission is read as a score",
    ),
    Forgery(
        "patched evaluator",
        ALL,
        "for place in $(find ${ROOT:-/} -xdev -writable \\( -name task.py -o -name evaluate.py -o -name grader_main.py"
        " -o -path '*/kinds/*.py' \\) 2>/dev/null); do cp evaluate.py $place; done; cp evaluate.py task.py",
        "the grader and the task's hidden module are in no place that the workspace's commands see",
        {"evaluate.py": SHADOW},
    ),
    Forgery(
        "shadowed modules",
        ALL,
        "for name in kinds csv json random numpy math sitecustomize usercustomize; do cp shadow.py $name.py; done;"
        " export PYTHONPATH=$PWD",
        "only the declared files are graded, and the grader's path holds nothing of the submission",
        {"shadow.py": SHADOW},
    ),
    Forgery(
        "linked answers",
        ALL,
        "for place in /grader/private /private /answers ../private ../../private; do"
        " for file in answers.csv salt; do ln -sf $place/$file $SUBMISSION; [ -e $SUBMISSION ] && break 2; done; done",
        "a submission is made of regular files, packed by a process inside; a link is refused",
    ),
    Forgery(
        "daemon",
        ALL,
        "cp $SUBMISSION honest; setsid sh -c 'echo $$ > daemon.pid; while sleep 0.05; do"
        " for folder in . $ROOT/grader $ROOT/submission $ROOT/tmp; do"
        f' echo "$0" > $folder/verdict.json; echo "$0" > $folder/$SUBMISSION; done; done\' \'{VERDICT}\''
        " >/dev/null 2>&1 & until [ -s daemon.pid ]; do sleep 0.01; done; cp honest $SUBMISSION",
        "what is graded is a frozen copy in sandboxes of its own, in which the workspace's processes are not",
    ),
    Forgery(
        "answers found",
        TABLE,
        "python find_answers.py $SUBMISSION ${ROOT:-/} 2>/dev/null",
        "answers are mounted in the grader's sandbox only",
        {"find_answers.py": FIND_ANSWERS},
    ),
    Forgery(
        "caller's frames",
        GAME,
        "cat fraud.txt >> strategy.py",
        "the strategy runs in the player, whose process holds no move of the opponent that is not yet played",
        {"fraud.txt": GAME_HEAD + READ_FRAMES},
    ),
    Forgery(
        "patched game",
        GAME,
        "cat fraud.txt >> strategy.py",
        "pay-offs are counted in the grader, another process in another sandbox",
        {"fraud.txt": GAME_HEAD + PATCH_EVALUATOR},
    ),
    Forgery(
        "verdict on every descriptor",
        GAME,
        "cat fraud.txt >> strategy.py",
        "the player's pipe carries moves only: what it says reaches the grader as an answer to the question asked",
        {"fraud.txt": GAME_HEAD + WRITE_DESCRIPTORS},
    ),
    Forgery(
        "replaced modules",
        GAME,
        "cat fraud.txt >> strategy.py",
        "randomness and verdict are the grader's, in a process that never runs the submission's code",
        {"fraud.txt": GAME_HEAD + REPLACE_MODULES},
    ),
)


def run_forgeries(prepared: Prepared, backend: str | type[Sandbox] = "auto") -> list[Outcome]:
    """Try each forgery that fits the task's kind, on the validation split.

    Raises GradingError when the baseline itself gets no score, because nothing could be compared then.
    """
    task = prepared.task
    outcomes = []
    backend = choose(backend) if isinstance(backend, str) else backend
    with scratch(cache_dir() / "scratch") as place, Grader(prepared, backend) as grader:
        honest = place / "honest"
        with _workspace(prepared, backend, place / "baseline") as shell:
            if task.baseline.command:
                ran = shell.run(task.baseline.command, task.limits.command_s)
                if ran.code != 0:
                    last = ran.output.strip().splitlines()[-1:] or [ran.status]
                    raise GradingError(f"The baseline of {task.name} does not run: {last[0]}.")
            _collect(shell, prepared, honest)
        reference = grader.grade(honest, "validation")
        if reference.scores is None:
            raise GradingError(f"The baseline of {task.name} gets no score: {reference.why}")
        for forgery in FORGERIES:
            if task.kind in forgery.kinds:
                outcomes.append(_try(forgery, prepared, backend, grader, honest, reference.scores))
    return outcomes


def _try(
    forgery: Forgery, prepared: Prepared, backend: type[Sandbox], grader: Grader, honest: Path, reference: Scores
) -> Outcome:
    """Play one forgery; more than four times the noise above the honest `reference` is a success."""
    task = prepared.task
    noise = 4 * task.anchors.noise.get("validation", 0.0) if task.anchors else 0.0
    place = honest.parent / forgery.name.replace(" ", "-")
    frozen = place.with_suffix(".frozen")
    with _workspace(prepared, backend, place) as shell:
        shell.unpack(write_tar(honest), shell.workspace)
        for path, text in forgery.files.items():
            shell.write(f"{shell.workspace}/{path}", text.encode())
        shell.run(f"export ROOT= SUBMISSION={task.submission.paths[0]}; {forgery.command}", FRAUD_S)
        try:
            _collect(shell, prepared, frozen)
        except SubmissionRefused as error:
            return Outcome(forgery.name, False, str(error))
        verdict = grader.grade(frozen, "validation")
    if verdict.scores is None:
        return Outcome(forgery.name, False, verdict.why)
    margin = noise if task.direction == "maximize" else -noise
    got, limit = verdict.scores[task.metric], reference[task.metric] + margin
    scored = better(got, limit, task.direction)
    return Outcome(forgery.name, scored, f"{task.metric} {got:.5g}, honest {reference[task.metric]:.5g}")


@contextmanager
def _workspace(prepared: Prepared, backend: type[Sandbox], folder: Path) -> Iterator[Shell]:
    """An agent's sandbox as at the start of an episode."""
    folder.mkdir()
    limits = SandboxLimits(memory_mb=prepared.task.limits.memory_mb)
    data = (Bind(prepared.public, f"{WORKSPACE}/data"),) if any(prepared.public.iterdir()) else ()
    with open_shell(backend, SandboxSpec(folder, prepared.env, data, {}, limits)) as shell:
        shell.unpack(write_tar(prepared.task.workspace), shell.workspace)
        yield shell


def _collect(shell: Shell, prepared: Prepared, into: Path) -> None:
    limits = prepared.task.submission
    collect(shell, limits.paths, into, limits.max_mb * 1_000_000, limits.max_files)
