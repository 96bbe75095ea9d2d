"""The shipped families: deterministic, no two tasks alike, starter at 0, solution at the ceiling, what is no answer."""

import contextlib
import functools
import importlib.util
import io
import json
import math
import random
import runpy
import shutil
import sys
from pathlib import Path
from types import ModuleType

import gymnasium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym.agents import settings as agents
from mlgym.check import Examination, check_task, measurements
from mlgym.env import ResearchEnv
from mlgym.errors import UsageError
from mlgym.grading import Grader
from mlgym.grading import kinds as graders
from mlgym.grading.kinds import InvalidSubmission, queries, skills
from mlgym.grading.prepare import prepare
from mlgym.made import list_families
from mlgym.task import Task, for_training, list_tasks, load_task, load_tasks

TABLES = ("tabular", "series", "grammar")
FAMILIES = (*TABLES, "speed")


class Folder:
    """A submission as the grader has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def hidden(monkeypatch):
    """Loads a task's hidden module here, beside the shared graders."""
    monkeypatch.setitem(sys.modules, "kinds", graders)

    def load(task: Task) -> ModuleType:
        spec = importlib.util.spec_from_file_location("hidden", task.code)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in [name for name in sys.modules if name.startswith("kinds.")]:
        del sys.modules[name]


def data(task: Task, module: ModuleType, place: Path) -> tuple[Path, Path]:
    public, private = place / "public", place / "private"
    public.mkdir(parents=True)
    private.mkdir()
    module.prepare(public, private, settings=task.settings, seed=0)
    return public, private


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_tasks_of_a_family_are_alike_and_each_may_be_trained_on(family):
    tasks = [load_task(f"{family}-s{seed}-d{difficulty}") for seed in range(40) for difficulty in (0, 0.5, 1)]
    assert for_training(tasks) == tasks and tasks[0] == load_task(f"{family}-s0-d0")
    assert len({json.dumps(task.settings) for task in tasks}) == len(tasks)
    assert len({task.instruction for task in tasks}) > 0.9 * len(tasks)
    assert not {task.canary for task in tasks} & {task.canary for task in list_tasks()}
    assert all("may be trained on" in task.canary and task.reference == task.name for task in tasks)
    assert all(len(line) <= 500 and "{" not in line for task in tasks for line in task.instruction.splitlines())


def test_the_suites_of_made_tasks_share_no_seed():
    train, held = load_tasks(["train"]), load_tasks(["train-heldout"])
    assert not {task.made.seed for task in train} & {task.made.seed for task in held}
    assert {task.made.family for task in train} == {task.made.family for task in held}
    assert {task.made.family for task in train} == {family.name for family in list_families()}
    assert for_training([*train, *held])


@pytest.mark.parametrize("family", TABLES)
@pytest.mark.parametrize("at", ["s1-d0.2", "s2-d0.8"])
def test_the_starter_is_at_0_the_solution_at_1_and_a_constant_below(family, at, hidden, tmp_path):
    task = load_task(f"{family}-{at}")
    module = hidden(task)
    public, private = data(task, module, tmp_path)
    assert sum(len(content) for content in bytes_of(tmp_path).values()) < 1_000_000
    work = tmp_path / "work"
    shutil.copytree(task.workspace, work)
    shutil.copytree(task.solution, work, dirs_exist_ok=True)
    (work / "data").symlink_to(public)
    script = task.baseline.command.split()[1]
    with contextlib.chdir(work), contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(script)
    with skills.started(task.workspace, public, script) as started:
        for split in ("validation", "test"):
            about = {"settings": task.settings, "split": split, "seed": 0}
            assert module.grade(Folder(started), private, **about)["skill"] == 0
            assert 0.8 < module.grade(Folder(work), private, **about)["skill"] < 1.1
            marks = json.loads((private / "scale.json").read_text())[split]
            assert (marks["floor"] - marks["starter"]) / (marks["ceiling"] - marks["starter"]) < -0.1
    again = data(task, module, tmp_path / "again")
    assert (bytes_of(public), bytes_of(private)) == tuple(map(bytes_of, again))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_starter_has_settings_that_agents_find(family):
    for folder in load_task(f"{family}-s0-d0").folder.glob("workspace*"):
        [script] = folder.iterdir()
        found = [place.name for place in agents.settings(script.read_text())]
        assert found and all(name.isupper() for name in found), folder


@pytest.fixture(scope="module")
def procedures():
    """The hidden solutions of all problems of the family speed."""
    return runpy.run_path(str(load_task("speed-s0-d0").solution / "probe.py"))


SIZES = {"find": [90], "peak": [128], "order": [21], "pool": [30, 2], "extremes": [40]}


