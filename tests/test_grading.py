"""The host's side of a grading, with small tasks made for it: verdicts, faults and their owners, clocks, warmth."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlgym.cache import cache_dir
from mlgym.errors import GradingError
from mlgym.grading import Grader, exchange
from mlgym.grading.prepare import Prepared, prepare
from mlgym.task import load_task
from tests.faults import MARKS, descendants, hit

TOML = """
version = 1
title = "A made task"
kind = "table"
canary = "a canary of a task that is made for a test"
metric = "score"
direction = "maximize"
instruction = "Write answer.txt."
packages = ["numpy==2.4.6"]
submission = {paths = ["answer.txt"]}
limits = {grade_s = 20, memory_mb = 1024}
"""
CODE = """
import os, signal, time
import numpy as np
from kinds import InvalidSubmission
CALLS = []

def prepare(public, private, *, settings, seed):
    (private / "answer").write_text("42")

def grade(submission, private, *, settings, split, seed):
    CALLS.append(split)
"""

Make = Callable[[str], Prepared]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Prepare a task whose `grade` has this body."""

    def made(body: str, toml: str = TOML) -> Prepared:
        folder = tmp_path / "made"
        (folder / "workspace").mkdir(parents=True)
        (folder / "task.toml").write_text(toml)
        (folder / "task.py").write_text(CODE + "".join(f"    {line}\n" for line in body.strip().splitlines()))
        return prepare(load_task(folder))

    return made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "submission"
    (folder / "deep").mkdir(parents=True)
    (folder / "answer.txt").write_text("42\n")
    (folder / "deep" / "notes").write_text("deep\n")
    return folder


EXACT = 'return {"score": float(submission.path("answer.txt").read_text() == (private / "answer").read_text() + "\\n")}'


def test_a_warm_grader_serves_several_gradings(make, files, backend):
    with Grader(make('return {"score": len(CALLS), "other": 0.5}'), backend) as grader:
        first = grader.grade(files, "validation")
        assert first.valid and first.scores == {"score": 1.0, "other": 0.5} and first.why == ""
        began = time.monotonic()
        assert [grader.grade(files, "test").scores for _ in range(3)] == [{"score": n, "other": 0.5} for n in (2, 3, 4)]
        assert time.monotonic() - began < 3


def test_the_grader_reads_the_frozen_copy_and_the_private_files(make, files, backend):
    with Grader(make(EXACT), backend) as grader:
        assert grader.grade(files, "validation").scores == {"score": 1.0}
        (files / "answer.txt").write_text("41\n")
        assert grader.grade(files, "validation").scores == {"score": 0.0}
        (files / "answer.txt").unlink()
        verdict = grader.grade(files, "validation")
        assert not verdict.valid and verdict.scores is None and "answer.txt" in verdict.why


def test_the_grader_gets_split_seed_and_settings(make, files, backend):
    body = 'return {"score": seed + settings["more"] + (split == "test")}'
    with Grader(make(body, TOML + "[settings]\nmore = 10\n"), backend) as grader:
        scores = [grader.grade(files, split, seed=seed).scores for split, seed in (("validation", 0), ("test", 5))]
    assert scores == [{"score": 10}, {"score": 16}]


def test_what_the_task_calls_invalid_is_a_verdict(make, files, backend):
    with Grader(make('raise InvalidSubmission("Line 3 is wrong.")'), backend) as grader:
        verdict = grader.grade(files, "validation")
    assert (verdict.valid, verdict.why, verdict.scores) == (False, "Line 3 is wrong.", None)


@pytest.mark.parametrize("score", ["float('nan')", "float('inf')", "np.float64(-np.inf)"])
def test_a_score_that_is_not_finite_is_invalid(make, files, backend, score):
    with Grader(make(f'return {{"score": {score}}}'), backend) as grader:
        verdict = grader.grade(files, "validation")
    assert not verdict.valid and verdict.scores is None and "finite" in verdict.why


def test_the_graders_own_memory_is_bounded_and_a_verdict(make, files, backend):
    if backend == "local":
        pytest.skip("local bounds nothing")
    with Grader(make("return {'score': len(bytearray(10**11))}"), backend) as grader:
        verdict = grader.grade(files, "validation")
    assert not verdict.valid and "memory" in verdict.why


def test_memory_that_a_submission_has_its_grader_take_is_a_verdict_too(make, files, backend):
    if backend == "local":
        pytest.skip("local bounds nothing")
    body = """
import mmap
held = mmap.mmap(-1, 700 << 20)
for part in range(70):
    held.write(bytes(10 << 20))
time.sleep(20)
"""
    with Grader(make(body, TOML.replace("1024", "400")), backend) as grader:
        verdict = grader.grade(files, "validation")
    assert not verdict.valid and "memory" in verdict.why


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "task.py line 13: ZeroDivisionError: division by zero"),
        ("return 3", "dictionary"),
        ("return {}", "dictionary"),
        ("raise SystemExit(3)", "without a verdict"),
        ("os.kill(os.getpid(), signal.SIGKILL) or os._exit(9)", "without a verdict"),
        ("submission.player('nowhere', 0).each('f', np.zeros((1, 0, 2)), 0, 1)", "TypeError"),
    ],
)
def test_a_fault_of_the_grader_is_no_verdict(make, files, backend, body, said):
    (files / "nowhere.py").write_text("")
    with Grader(make(f"if split == 'validation':\n    {body}\nreturn {{'score': 1.0}}"), backend) as grader:
        with pytest.raises(GradingError, match=r"^The grader of made .*\.$") as caught:
            grader.grade(files, "validation")
        assert said in str(caught.value)
        assert grader.grade(files, "test").scores == {"score": 1.0}


