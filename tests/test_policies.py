"""Policies of reinforcement learning: graded on a small world made with numpy; the tasks themselves need jax (slow)."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import naive_grading
import numpy as np
import pytest

from mlgym.errors import SourceError
from mlgym.grading import Grader
from mlgym.grading.forgeries import FORGERIES, run_forgeries
from mlgym.grading.forgeries.policies import POLICIES
from mlgym.grading.frames import Array
from mlgym.grading.kinds import policies
from mlgym.grading.prepare import Prepared, prepare
from mlgym.grading.starter import run_starter
from mlgym.sandbox import choose
from mlgym.task import load_task

# Each episode lasts 3 to 8 frames; a frame pays the action, 0 or 1 (a force from -1 to 1), if the observed bit is 1.
CODE = """
import numpy as np
from kinds import policies

class Lamps:
    def __init__(self, actions, width):
        self.actions, self.width = actions, width
    def reset(self, luck, number):
        self.rng = np.random.default_rng(luck)
        self.age, self.length = np.zeros(number), self.rng.integers(3, 9, number)
        return self.look()
    def look(self):
        self.bit = self.rng.integers(0, 2, len(self.age))
        return np.stack([self.bit, self.age], 1).astype("float32")
    def step(self, actions):
        rewards = self.bit * actions.reshape(len(actions)) * 1.0
        over = self.age + 1 >= self.length
        self.age = np.where(over, 0, self.age + 1)
        return self.look(), rewards, over

SETTINGS = {"checkpoints": 2, "environments": 200, "seeds": 2, "frames": 8, "actions": 2, "width": 0}

def prepare(public, private, *, settings, seed):
    policies.prepare(public, private, {**SETTINGS, **settings})

def grade(submission, private, *, settings, split, seed):
    settings = {**SETTINGS, **settings}
    world = Lamps(settings["actions"], settings["width"])
    return policies.grade(world, submission, private, settings=settings, split=split, seed=seed)
"""
TOML = """
version = 1
title = "Lamps"
kind = "policy"
canary = "a canary that is at least twenty characters long"
metric = "mean_return"
direction = "maximize"
instruction = "Press when the lamp is lit."
packages = ["numpy==2.4.6"]
submission = {paths = ["policy.py", "checkpoints"]}
limits = {call_s = 1}
[variant.force]
settings = {actions = 0, width = 1}
"""
LAZY = """
import numpy as np

def act(checkpoint, observations, first):
    return np.zeros(len(observations), np.int64)