@pytest.mark.parametrize("problem", SIZES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_solution_is_right_and_asks_little_more_than_the_bound(procedures, problem, seed):
    instance = queries.draw(random.Random(seed), problem, SIZES[problem])
    asked = queries._alone(problem, instance, procedures[problem](*SIZES[problem]))  # which checks the result
    assert asked <= 1.3 * queries.ceiling(problem, SIZES[problem]) + 2


def test_the_bound_of_a_search_is_that_of_the_best_tree():
    """Against the least over all trees, by size."""

    @functools.cache
    def least(low: int, high: int) -> int:
        if high - low < 2:
            return 0
        return high - low + min(least(low, at) + least(at + 1, high) for at in range(low, high))

    assert [queries.ceiling("find", [n]) * n for n in range(2, 25)] == pytest.approx(
        [least(0, n) for n in range(2, 25)]
    )
    assert queries.ceiling("order", [3]) == pytest.approx((2 * 2 + 4 * 3) / 6)


def test_speed_has_all_its_problems_and_a_starter_that_can_be_beaten(procedures, tmp_path):
    seen = set()
    for seed in range(20):
        task = load_task(f"speed-s{seed}-d{(0.1, 0.9)[seed % 2]}")
        problem, size = task.settings["problem"], task.settings["given"]
        seen.add(problem)
        queries.prepare(tmp_path, task.workspace / "probe.py", **task.settings)
        marks = json.loads((tmp_path / "scale.json").read_text())["test"]
        instances = json.loads((tmp_path / "test.json").read_text())
        asked = sum(queries._alone(problem, each, procedures[problem](*size)) for each in instances) / len(instances)
        assert 0.85 < skills.skill(tmp_path, "test", math.log1p(asked)) < 1.1, task.name
        assert marks["floor"] > marks["starter"] + 0.2
    assert seen == set(SIZES)


BAD = {
    "yield (0, 1)\n    return [0]": "asked [0, 1]; a question is a place from 0 to ",
    "yield (n,)\n    return [0]": "a question is a place from 0 to ",
    "yield (0,)\n    return [0]": "returned a wrong result",
    "while True:\n        yield (0,)": "asked more than ",
    "yield 'x'": "whole numbers",
    "raise ValueError('no idea')\n    yield": "ValueError: no idea",
    "return 3": "attribute 'send'",
}


def test_what_is_no_answer_to_a_procedures_task_is_said(tmp_path):
    task = next(task for task in load_tasks(["train"]) if task.settings.get("problem") == "find")
    with Grader(prepare(task)) as grader:
        for body, said in BAD.items():
            (tmp_path / "probe.py").write_text(f"def find(n):\n    {body}\n")
            verdict = grader.grade(tmp_path, "validation")
            assert not verdict.valid and said in verdict.why, (body, verdict.why)
        shutil.copy(task.solution / "probe.py", tmp_path)
        assert grader.grade(tmp_path, "test").scores["skill"] > 0.9


def test_chances_that_are_none_are_refused(hidden, tmp_path):
    task = load_task("grammar-s3-d0.2")
    module = hidden(task)
    public, private = data(task, module, tmp_path)
    lines = (public / "sample_submission.csv").read_text().splitlines()
    for value, said in (("0", "no number above 0"), ("0.9", "sum to "), ("x", "no number"), ("nan", "no number")):
        changed = [*lines[:-1], f"{lines[-1].partition(',')[0]},{value}"]
        (tmp_path / "submission.csv").write_text("\n".join(changed))
        with pytest.raises(InvalidSubmission, match=said):
            module.grade(Folder(tmp_path), private, settings=task.settings, split="test", seed=0)


def test_marks_that_are_in_no_order_are_refused(tmp_path):
    with pytest.raises(ValueError, match="are in no order"):
        skills.write(tmp_path, {"test": {"floor": 1.0, "starter": 0.5, "ceiling": 0.7}})


def test_gymnasium_knows_the_families():
    for family in list_families():
        env = gymnasium.make(f"mlgym.env:mlgym/{family.name}-v{family.version}", seed=3, difficulty=0.25)
        assert isinstance(env.unwrapped, ResearchEnv) and env.unwrapped.task.name == f"{family.name}-s3-d0.25"
        env.close()
    with pytest.raises(UsageError, match="The difficulty of a made task"):
        gymnasium.make("mlgym.env:mlgym/tabular-v2", difficulty=2)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_task_of_each_family_holds(family):
    examination = Examination(load_task(f"{family}-s5-d0.6"))
    assert [finding for finding in check_task(examination) if not finding.ok] == []
    [solved] = measurements(examination.task, 1, solution=True)
    assert all(0.8 < scores["skill"] < 1.1 for scores in solved.scores.values())