def test_a_task_that_cannot_be_loaded_says_where(make, files, backend):
    prepared = make("return {'score': 1.0}")
    prepared.task.code.write_text("import nothing_of_that_name\n")
    with Grader(prepared, backend) as grader, pytest.raises(GradingError, match="nothing_of_that_name"):
        grader.grade(files, "validation")


def test_a_grading_that_never_ends_is_cut_off_and_the_next_one_works(make, files, backend, monkeypatch):
    monkeypatch.setattr(exchange, "GRACE_S", 0.5)
    toml = TOML.replace("grade_s = 20", "grade_s = 2")
    body = "time.sleep(1000 if submission.path('answer.txt').read_text() == 'slow' else 0)\nreturn {'score': 1.0}"
    with Grader(make(body, toml), backend) as grader:
        assert grader.grade(files, "validation").valid
        (files / "answer.txt").write_text("slow")
        verdict = grader.grade(files, "validation")
        assert not verdict.valid and "2 seconds" in verdict.why and verdict.seconds < 10
        (files / "answer.txt").write_text("42")
        assert grader.grade(files, "validation").valid


def test_a_folder_with_a_link_is_not_graded(make, files, backend):
    (files / "link").symlink_to("/etc/passwd")
    with Grader(make("return {'score': 1.0}"), backend) as grader, pytest.raises(GradingError, match="link is neither"):
        grader.grade(files, "validation")


def test_arrays_go_to_the_submission_and_back(make, files, backend):
    (files / "policy.py").write_text("def act(a, b):\n    return a + b, (a > b)\n")
    body = """
a, b = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
sums, more = submission.player("policy", seed).batch("act", [a, b], [("<f8", (2, 3)), ("|b1", (2, 3))])
return {"score": np.frombuffer(sums.data, sums.descr).sum(), "more": np.frombuffer(more.data, more.descr).sum()}
"""
    with Grader(make(body), backend) as grader:
        assert grader.grade(files, "validation").scores == {"score": 21.0, "more": 4.0}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("a.astype('f4')", "<f4[2, 3] where <f8[2, 3] was expected"),
        ("a[:1]", "<f8[1, 3] where"),
        ("(a, a)", "<f8[2, 3] and <f8[2, 3] where"),
        ("a.astype(object)", "must be numbers"),
        ("a.astype('>f8')", "must be numbers"),
        ("a.astype(complex)", "must be numbers"),
        ("'text'", "must be numbers"),
        ("None", "must be numbers"),
    ],
)
def test_other_arrays_than_asked_for_are_invalid(make, files, answer, said):
    (files / "policy.py").write_text(f"def act(a):\n    return {answer}\n")
    body = """
back = submission.player("policy", seed).batch("act", [np.ones((2, 3))], [("<f8", (2, 3))])
return {"score": 1.0}
"""
    with Grader(make(body), "local") as grader:
        verdict = grader.grade(files, "validation")
    assert not verdict.valid and said in verdict.why


def test_nothing_is_left_behind(make, files, backend):
    (files / "policy.py").write_text("def act(a):\n    return a\n")
    body = "submission.player('policy', 0).batch('act', [np.ones(3)], [('<f8', (3,))])\nreturn {'score': 1.0}"

    def ours() -> set[Path]:
        return set((cache_dir() / "scratch").glob(f"s-{os.getpid()}-*"))

    before = ours()
    grader = Grader(make(body), backend)
    assert grader.grade(files, "validation").valid
    (place,) = ours() - before
    assert sorted(path.name for path in place.iterdir()) == ["frozen", "grader"]
    assert not any((place / "frozen").iterdir())
    grader.close()
    grader.close()
    assert ours() == before


def test_a_warm_grader_that_was_killed_is_replaced(make, files):
    prepared = make("return {'score': float(len(CALLS))}")
    others = {pid for pid, *_ in descendants(os.getpid())}
    with Grader(prepared, "bubblewrap") as grader:
        assert grader.grade(files, "validation").scores == {"score": 1.0}
        assert grader.grade(files, "test").scores == {"score": 2.0}
        mine = [pid for pid, _, _, line in descendants(os.getpid()) if MARKS["grader"] in line and pid not in others]
        assert hit(mine[-1], os.getpid(), signal.SIGKILL), (
            "the innermost: what starts it is outlived by it for a moment"
        )
        assert grader.grade(files, "test").scores == {"score": 1.0}, "a fresh grader has no earlier call"
