"""The shaped reward: its parts and bounds, its milestones, what cannot be farmed, and how an ending is called."""

import itertools
import math
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgym import attempts
from mlgym.env import ResearchEnv
from mlgym.errors import UsageError
from mlgym.grading import host
from mlgym.records import Action, Limits
from mlgym.rewards import FORMAT, Env, environment, status
from mlgym.session import LocalSession
from mlgym.task import Anchors, Task, load_task
from tests.worlds import alone

GUESS = Path(__file__).parent.parent / "examples" / "guess"
NUMBERS = {"baseline": {"validation": 0.5, "test": 0.5}, "best": 1.0, "noise": {"test": 0.05}}
FLOORED = Anchors(**NUMBERS, floor={"validation": 0.25, "test": 0.25})  # type: ignore[arg-type]
LIMITS = Limits(steps=12, command_s=10)
FLOOD = """
import os
def row_strategy(history):
    for fd in range(3, 20):
        try:
            os.write(fd, b"x" * 9999999)
        except OSError:
            pass
"""
NONSENSE = Action(tool="none", args={"reply": "I think so."})


def guess(value: object) -> Action:
    return Action(tool="create", args={"path": "guess.txt", "content": str(value)})


def task(anchors: Anchors = FLOORED) -> Task:
    return load_task(GUESS).changed(anchors=anchors)


@pytest.fixture(scope="module")
def env() -> Iterator[Env]:
    env = environment(task(), sandbox="local", limits=LIMITS)
    yield env
    env.close()


def played(env: Env, *actions: str | Action) -> tuple[float, dict[str, float], dict[str, Any]]:
    """The sum of the rewards, of their parts, and the last info."""
    env.reset(seed=1)
    total, parts, info = 0.0, dict[str, float](), dict[str, Any]()
    for action in actions:
        _, reward, _, _, info = env.step(action)
        assert float(reward) == pytest.approx(math.fsum(info["rewards"].values()), abs=1e-12)
        total += float(reward)
        parts = {name: parts.get(name, 0.0) + value for name, value in info["rewards"].items()}
    return total, parts, info


@pytest.mark.parametrize(
    ("value", "utility", "called"),
    [
        (None, -1.0, "no_submission"),
        ("abc", -0.9, "invalid"),
        (1000, -0.5, "submitted"),  # graded; its progress is −0.998
        (40, -0.25, "submitted"),  # better than the best constant; its progress is −1/3
        (41, 0.0, "submitted"),
        (42, 1.0, "submitted"),
    ],
)
def test_each_milestone_is_worth_more_than_the_one_before(env: Env, value: object, utility: float, called: str) -> None:
    total, parts, info = played(env, "rm guess.txt" if value is None else guess(value), "submit")
    assert total == pytest.approx(utility) and info["status"] == called
    assert parts["progress"] + parts["ladder"] == pytest.approx(utility) and parts["shaping"] == pytest.approx(0)
    assert info["noise"] == pytest.approx(0.1)


def test_a_floor_far_below_the_baseline_counts_too() -> None:
    """Progress is never below −1, so a floor there can only be told from the scores."""
    narrow = Anchors(baseline={"validation": 0.5, "test": 0.5}, best=0.51, floor={"validation": 0.1, "test": 0.1})
    env = environment(task(narrow), sandbox="local", limits=LIMITS)
    assert played(env, guess(40), "submit")[0] == pytest.approx(-0.25)  # its score is 1/3, its progress −1
    assert played(env, guess(1000), "submit")[0] == pytest.approx(-0.5)
    env.close()


def test_a_made_task_knows_its_floor() -> None:
    env = environment("tabular-s5-d0.2", sandbox="local", limits=LIMITS)
    assert played(env, "cp data/sample_submission.csv submission.csv", "submit")[0] == pytest.approx(-0.5)
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv) and inner.anchors
    assert all(-5 < inner.anchors.floor[split] < -0.1 for split in ("validation", "test"))
    assert played(env, "python fit.py", "submit")[0] == pytest.approx(0.0, abs=1e-3)
    env.close()


def test_a_task_without_a_floor_has_no_such_milestone() -> None:
    env = environment(task(Anchors(**NUMBERS)), sandbox="local", limits=LIMITS)  # type: ignore[arg-type]
    assert played(env, guess(40), "submit")[0] == pytest.approx(-1 / 3)
    assert played(env, guess(30), "submit")[0] == pytest.approx(-0.5)
    env.close()


