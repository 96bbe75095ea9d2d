"""The environment through Gymnasium's own interface, on the small example task."""

import functools
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgym.env import AnyText, ResearchEnv
from mlgym.errors import UsageError
from mlgym.records import Action, Limits, Observation
from mlgym.wrappers import Limited, Progress
from tests.worlds import alone

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
    for part in ("hidden number", "closeness", "6 steps", "validate", "submit", "Workspace: /"):
        assert part in text
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv)
    assert ("network none" in text) == (inner.backend.isolation != "none")


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


@pytest.mark.parametrize("validated", [True, False])
def test_a_lost_sandbox_is_no_way_out_of_a_bad_score(env: Progress, validated: bool) -> None:
    env.reset(seed=1)
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv)
    total = env.step(guess(40))[1]
    if validated:
        total += env.step("validate")[1]
    inner.session.shell.stop()
    _, reward, terminated, truncated, info = env.step("ls")
    assert truncated and not terminated and info["boundary"] == "sandbox" and info["scored"]
    assert info["final"]["fallback"] == validated
    assert total + reward == pytest.approx(inner.progress(info["final"]["test"], "test"))
    assert (info["final"]["test"] is None) == (not validated)


def test_a_fault_of_the_grader_is_unscored_and_pays_nothing(backend: str, tmp_path: Path) -> None:
    task = alone(GUESS, tmp_path / "guess")
    env = Progress(Limited(ResearchEnv(task, sandbox=backend, limits=Limits(steps=6, command_s=10))))
    env.reset(seed=1)
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv) and inner.prepared is not None
    (inner.prepared.private / "answers.json").write_text("{}")
    _, reward, terminated, truncated, info = env.step("validate")
    env.close()
    assert (reward, terminated, truncated, info["scored"], info["boundary"]) == (0.0, False, True, False, "grader")


@pytest.mark.parametrize(
    "action",
    [
        Action(tool="bash", args={"command": "echo \ud800"}),
        Action(tool="bash", args={"command": [[[0]]], "deep": functools.reduce(lambda x, _: [x], range(300), 0)}),
        "mkdir guess.d; touch guess.d/$'\\xff'; cd guess.d; ls; pwd",
        "rm guess.txt; mkdir guess.txt; ln -s x guess.txt/$'\\xff'",
    ],
)
def test_odd_text_and_deep_arguments_can_be_recorded(env: Progress, action: str | Action) -> None:
    env.reset(seed=1)
    info = env.step(action)[4]
    json.dumps(info)
    assert Observation.model_validate(info["observation"]).model_dump_json()
    assert "attempt" in env.step("validate")[4]


def test_a_validate_on_the_last_step_keeps_its_attempt(env: Progress) -> None:
    env.reset(seed=1)
    for _ in range(5):
        env.step("pwd")
    info = env.step("validate")[4]
    assert (info["attempt"]["kind"], info["attempt"]["n"], info["final"]["kind"]) == ("validate", 0, "end")


def test_after_the_end_there_is_no_further_step(env: Progress) -> None:
    env.reset(seed=1)
    env.step("submit")
    with pytest.raises(UsageError, match="ended"):
        env.step("submit")


def test_feedback_on_test_is_said_and_both_splits_are_graded(backend: str) -> None:
    env = Progress(Limited(ResearchEnv(GUESS, sandbox=backend, feedback="test")))
    assert "test data and shows" in env.reset(seed=1)[0]
    env.step(guess(41))
    text, _, _, _, info = env.step("validate")
    assert "0.5" in text and info["attempt"]["test"] and info["attempt"]["validation"] is None
    final = env.step("submit")[4]["final"]
    assert final["validation"]["closeness"] == pytest.approx(1 / 3) and final["test"]["closeness"] == 0.5
    env.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Progress]:
    env = Progress(Limited(ResearchEnv(GUESS, sandbox="local", limits=Limits(steps=6, command_s=10))))
    yield env
    env.close()


endings = st.sampled_from(["submit", "gave_up", "money", "steps", "lost"])
doings = st.lists(
    st.sampled_from([0, 30, 38, 41, 42, 100, "rm guess.txt", "echo x > guess.txt", "validate"]), max_size=5
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings, endings)
def test_the_rewards_of_every_episode_sum_to_its_final_test_progress(
    shared: Progress, doings: list[int | str], ending: str
) -> None:
    shared.reset(seed=1)
    inner = shared.unwrapped
    assert isinstance(inner, ResearchEnv)
    total = sum(shared.step(guess(do) if isinstance(do, int) else do)[1] for do in doings)
    if ending == "lost":
        inner.session.shell.stop()
    last: dict[str, str | Action] = {"submit": "submit", "steps": "pwd", "lost": "pwd"}
    over, info = False, dict[str, Any]()
    while not over:
        action = last.get(ending, Action(tool="end", args={"reason": ending}))
        _, reward, terminated, truncated, info = shared.step(action)
        total, over = total + reward, terminated or truncated
    assert total == pytest.approx(inner.progress(info["final"]["test"], "test"))


def test_gymnasium_accepts_it(backend: str) -> None:
    for env in (ResearchEnv(GUESS, sandbox=backend), Progress(Limited(ResearchEnv(GUESS, sandbox=backend)))):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is different from the unwrapped version")
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
    env = gymnasium.make("mlgym/battle-of-sexes-v1")
    while isinstance(env, gymnasium.Wrapper) and not isinstance(env, Progress):
        env = env.env
    assert isinstance(env, Progress) and isinstance(env.env, Limited)
