"""The gate: what passes, and each cause for which a task does not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlgym.gate import Passage, gate, recorded, through
from mlgym.gate.alike import nearest, words
from mlgym.grading.forgeries import fitting
from mlgym.made import list_families, written
from mlgym.sandbox import choose
from mlgym.task import load_task

FEW = [forgery for forgery in fitting("numbers") if forgery.name == "chances beyond 0 and 1"]


def passage(name: str | Path, marks: dict[str, str] | None = None, **options: Any) -> Passage:
    """With two tries and one fraud, unless told otherwise."""
    given = {"tries": 2, "chosen": FEW, **options}
    return gate(str(name), choose("auto"), {} if marks is None else marks, **given)


@pytest.fixture
def duel(tmp_path):
    """A folder with the files of a duel, to be spoiled."""
    return written("duel-s1-d0.3", tmp_path)


def spoiled(folder: Path, file: str, old: str, new: str) -> Path:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return folder


def test_a_made_task_passes_and_its_equal_does_not(duel):
    marks: dict[str, str] = {}
    found = passage("duel-s1-d0.3", marks)
    assert found.passed and found.seconds > 0 and marks == {found.mark: "duel-s1-d0.3"}
    again = passage(duel, marks)
    assert (again.cause, again.why) == ("duplicate", "it is new: it is duel-s1-d0.3")
    assert passage("duel-s2-d0.3", marks).mark not in (found.mark, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{family.name}-s1-d0.4" for family in list_families()])
def test_every_family_passes_the_whole_gate(name):
    found = passage(name, tries=8, chosen=None)
    assert found.passed, found.why
    assert sum(finding.what.startswith("forgery ") for finding in found.findings) > 20


@pytest.mark.parametrize(
    ("file", "old", "new", "cause", "said"),
    [
        ("task.toml", "version = 1", "version = 0", "builds", "version"),
        ("task.py", "def prepare(", "def make(", "builds", "has no attribute 'prepare'"),
        (
            "task.py",
            '(public / "game.json").write_text(',
            '(public / "luck").write_text(str(id(object())))\n    (public / "game.json").write_text(',
            "deterministic",
            "the same data again: public/luck differs",
        ),
        (
            "task.py",
            '"payoff": duels',
            '"skill": id(submission) + 0.0, "payoff": duels',
            "baseline",
            "recorded 0",
        ),
        ("workspace/write.py", "with open", "with close", "baseline", "does not run"),
        ("solution/write.py", "one > zero", "one < zero", "ceiling", "at the ceiling"),
        (
            "task.toml",
            "[anchors.noise]\nvalidation = 0.0\ntest = 0.0",
            "[anchors.noise]\nvalidation = 0.0\ntest = 0.5",
            "margin",
            "noise 0.500",
        ),
        ("task.py", "duels.skill(*about)", "round(duels.skill(*about) - 0.499)", "learnable", "0 are better"),
    ],
)
def test_each_cause_keeps_a_task_out(duel, file, old, new, cause, said):
    found = passage(spoiled(duel, file, old, new))
    assert (found.cause, found.passed) == (cause, False), found.why
    assert said in found.why and not found.findings[-1].ok
    assert all(finding.ok for finding in found.findings[:-1])


def test_what_takes_too_long_and_what_has_no_ceiling_is_kept_out(duel):
    assert passage(duel, seconds=0.001).cause == "time"
    shutil.rmtree(duel / "solution")
    assert passage(duel).why == "the solution scores: there is no folder solution: nothing shows a ceiling"


def test_a_fraud_that_scores_keeps_a_task_out(duel):
    loose = "def grade(", "def _all(path, *bounds):\n    return map(float, path.read_text().split())\n\n\ndef grade("
    spoiled(spoiled(duel, "task.py", "row = texts.numbers(", "row = [*_all("), "task.py", "5, 0, 1)", "5, 0, 1)]")
    found = passage(spoiled(duel, "task.py", *loose))
    assert found.cause == "forgeries" and "chances beyond 0 and 1" in found.why


@pytest.mark.slow
def test_a_changed_task_is_measured_anew():
    found = passage("maze-s1-d0.3~least=cost")
    assert found.anchors.startswith("baseline = { validation = ")
    assert "best = " in found.anchors and found.passed
    broken = passage("duel-s1-d0.3~corrupt=3")
    assert broken.passed and any(finding.what == "the starter is broken" for finding in broken.findings)
    neither = passage("duel-s1-d0.3~corrupt=3~most=payoff")
    assert neither.cause == "ceiling" and "there is no scale" in neither.why and not neither.anchors


def test_what_is_nearly_the_benchmarks_is_no_new_task(tmp_path):
    source = load_task("battle-of-sexes")
    shutil.copytree(source.folder, tmp_path / "couple", ignore=shutil.ignore_patterns("__pycache__"))
    spoiled(tmp_path / "couple", "task.toml", "The column player is fixed", "The column player is quite fixed")
    name, share = nearest(load_task(tmp_path / "couple"))
    assert name == "battle-of-sexes" and 0.8 < share < 1
    assert passage(tmp_path / "couple").cause == "duplicate"
    assert nearest(load_task("duel-s1-d0"))[1] < 0.1
    assert words("Write 0.5, then\n1.5!") == words("write 0.5 THEN 1.5")


def test_it_goes_on_where_it_stopped_and_streams(tmp_path):
    kept, seen = tmp_path / "kept.jsonl", list[str]()
    names = ["duel-s1-d0.3", "duel-s2-d2", "duel-s1-d0.3"]
    options = {"kept": kept, "at_once": 2, "tries": 2, "chosen": FEW}
    first = {each.task: each for each in through(names, note=lambda name, finding: seen.append(name), **options)}
    assert set(first) == set(names) == set(seen)
    assert first["duel-s2-d2"].cause == "builds" and first["duel-s1-d0.3"].passed
    with kept.open("a") as file:
        file.write('{"task": "torn')
    assert {each.task: each for each in recorded(kept)} == first
    again = list(through([*names, "duel-s1-d2"], note=lambda name, finding: seen.append("again"), **options))
    assert {each.task: each for each in again if each.task in first} == first
    assert seen.count("again") == 1 and len(recorded(kept)) == 3


@pytest.mark.slow
def test_the_command_prints_each_finding_and_exits_with_1_where_one_is_kept_out(tmp_path):
    argv = [sys.executable, "-m", "mlgym", "tasks", "gate", "duel-s1-d0.3", "duel-s1-d3", "--tries", "2"]
    ran = subprocess.run([*argv, "-v"], capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stderr == ""
    assert "ok   duel-s1-d0.3: the same data again: 1 files" in ran.stdout
    assert "FAIL duel-s1-d3: it can be examined: The difficulty of a made task" in ran.stdout
    assert ran.stdout.endswith("1 of 2 tasks pass.\n")
    ran = subprocess.run([*argv, "--json", "--out", str(tmp_path / "kept")], capture_output=True, text=True)
    assert [each["cause"] for each in json.loads(ran.stdout)] in (["", "builds"], ["builds", ""])