def test_a_task_without_a_scale_pays_milestones_only() -> None:
    env = environment(task().changed(anchors=None), sandbox="local", limits=LIMITS)
    total, _, info = played(env, guess(42), "validate", "submit")
    assert total == pytest.approx(-0.5) and info["noise"] == 0.0
    env.close()


def test_handing_in_again_earns_nothing(env: Env) -> None:
    env.reset(seed=1)
    env.step(guess(38))
    first, again, worse = (
        env.step("validate")[1],
        env.step("validate")[1],
        env.step(guess(5)) and env.step("validate")[1],
    )
    assert first == pytest.approx(1.0) and again == worse == 0.0
    env.step(guess(39))
    assert env.step("validate")[1] == pytest.approx(1.0)


def test_errors_of_format_cost_less_and_less_and_never_much(env: Env) -> None:
    env.reset(seed=1)
    costs = [-float(env.step(NONSENSE)[1]) for _ in range(11)]
    assert all(a > b > 0 for a, b in itertools.pairwise(costs)) and sum(costs) < FORMAT
    assert costs[0] == pytest.approx(FORMAT / 5)
    total, parts, _ = played(env, NONSENSE, guess(42), "submit")
    assert total == pytest.approx(1 - costs[0]) and parts["format"] == pytest.approx(-costs[0])


@pytest.mark.parametrize(
    ("reason", "called"), [("gave_up", "gave_up"), ("money", "budget"), ("deadline", "timeout"), ("context", "budget")]
)
def test_the_ending_is_told_where_something_valid_counts(env: Env, reason: str, called: str) -> None:
    end = Action(tool="end", args={"reason": reason})
    assert played(env, guess(42), end)[2]["status"] == called
    assert played(env, guess("abc"), end)[2]["status"] == "invalid"


def test_what_is_out_of_steps_or_has_lost_its_sandbox_is_scored(env: Env) -> None:
    total, _, info = played(env, guess(42), *["pwd"] * 11)
    assert total == pytest.approx(1) and info["status"] == "budget"
    env.reset(seed=1)
    env.step(guess(42))
    env.step("validate")
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv)
    inner.session.shell.stop()
    info = env.step("ls")[4]
    assert info["status"] == "gave_up" and info["scored"]


def test_a_fault_of_the_grader_is_no_bad_reward(tmp_path: Path) -> None:
    session = LocalSession(alone(GUESS, tmp_path / "guess"), sandbox="local", limits=LIMITS)
    session.reset(seed=1)
    assert session.research.prepared is not None
    session.act(NONSENSE)
    (session.research.prepared.private / "answers.json").write_text("{}")
    outcome = session.act("validate")
    assert outcome.truncated and outcome.reward is None and outcome.info["rewards"] == {}
    assert session.reward is None and session.status == "not_scored" and session.progress is None
    session.close()


def test_one_that_tampers_with_its_grading_gets_the_least() -> None:
    env = environment("battle-of-sexes", limits=LIMITS)
    env.reset(seed=1)
    env.step("cp strategy.py kept.py")
    env.step(Action(tool="create", args={"path": "strategy.py", "content": FLOOD}))
    _, _, _, _, info = env.step("validate")
    assert info["attempt"]["stage"] == "tampered" and info["rewards"]["shaping"] == 0
    env.step("cp kept.py strategy.py")
    _, reward, _, _, info = env.step("submit")
    assert info["final"]["valid"] and info["status"] == "tampered"
    assert reward == pytest.approx(-1) and info["rewards"]["integrity"] < -0.9
    env.close()


# Its luck tells it the split that it plays on.
ON_TEST = FLOOD.replace("import os", "import os, random\nTEST, seen = random.Random(1).random(), []").replace(
    "    for fd in range(3, 20):",
    "    seen.append(random.random())\n    for fd in range(3, 20) if seen[0] == TEST else ():",
)


