"""The environment through Gymnasium's own interface, on the small example task."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from mlgym.env import AnyText, ResearchEnv
from mlgym.errors import UsageError
from mlgym.records import Action, Limits
from mlgym.wrappers import Limited, Progress

GUESS = Path(__file__).parent.parent / "examples" / "guess"


@pytest.fixture
def env(backend: str) -> Iterator[Progress]:
    env = Progress(Limited(ResearchEnv(GUESS, sandbox=backend, limits=Limits(steps=6, command_s=10))))
    yield env
    env.close()


def guess(value: object) -> Action:
    return Action(tool="create", args={"path": "guess.txt", "content": str(value)})


def test_the_brief_tells_what_there_is(env: Progress) -> None:
    text, info = env.reset(seed=1)
    assert info == {"scored": True}
    for part in ("hidden number", "closeness", "6 steps", "validate", "submit", "network none"):
        assert part in text


def test_text_and_records_both_work(env: Progress) -> None:
    env.reset(seed=1)
    assert "guess.py" in env.step("ls")[0]
    assert "guess.py" in env.step(Action(tool="bash", args={"command": "ls"}))[0]
    text, _, terminated, truncated, info = env.step("validate")
    assert "0.0333" in text and info["attempt"]["validation"] and info["attempt"]["test"] is None
    assert not terminated and not truncated


def test_the_rewards_sum_to_the_final_test_progress(env: Progress) -> None:
    env.reset(seed=1)
    rewards = [env.step(action)[1] for action in (guess(30), "validate", guess(41), "validate", guess(40))]
    _, reward, terminated, _, info = env.step("submit")
    assert terminated and info["final"]["test"]["closeness"] == pytest.approx(1 / 3)
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv)
    assert rewards[1] > 0 and rewards[3] > 0 and rewards[0] == rewards[2] == 0
    assert sum(rewards) + reward == pytest.approx(inner.progress(info["final"]["test"], "test"))


def test_a_limit_truncates_and_grades(env: Progress) -> None:
    env.reset(seed=1)
    total = 0.0
    for n in range(6):
        _, reward, terminated, truncated, info = env.step(guess(42) if n == 0 else "pwd")
        total += reward
        assert info["observation"]["steps_left"] == 5 - n
    assert truncated and not terminated
    assert info["final"]["kind"] == "end" and info["final"]["test"]["closeness"] == 1
    assert total == pytest.approx(1.0)


def test_an_invalid_end_falls_back_to_the_last_valid_attempt(env: Progress) -> None:
    env.reset(seed=1)
    env.step(guess(40))
    env.step("validate")
    env.step("rm guess.txt")
    text, _, _, _, info = env.step("validate")
    assert not info["attempt"]["valid"] and "guess.txt" in text
    info = env.step("submit")[4]
    assert info["final"]["fallback"] and info["final"]["test"]["closeness"] == pytest.approx(1 / 3)


def test_never_valid_is_the_floor(env: Progress) -> None:
    env.reset(seed=1)
    env.step("rm guess.txt")
    _, reward, terminated, _, info = env.step("submit")
    assert terminated and reward == -1 and info["final"]["test"] is None and info["scored"]


def test_a_reset_starts_clean(env: Progress) -> None:
    for _ in range(2):
        env.reset(seed=1)
        assert "left.txt" not in env.step("ls; touch left.txt; cd /tmp")[0]


def test_the_end_action_grades_what_stands(env: Progress) -> None:
    env.reset(seed=1)
    _, _, terminated, truncated, info = env.step(Action(tool="end", args={"reason": "money"}))
    assert truncated and not terminated and info["ended"] == "money" and info["final"]["valid"]
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv) and inner.finish("again") is inner.finish("and again")


def test_a_dead_sandbox_is_a_fault_and_not_a_bad_reward(env: Progress) -> None:
    env.reset(seed=1)
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv)
    inner.session.shell.stop()
    _, reward, terminated, truncated, info = env.step("ls")
    assert (reward, terminated, truncated, info["scored"]) == (0.0, False, True, False)
    assert info["boundary"] == "sandbox"


def test_gymnasium_accepts_it(backend: str) -> None:
    env = ResearchEnv(GUESS, sandbox=backend)
    check_env(env, skip_render_check=True)
    env.close()


def test_the_space_holds_any_text() -> None:
    space = AnyText(seed=0)
    assert "" in space and "a b\n\u2028é" in space and Action(tool="bash") in space and 3 not in space
    assert {space.sample() for _ in range(50)} == {"ls", "pwd", "validate"}


def test_a_step_before_reset_is_a_sentence(backend: str) -> None:
    with pytest.raises(UsageError, match="reset"):
        ResearchEnv(GUESS, sandbox=backend).step("ls")


def test_the_ids_are_there_when_gymnasium_is_imported_first_and_by_module_always() -> None:
    first = "import gymnasium, mlgym; gymnasium.spec('mlgym/battle-of-sexes-v1')"
    always = "import gymnasium; gymnasium.make('mlgym.env:mlgym/battle-of-sexes-v1').close()"
    for code in (first, always):
        subprocess.run([sys.executable, "-c", code], check=True)
    assert gymnasium.spec("mlgym/battle-of-sexes-v1").additional_wrappers[1].name == "Progress"