"""
GOOD = "import numpy as np\n\ndef act(checkpoint, observations, first):\n    return {}\n"
PRESS = GOOD.format("(observations[:, 0] > 0).astype(np.int64)")
FORCE = GOOD.format("observations[:, :1]")
ALL = pytest.approx(5.5 / 2, abs=0.3)  # half of the frames of an episode are lit


def submit(folder: Path, code: str, checkpoints: int = 2) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "policy.py").write_text(code)
    for number in range(checkpoints):
        (folder / "checkpoints" / f"{number}.npz").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def lamps(tmp_path_factory) -> Prepared:
    folder = tmp_path_factory.mktemp("tasks") / "lamps"
    submit(folder / "workspace", LAZY)
    (folder / "task.py").write_text(CODE)
    (folder / "task.toml").write_text(TOML)
    return prepare(load_task(folder))


@pytest.fixture(scope="module")
def grader(lamps) -> Iterator[Grader]:
    with Grader(lamps) as grader:
        yield grader


@pytest.fixture(scope="module")
def forces(lamps) -> Iterator[Grader]:
    with Grader(prepare(load_task(f"{lamps.task.folder}-force"))) as grader:
        yield grader


def test_the_score_is_the_mean_return_of_the_first_episodes(grader, forces, tmp_path):
    verdict = grader.grade(submit(tmp_path / "press", PRESS), "test")
    assert verdict.scores and verdict.scores["mean_return"] == ALL and 0.5 < verdict.scores["std_return"] < 2.5
    assert grader.grade(submit(tmp_path / "lazy", LAZY), "test").scores == {"mean_return": 0, "std_return": 0}
    assert forces.grade(submit(tmp_path / "force", FORCE), "test").scores["mean_return"] == ALL


def test_luck_depends_on_split_and_seed_only(grader, tmp_path):
    press, half = submit(tmp_path / "a", PRESS), submit(tmp_path / "b", PRESS.replace("]", "] * (checkpoint == 1)", 1))
    first, again, other, seeded = (
        tuple(grader.grade(press, split, seed=seed).scores.values())
        for split, seed in (("test", 0), ("test", 0), ("validation", 0), ("test", 1))
    )
    assert first == again and len({first, other, seeded}) == 3
    # both checkpoints meet the same luck, so one that does nothing halves the sum
    assert grader.grade(half, "test").scores["mean_return"] == pytest.approx(first[0] / 2)


def test_a_policy_with_a_memory_is_told_where_episodes_begin(grader, tmp_path):
    code = """
        import numpy as np
        age = None
        def act(checkpoint, observations, first):
            global age
            age = np.where(first, 0, 0 if age is None else age + 1)
            assert (age == observations[:, 1]).all()
            return (observations[:, 0] > 0).astype(np.int64)
    """
    assert (
        grader.grade(submit(tmp_path / "memory", code.replace("\n        ", "\n")), "test").scores["mean_return"] == ALL
    )


def test_the_agent_is_told_how_it_is_graded_and_not_the_salt(lamps):
    assert '"checkpoints": 2' in (lamps.public / "evaluation.json").read_text()
    assert (lamps.private / "salt").read_text() not in (lamps.public / "evaluation.json").read_text()


def test_later_episodes_and_frames_do_not_count():
    class Clock:
        actions, width, frame = 2, 0, 0

        def reset(self, luck, number):
            self.frame = 0
            return np.zeros((number, 1), np.float32)

        def step(self, actions):
            self.frame += 1
            lengths = np.array([2, 3, 50])
            return np.zeros((3, 1), np.float32), np.ones(3), self.frame % lengths == 0

    def batch(function, arrays, expect):
        return [Array("<i8", (3,), np.zeros(3, np.int64).tobytes())]

    returns = policies.play(Clock(), SimpleNamespace(batch=batch), 0, np.zeros(2, np.uint32), 3, 10)
    assert returns.tolist() == [2, 3, 10]


@pytest.mark.parametrize(
    ("kind", "answer", "said"),
    [
        (
            "grader",
            "observations[:, 0].astype(np.int64) * 2",
            "act returned 2 with checkpoint 0, in frame 1; an action",
        ),
        ("grader", "observations[:, 0]", "<f4[400] where <i8[400] was expected."),
        ("grader", "np.zeros(7, np.int64)", "<i8[7] where <i8[400] was expected."),
        ("grader", "None", "The submission answered with something else than arrays"),
        ("grader", "1 / 0", "policy.py line 4: ZeroDivisionError: division by zero."),
        ("grader", "__import__('os')._exit(0)", "ended its own process"),
        ("grader", "__import__('time').sleep(9)", "took too long and was stopped"),
        ("grader", "np.zeros(len(first), np.int64) + (checkpoint == 1) * 5", "act returned 5 with checkpoint 1"),
        (
            "forces",
            "observations[:, :1] * np.float32('nan')",
            "act returned nan with checkpoint 0, in frame 1; an action",
        ),
        ("forces", "observations[:, :1] * np.float32(1.001)", "in frame 1; an action is a number from -1 to 1."),
        ("forces", "observations[:, 0]", "<f4[400] where <f4[400, 1] was expected."),
        ("forces", "observations[:, :1].astype(np.float64)", "<f8[400, 1] where <f4[400, 1] was expected."),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_action_no_score(request, tmp_path, kind, answer, said):
    verdict = request.getfixturevalue(kind).grade(submit(tmp_path / "bad", GOOD.format(answer)), "validation")
    assert not verdict.valid and said in verdict.why and verdict.why.endswith(".") and "\n" not in verdict.why


def test_each_checkpoint_must_be_there(grader, tmp_path):
    verdict = grader.grade(submit(tmp_path / "one", PRESS, checkpoints=1), "test")
    assert verdict.why == "The submission has no checkpoint 1 in the folder checkpoints."
    (tmp_path / "one" / "checkpoints" / "1").mkdir()
    (tmp_path / "one" / "checkpoints" / "1" / "weights").write_text("1")
    assert grader.grade(tmp_path / "one", "test").valid
    (tmp_path / "one" / "policy.py").unlink()
    assert grader.grade(tmp_path / "one", "test").why == "The submission has no file policy.py."


@pytest.mark.slow
def test_no_forgery_of_a_policy_scores(lamps):
    outcomes = list(run_forgeries(lamps))
    assert [outcome.name for outcome in outcomes if outcome.scored] == []
    assert {forgery.name for forgery in POLICIES} < {outcome.name for outcome in outcomes}
    assert all(forgery in FORGERIES for forgery in POLICIES) and all(outcome.why for outcome in outcomes)


@pytest.mark.parametrize("forgery", [one for one in POLICIES if one.harm == "raises"], ids=lambda forgery: forgery.name)
def test_each_forgery_of_a_policy_pays_without_its_defence(lamps, tmp_path, forgery):
    code = tmp_path / "task.py"
    # the check of actions is the defence against giant ones; for the others it is one process, one sandbox
    code.write_text(CODE + ("policies._check = lambda *about: None\n" if forgery.guard == "checked" else ""))
    forged = submit(tmp_path / "forged", PRESS + forgery.files["fraud.txt"])
    assert naive_grading.grade(code, lamps.private, forged)["scores"]["mean_return"] > 50


def test_the_naive_evaluator_scores_the_honest_as_ours_does(lamps, grader, tmp_path):
    honest = submit(tmp_path / "honest", PRESS)
    naive = naive_grading.grade(lamps.task.code, lamps.private, honest)
    assert naive["scores"] == grader.grade(honest, "validation").scores


# The tasks: what follows trains with jax.


@pytest.fixture(scope="module")
def task(request) -> Prepared:
    try:
        return prepare(load_task(request.param))
    except SourceError as error:
        pytest.skip(str(error))


TINY = ["breakout-tiny", "meta-maze-tiny", "mountain-car-tiny"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("task", TINY, indirect=True)
def test_the_hidden_solution_scores_far_above_the_baseline(task, tmp_path):
    anchors, kind = task.task.anchors, choose("auto")
    assert anchors and anchors.best
    trial = run_starter(task, kind, tmp_path / "solution", solution=True)
    with Grader(task, kind) as grader:
        score = grader.grade(trial.files, "test").scores["mean_return"]
    start = anchors.baseline["test"]
    assert score > start + max(4 * anchors.noise["test"], (anchors.best - start) / 4)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("task", ["mountain-car-tiny"], indirect=True)
def test_the_car_drives_as_its_equations_say(task, tmp_path):
    """Full throttle along the velocity, once by gymnax in the grader with jax in the player, once here, in numpy."""
    code = GOOD.format("np.asarray(jnp.where(observations[:, 1:] < 0, -1.0, 1.0))")
    code = "import jax.numpy as jnp\n" + code
    with Grader(task) as grader:
        score = grader.grade(submit(tmp_path / "throttle", code), "test").scores["mean_return"]
    position, velocity = np.linspace(-0.6, -0.4, 1001), np.zeros(1001)
    returns, alive = np.zeros(1001), np.ones(1001, bool)
    for _ in range(200):
        force = np.where(velocity < 0, -1, 1)
        velocity = (velocity + 0.0015 * force - 0.0025 * np.cos(3 * position)).clip(-0.07, 0.07)
        position = (position + velocity).clip(-1.2, 0.6)
        arrived = position >= 0.45
        returns += alive * (100 * arrived - 0.1)
        alive &= ~arrived
    assert score == pytest.approx(returns.mean(), abs=0.5)