@pytest.mark.parametrize("last", ["true", "rm strategy.py"])
def test_nor_does_it_pay_to_tamper_with_the_test_alone(last: str) -> None:
    env = environment("battle-of-sexes", limits=LIMITS)
    env.reset(seed=1)
    env.step(Action(tool="create", args={"path": "strategy.py", "content": f"{ON_TEST}    return 1\n"}))
    assert env.step("validate")[4]["attempt"]["valid"]
    env.step(last)
    info = env.step("submit")[4]
    env.close()
    assert info["status"] == "tampered" and not info["final"]["valid"]
    assert math.fsum(info["rewards"][part] for part in ("progress", "ladder", "integrity")) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("command", "called"), [("for n in 1 2 3 4; do while :; do :; done & done", "invalid"), ("true", "not_scored")]
)
def test_keeping_the_machine_busy_leaves_no_bad_score_out(
    command: str, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (host, attempts):
        monkeypatch.setattr(module, "START_S", 0.3)
    shutil.copytree(GUESS, tmp_path / "guess")
    with (tmp_path / "guess" / "task.py").open("a") as code:
        code.write("\nimport time\ntime.sleep(1)\n")  # a grader that starts as late as on a busy machine
    session = LocalSession(load_task(tmp_path / "guess"), limits=LIMITS)
    session.reset(seed=1)
    session.act(command)
    session.act("submit")
    session.close()
    assert session.status == called and (session.reward is None) == (called == "not_scored")


def test_a_fault_of_the_grading_at_a_limit_is_no_reward_either(tmp_path: Path) -> None:
    session = LocalSession(alone(GUESS, tmp_path / "guess"), sandbox="local", limits=LIMITS.changed(steps=2))
    session.reset(seed=1)
    session.act(guess(42))
    assert session.research.prepared is not None
    (session.research.prepared.private / "answers.json").write_text("{}")
    outcome = session.act("pwd")
    session.close()
    assert outcome.truncated and outcome.reward is None and session.reward is None and session.status == "not_scored"


doings = st.lists(st.sampled_from(["rm guess.txt", "validate", "abc", 0, 30, 38, 40, 41, 42, NONSENSE]), max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings, st.sampled_from(["submit", "gave_up", "steps"]))
def test_the_parts_sum_up_and_the_potential_comes_back(env: Env, doings: list[Any], ending: str) -> None:
    last = ["submit"] if ending == "submit" else [Action(tool="end", args={"reason": ending})]
    actions = [do if isinstance(do, Action) or do in ("rm guess.txt", "validate") else guess(do) for do in doings]
    total, parts, info = played(env, *actions, *last)
    wrong = sum(do is NONSENSE for do in doings)
    assert set(parts) == {"progress", "ladder", "integrity", "shaping", "format"}
    assert parts["shaping"] == pytest.approx(0, abs=1e-9) and parts["integrity"] == 0
    assert parts["format"] == pytest.approx(-FORMAT * wrong / (wrong + 4))
    assert -1 - FORMAT < total <= 2 and parts["ladder"] >= 0
    if parts["ladder"] > 0:
        assert parts["progress"] + parts["ladder"] < 0  # a milestone never comes up to the baseline
    final = info["final"]["test"]
    inner = env.unwrapped
    assert isinstance(inner, ResearchEnv)
    assert parts["progress"] == pytest.approx(inner.progress(final, "test"))


def test_rewards_go_by_name_with_options(env: Env) -> None:
    other = environment(task(), reward="shaped?graded=0.3&format=0", sandbox="local", limits=LIMITS)
    assert played(other, NONSENSE, guess(1000), "submit")[0] == pytest.approx(-0.7)
    other.close()
    plain = environment(task(), reward="progress", sandbox="local", limits=LIMITS)
    total, parts, info = played(plain, guess(40), "submit")
    assert total == pytest.approx(-1 / 3) and parts == {"reward": total} and info["status"] == "submitted"
    plain.close()
    own = environment(task(), reward="mlgym.wrappers:Progress", sandbox="local", limits=LIMITS)
    assert played(own, guess(42), "submit")[0] == pytest.approx(1)
    own.close()


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("sharp", "known: progress, shaped"),
        ("shaped?colour=3", "cannot be made: .*'colour'"),
        ("shaped?files=many", "cannot be made"),
        ("mlgym.rewards:LOWEST", "cannot be made"),
        ("shaped?floor=1", "must rise"),
        ("shaped?files=0.4", "must rise"),
        ("shaped?half=0", "must be positive"),
        ("nowhere:Reward", "cannot be imported"),
    ],
)
def test_a_mistake_is_a_sentence(reward: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        environment(task(), reward=reward, sandbox="local")


def test_before_the_end_nothing_is_called_scored() -> None:
    assert status({"scored": True}) == "not_scored"


def test_gymnasium_accepts_it_and_its_id(env: Env) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version")
        check_env(env, skip_render_check=True)
    made = gymnasium.make("mlgym.env:mlgym/battle-of-sexes-v1", reward="shaped", sandbox="local")
    made.reset(seed=1)
    assert made.step("submit")[4]["rewards"].keys() >= {"progress", "ladder"}
    made.close()
