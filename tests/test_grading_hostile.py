"""Strategies that cheat: each pays in a naive evaluator, and comes to an honest loser's score, or none, in ours."""

import dataclasses
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import naive_grading
import pytest

from mlgym.grading import Grader, Verdict
from mlgym.grading.forgeries.forgery import VERDICT
from mlgym.grading.forgeries.games import (
    GAME_HEAD,
    PATCH_EVALUATOR,
    READ_FRAMES,
    REPLACE_MODULES,
    WRITE_DESCRIPTORS,
)
from mlgym.grading.forgeries.shells import SHADOW
from mlgym.grading.prepare import Prepared, prepare
from mlgym.task import load_task

LOSER = "def row_strategy(history):\n    return 1\n"  # an honest bad player: 0.1 · 1 + 0.9 · 0.8 = 0.82 a round
LOSES = pytest.approx(0.82, abs=0.02)
MARKER = "987.6543"  # seconds that the daemons sleep: to find them by

PRINTS = f"""
import os
def row_strategy(history):
    print({VERDICT!r}, flush=True)
    os._exit(0)
"""
FORKS = f"""
import time
evaluator, forked = os.getpid(), []
def row_strategy(history):
    if not forked:
        forked.append(os.fork())
        while forked[0] == 0:
            time.sleep(0.01)
            if os.getppid() != evaluator:
                for fd in range(1, 64):
                    try:
                        os.write(fd, {(VERDICT + chr(10))!r}.encode())
                    except OSError:
                        pass
                os._exit(0)
    return 1
"""
KILLS_PARENT = """
import os, signal
os.kill(os.getppid(), signal.SIGKILL)
"""
SLEEPS = """
import time
def row_strategy(history):
    while True:
        time.sleep(1)
"""
LEAVES_DAEMON = f"""
import subprocess
subprocess.Popen(["sleep", "{MARKER}"], start_new_session=True, stdout=subprocess.DEVNULL)
"""
READS_TASK = """
import sys
task = sys.modules.get("task")
if task:
    task.games.grade = lambda *args: {"score": 99.0}
    task.games.Game.payoff = property(lambda self: lambda row, column: row * 0 + 99.0, lambda self, value: None)
import os
def find(name):
    for root in {*sys.argv[1:], "/grader", "/private", "..", "."}:
        for folder, folders, files in os.walk(root):
            if name in files:
                return os.path.join(folder, name)
found = find("salt")
if found:
    import numpy
    luck = numpy.random.default_rng([int(open(found).read(), 16), 0, 0])
    draws = [luck.random(10_000) < 0.8 for _ in range(10)]
    calls = 0
    def row_strategy(history):
        global calls
        game, calls = calls % 10_000, calls + 1
        return 1 if not history else 1 if draws[len(history)][game] else 0
"""


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(load_task("battle-of-sexes"))


@pytest.fixture(scope="module")
def grader(prepared: Prepared) -> Iterator[Grader]:
    with Grader(prepared) as grader:
        yield grader


class Bench:
    """Grades one strategy with and without defences."""

    def __init__(self, grader: Grader, prepared: Prepared, folder: Path) -> None:
        self.grader, self.prepared, self.folder = grader, prepared, folder

    def write(self, strategy: str, **others: str) -> None:
        for name, text in {"strategy": strategy, **others}.items():
            (self.folder / f"{name}.py").write_text(text)

    def ours(self) -> Verdict:
        return self.grader.grade(self.folder, "validation")

    def naive(self, **more: object) -> dict[str, object]:
        return naive_grading.grade(self.prepared.task.code, self.prepared.private, self.folder, **more)  # type: ignore[arg-type]

    def naive_score(self) -> float:
        scores = self.naive()["scores"]
        assert isinstance(scores, dict)
        return float(scores["score"])


@pytest.fixture
def bench(grader: Grader, prepared: Prepared, tmp_path: Path) -> Bench:
    return Bench(grader, prepared, tmp_path)


def test_an_honest_loser_scores_the_same_with_and_without_defences(bench):
    bench.write(LOSER)
    verdict = bench.ours()
    assert verdict.valid and verdict.scores == {"score": LOSES}
    assert bench.naive_score() == verdict.scores["score"]


@pytest.mark.parametrize(
    ("fraud", "gain"),
    [
        pytest.param(GAME_HEAD + READ_FRAMES, 1.1, id="reads its caller's frames"),
        pytest.param(GAME_HEAD + PATCH_EVALUATOR, 90, id="patches the game"),
        pytest.param(GAME_HEAD + REPLACE_MODULES, 90, id="replaces json and random"),
        pytest.param(GAME_HEAD + FORKS, 90, id="forks and prints later"),
        pytest.param(READS_TASK, 1.1, id="reads the salt and plays the opponent's moves"),
    ],
)
def test_a_fraud_that_plays_on_scores_as_the_loser_it_is(bench, fraud, gain):
    bench.write(LOSER + fraud)
    assert bench.naive_score() > gain
    verdict = bench.ours()
    assert verdict.valid and verdict.scores == {"score": LOSES}


@pytest.mark.parametrize(
    "fraud",
    [
        pytest.param(PRINTS, id="prints the verdict and exits"),
        pytest.param(GAME_HEAD + WRITE_DESCRIPTORS, id="writes the verdict to every descriptor"),
    ],
)
def test_a_fraud_that_ends_its_process_scores_nothing(bench, fraud):
    bench.write(LOSER + fraud)
    assert bench.naive_score() > 90
    verdict = bench.ours()
    assert not verdict.valid and verdict.scores is None
    assert verdict.why.startswith("The submission's code ") and verdict.why.count("\n") == 0


