"""The environment of many tasks: drawn by weights, asked for, learned from; alone and side by side."""

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import mlgym.env
from mlgym.curriculum import Curriculum
from mlgym.errors import UsageError
from mlgym.many import ManyTasks
from mlgym.records import Action, Limits

GUESS = Path(__file__).parent.parent / "examples" / "guess"
LIMITS = Limits(steps=3, command_s=10)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two tasks of one's own: a copy each."""
    names = [str(tmp_path_factory.mktemp("tasks") / name) for name in ("guess", "guess-again")]
    for name in names:
        shutil.copytree(GUESS, name)
    return names


@pytest.fixture
def env(tasks: list[str]) -> Iterator[ManyTasks]:
    env = ManyTasks(tasks, sandbox="local", limits=LIMITS)
    yield env
    env.close()


def test_a_reset_draws_a_task_and_the_same_seed_draws_the_same(env: ManyTasks, tasks: list[str]) -> None:
    drawn = [env.reset(seed=seed)[1]["task"] for seed in range(8)]
    assert set(drawn) == set(tasks) and drawn == [env.reset(seed=seed)[1]["task"] for seed in range(8)]
    _, info = env.reset()
    assert info["seed"] == env.env.unwrapped.brief.seed  # type: ignore[attr-defined]
    assert env.reset(seed=5)[1]["seed"] == 5


def test_a_task_can_be_asked_for(env: ManyTasks, tasks: list[str]) -> None:
    assert {env.reset(seed=seed, options={"task": tasks[1]})[1]["task"] for seed in range(4)} == {tasks[1]}
    _, reward, terminated, _, info = env.step("submit")
    assert terminated and info["status"] == "submitted" and sum(info["rewards"].values()) == pytest.approx(reward)


def test_the_curriculum_learns_from_the_endings(tasks: list[str]) -> None:
    curriculum = Curriculum(tasks, learnability=True)
    env = ManyTasks(curriculum=curriculum, sandbox="local", limits=LIMITS)
    for task, value in zip(tasks, (42, 5), strict=True):
        env.reset(options={"task": task})
        env.step(Action(tool="create", args={"path": "guess.txt", "content": str(value)}))
        env.step("submit")
    assert curriculum.rate(tasks[0]) == 0.75 and curriculum.rate(tasks[1]) == 0.25
    env.close()


def test_made_tasks_are_drawn_with_their_seeds() -> None:
    env = ManyTasks(["duel-s0..2-d0.5"], sandbox="local")
    drawn = {env.reset(seed=seed)[1]["task"] for seed in range(6)}
    assert drawn <= {f"duel-s{seed}-d0.5" for seed in range(3)} and len(drawn) > 1
    assert env.step("submit")[4]["status"] == "submitted"
    env.close()


def test_the_benchmarks_own_tasks_are_refused(tasks: list[str]) -> None:
    for wrong in ("battle-of-sexes", ["games"], [*tasks, "battle-of-sexes"]):
        with pytest.raises(UsageError, match="for evaluation"):
            ManyTasks(wrong)
    env = ManyTasks(tasks, sandbox="local")
    with pytest.raises(UsageError, match="for evaluation"):
        env.reset(options={"task": "battle-of-sexes"})
    games = ManyTasks("games", include_eval=True, weights={"games": 2.0})
    assert len(games.curriculum.names) > 2 and set(games.curriculum.weights.values()) == {2.0}


def test_a_mistake_is_a_sentence(tasks: list[str]) -> None:
    env = ManyTasks(tasks)
    for wrong, said in [
        (lambda: env.step("ls"), "call reset"),
        (lambda: ManyTasks(tasks, weights={"other": 1.0}), "'other'"),
        (lambda: ManyTasks("nothing-like-it"), "no task"),
        (lambda: ManyTasks([]), "needs tasks"),
    ]:
        with pytest.raises(UsageError, match=said):
            wrong()


def test_gymnasium_accepts_it_and_its_id(tasks: list[str]) -> None:
    made = gymnasium.make("mlgym/Tasks-v0", tasks=tasks, limits=LIMITS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version")
        check_env(made, skip_render_check=True)
    made.close()
    assert mlgym.env.gymnasium.spec("mlgym/Tasks-v0").vector_entry_point == "mlgym.vector:vector"


def test_side_by_side_they_share_a_curriculum(tasks: list[str]) -> None:
    envs: Any = gymnasium.make_vec(
        "mlgym/Tasks-v0", 4, tasks=tasks, curriculum=True, sandbox="local", limits=LIMITS, autoreset_mode="SameStep"
    )
    _, infos = envs.reset(seed=3)
    assert set(infos["task"]) <= set(tasks) and list(infos["seed"]) == [3, 4, 5, 6]
    _, _, ended, _, infos = envs.step(["submit"] * 4)
    assert ended.all() and set(infos["final_info"]["status"]) == {"submitted"} and set(infos["task"]) <= set(tasks)
    [curriculum] = {id(env.curriculum): env.curriculum for env in envs.envs}.values()
    assert np.isclose(sum(tried for _, tried in curriculum.state()["seen"].values()), 4, atol=1)
    envs.close()