def test_a_frame_in_the_form_of_a_verdict_is_only_an_unusable_answer(bench):
    bench.write(LOSER + GAME_HEAD + WRITE_DESCRIPTORS.replace("b'\\n' +", "").replace("os._exit(0)", "return 1"))
    verdict = bench.ours()
    assert not verdict.valid and verdict.scores is None and verdict.stage == "tampered"


def test_shadowed_modules_change_nothing(bench):
    names = ["kinds", "json", "numpy", "importlib", "frames", "mlgym", "sitecustomize", "random", "array", "task"]
    bench.write(LOSER, **dict.fromkeys(names, SHADOW))
    assert bench.naive_score() > 90
    assert bench.ours().scores == {"score": LOSES}


def test_a_strategy_may_shadow_modules_for_itself(bench):
    bench.write("import statistics\nrow_strategy = statistics.move\n", statistics="def move(history):\n    return 1\n")
    assert bench.ours().scores == {"score": LOSES}


def test_one_that_kills_its_parent_harms_itself_only(bench):
    bench.write(LOSER + KILLS_PARENT)
    with pytest.raises(ValueError, match="no verdict"):
        bench.naive(shell=True)
    verdict = bench.ours()
    assert verdict.scores in (None, {"score": LOSES})
    bench.write(LOSER)
    assert bench.ours().scores == {"score": LOSES}


@pytest.mark.slow
def test_one_that_sleeps_for_ever_is_stopped(bench):
    bench.write(SLEEPS)
    with pytest.raises(subprocess.TimeoutExpired):
        bench.naive(timeout=3)
    task = bench.prepared.task
    quick = task.changed(limits=task.limits.changed(call_s=1.0))
    with Grader(dataclasses.replace(bench.prepared, task=quick)) as grader:
        verdict = grader.grade(bench.folder, "validation")
    assert not verdict.valid and "took too long" in verdict.why


def daemons() -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if MARKER.encode() in (place / "cmdline").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def test_a_daemon_does_not_outlive_the_grading(bench):
    bench.write(LOSER + LEAVES_DAEMON)
    bench.naive()
    left = daemons()
    assert left
    for pid in left:
        subprocess.run(["kill", "-9", str(pid)], check=True)
    assert bench.ours().scores == {"score": LOSES}
    deadline = time.monotonic() + 5
    while daemons() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not daemons()


def test_what_a_player_leaves_reaches_no_later_one(bench):
    bench.write(
        """
import os
places = [os.path.expanduser("~"), "/tmp", "/dev/shm", "/var/tmp", ".", os.path.expanduser("~/workspace")]
seen = any(os.path.exists(place + "/left") for place in places)
for place in places:
    try:
        open(place + "/left", "w").close()
    except OSError:
        pass
def row_strategy(history):
    return 0 if seen else 1
"""
    )
    assert [bench.ours().scores for _ in range(2)] == [{"score": LOSES}] * 2
    assert not (bench.folder / "left").exists()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("2", "2 in round 1"),
        ("-1", "-1 in round 1"),
        ("10**30", "where a whole number must be"),
        ("2**40", f"{2**40} in round 1"),
        ("float('nan')", "where a whole number must be"),
        ("1.0", "where a whole number must be"),
        ("None", "where a whole number must be"),
        ("'1'", "where a whole number must be"),
        ("[1]", "where a whole number must be"),
        ("object()", "where a whole number must be"),
        ("Awkward()", "strategy.Awkward"),
        ("1 / 0", "strategy.py line 5: ZeroDivisionError"),
        ("exit()", "SystemExit"),
        ("unknown", "NameError"),
    ],
)
def test_an_invalid_move_makes_the_submission_invalid(bench, answer, said):
    bench.write(f"{AWKWARD}def row_strategy(history):\n    return {answer}\n")
    verdict = bench.ours()
    assert not verdict.valid and verdict.scores is None and said in verdict.why
    assert verdict.why.endswith(".") and "\n" not in verdict.why


AWKWARD = "class Awkward(Exception):\n    def __repr__(self):\n        raise self\n"


@pytest.mark.parametrize("answer", ["True", "__import__('numpy').int64(1)", "__import__('numpy').uint8(1)"])
def test_numbers_of_other_types_count(bench, answer):
    bench.write(f"def row_strategy(history):\n    return {answer}\n")
    assert bench.ours().scores == {"score": LOSES}


@pytest.mark.parametrize("text", ["def row_strategy(:\n", "", "import nowhere\n", "raise SystemExit(0)\n", "\0"])
def test_code_that_does_not_load_is_invalid(bench, text):
    bench.write(text)
    verdict = bench.ours()
    assert not verdict.valid and verdict.why.startswith("The submission's code failed: ")
    assert verdict.stage in ("files", "ran")


def test_a_flood_into_the_pipe_is_cut_short(bench):
    bench.write(
        "import os\ndef row_strategy(history):\n"
        "    for fd in range(3, 20):\n        try:\n            while True:\n"
        "                os.write(fd, b'x' * 65536)\n        except OSError:\n            pass\n"
    )
    verdict = bench.ours()
    assert not verdict.valid and "pipe" in verdict.why and verdict.stage == "tampered"


def test_memory_is_bounded(bench):
    bench.write("kept = []\ndef row_strategy(history):\n    while True:\n        kept.append(bytearray(10**8))\n")
    verdict = bench.ours()
    assert not verdict.valid
