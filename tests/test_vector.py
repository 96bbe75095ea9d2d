"""The vector environment: as Gymnasium's own in its three modes, but side by side, begun ahead, and hard to break."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlgym.env
from mlgym.env import AnyText
from mlgym.errors import SandboxError, UsageError
from mlgym.records import Action, Limits
from mlgym.rewards import environment
from mlgym.vector import Episodes, batched, vector

GUESS = Path(__file__).parent.parent / "examples" / "guess"
WAIT_S = 60  # for what must happen


LIMITS = Limits(steps=3, command_s=10)


def guesses(n: int, mode: str = "NextStep", **options: Any) -> Episodes:
    return vector(n, task=GUESS, autoreset_mode=mode, limits=LIMITS, **options)


def guess(value: int) -> Action:
    return Action(tool="create", args={"path": "guess.txt", "content": str(value)})


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_it_answers_as_gymnasiums_own(mode: AutoresetMode) -> None:
    ours = guesses(2, mode.value)
    theirs: Any = SyncVectorEnv([lambda: environment(GUESS, limits=LIMITS)] * 2, autoreset_mode=mode)
    assert ours.single_action_space == theirs.single_action_space and ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space and ours.metadata == theirs.metadata
    assert data_equivalence(ours.reset(seed=5), theirs.reset(seed=5))
    plans = [(guess(40), guess(41)), ("validate", "validate"), ("submit", "true"), *[("true", "true")] * 4]
    for actions in plans:
        found, expected = ours.step(actions), theirs.step(actions)
        assert found[0] in ours.observation_space
        for mine, other in zip(found[:4], expected[:4], strict=True):
            assert data_equivalence(tuple(mine), tuple(other)) and type(mine) is type(other)
        if mode is AutoresetMode.DISABLED and (over := found[2] | found[3]).any():
            again = [each.reset(options={"reset_mask": over}) for each in (ours, theirs)]
            assert again[0][0] == again[1][0] and data_equivalence(again[0][1]["_scored"], over)
    for each in (ours, theirs):
        each.close()


def test_the_ids_have_it_and_gymnasiums_wrappers_take_it() -> None:
    made = gymnasium.make_vec("mlgym/battle-of-sexes-v1", 2, "vector_entry_point", sandbox="local", reward="shaped")
    assert isinstance(made, Episodes) and made.spec is not None and made.metadata["autoreset_mode"]
    assert str(made) == "Episodes(mlgym/battle-of-sexes-v1, num_envs=2)"
    wrapped: Any = DictInfoToList(RecordEpisodeStatistics(made))
    wrapped.reset(seed=[3, None])
    assert [brief.seed for brief in made.call("brief")] == [3, 0]
    infos = wrapped.step(["submit", "true"])[4]
    assert infos[0]["episode"]["l"] == 1 and infos[0]["status"] == "submitted" and "status" not in infos[1]
    assert infos[0]["final"]["test"]["score"] > 1 and "final" not in infos[1]
    assert wrapped.env.env is made and made.get_attr("feedback") == ("validation",) * 2
    made.set_attr("counts", ["one", "other"])
    assert made.get_attr("counts") == ("one", "other") and made.render() == (None, None)
    made.close()
    made.close()


def test_sampled_actions_are_actions() -> None:
    envs = guesses(3)
    envs.action_space.seed(1)
    envs.reset(seed=1)
    assert envs.step(envs.action_space.sample())[1].shape == (3,)
    assert envs.step(np.array(["true"] * 3, dtype=object))[0] == ("",) * 3
    envs.close()


class Probe(gymnasium.Env[str, str | Action]):
    """Does what each action says: waits for the others, fails, ends; a reset fails where it was told to."""

    def __init__(self, together: threading.Barrier, begun: threading.Event) -> None:
        self.action_space = self.observation_space = AnyText()
        self.together, self.begun, self.episodes, self.broken = together, begun, 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        if self.broken:
            raise SandboxError("No sandbox starts.")
        self.episodes += 1
        if self.episodes > 1:
            self.begun.set()
        return f"episode {self.episodes}", {"seed": seed, "told": options}

    def step(self, action: str | Action) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action == "together":
            self.together.wait(WAIT_S)
        elif action == "until another has begun anew":
            assert self.begun.wait(WAIT_S)
        elif action == "fail":
            raise ZeroDivisionError("by zero")
        elif action == "break":
            self.broken = True
        return str(action), 1.0, action in ("end", "break"), False, {"scored": True}


@pytest.fixture(params=["NextStep", "SameStep", "Disabled"])
def probes(request: pytest.FixtureRequest) -> Iterator[Episodes]:
    together, begun = threading.Barrier(4), threading.Event()
    envs = Episodes([lambda: Probe(together, begun)] * 4, request.param)
    envs.reset()
    yield envs
    envs.close()


def test_all_work_at_the_same_time(probes: Episodes) -> None:
    for _ in range(3):
        assert probes.step(["together"] * 4)[0] == ("together",) * 4


def test_without_prefetch_nothing_is_begun_ahead() -> None:
    envs = Episodes([lambda: Probe(threading.Barrier(1), threading.Event())], "Disabled", prefetch=False)
    envs.reset()
    envs.step(["end"])
    assert envs.get_attr("episodes") == (1,) and envs.reset()[0] == ("episode 2",)
    envs.close()


def test_the_next_episode_begins_while_the_others_still_work(probes: Episodes) -> None:
    texts, _, ended, _, infos = probes.step(["until another has begun anew"] * 3 + ["end"])
    assert list(ended) == [False, False, False, True]
    same = probes.mode is AutoresetMode.SAME_STEP
    assert texts[3] == ("episode 2" if same else "end") and ("final_obs" in infos) == same
    if same:
        assert infos["final_obs"][3] == "end" and list(infos["_final_info"]) == [False, False, False, True]
    elif probes.mode is AutoresetMode.NEXT_STEP:
        texts, rewards, ended, _, _ = probes.step(["x"] * 4)
        assert texts[3] == "episode 2" and list(rewards) == [1, 1, 1, 0] and not ended.any()


@pytest.mark.parametrize("probes", ["Disabled"], indirect=True)
def test_what_was_begun_ahead_is_used_unless_a_seed_is_given(probes: Episodes) -> None:
    mask = np.array([True, False, False, True])
    probes.step(["end", "x", "x", "end"])
    with pytest.raises(UsageError, match="numbers 0, 3"):
        probes.step(["x"] * 4)
    assert probes.reset(options={"reset_mask": mask})[0] == ("episode 2", "x", "x", "episode 2")
    probes.step(["end", "x", "x", "end"])
    texts, infos = probes.reset(seed=7, options={"reset_mask": mask, "level": 2})
    assert texts == ("episode 4", "x", "x", "episode 4")
    assert list(infos["seed"]) == [7, 0, 0, 10] and list(infos["told"]["level"]) == [2, 0, 0, 2]


def test_one_that_fails_harms_itself_only(probes: Episodes) -> None:
    texts, rewards, ended, truncated, infos = probes.step(["x", "fail", "x", "x"])
    assert list(rewards) == [1, 0, 1, 1] and not ended.any() and list(truncated) == [False, True, False, False]
    of_it = infos["final_info"] if probes.mode is AutoresetMode.SAME_STEP else infos
    assert (of_it["boundary"][1], of_it["why"][1], of_it["scored"][1]) == ("environment", "by zero", False)
    if probes.mode is AutoresetMode.DISABLED:
        probes.reset(options={"reset_mask": truncated})
    texts = probes.step(["x"] * 4)[0]
    assert texts[1] == ("episode 2" if probes.mode is AutoresetMode.NEXT_STEP else "x")


@pytest.mark.parametrize("probes", ["NextStep", "SameStep"], indirect=True)
def test_one_that_cannot_begin_anew_is_tried_again(probes: Episodes) -> None:
    probes.step(["x", "break", "x", "x"])
    for _ in range(2):
        texts, _, _, truncated, infos = probes.step(["x"] * 4)
        assert texts[1] == "No sandbox starts." and truncated[1] and infos["boundary"][1] == "sandbox"
        assert texts[0] == "x" and not truncated[0]
    probes.envs[1].unwrapped.broken = False  # type: ignore[attr-defined]
    assert probes.step(["x"] * 4)[0][1] == "episode 2" and probes.step(["x"] * 4)[0][1] == "x"


def test_where_all_fail_the_error_is_raised(probes: Episodes) -> None:
    with pytest.raises(ZeroDivisionError):
        probes.step(["fail"] * 4)
    probes.set_attr("broken", True)
    with pytest.raises(SandboxError):
        probes.reset(seed=1)


def test_closing_does_not_wait_for_commands() -> None:
    envs = vector(2, task=GUESS, limits=Limits(command_s=600), sandbox="local")
    envs.reset(seed=1)
    envs.step_async(["sleep 600"] * 2)
    closing = threading.Thread(target=envs.close, daemon=True)
    closing.start()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    with pytest.raises(UsageError, match="closed"):
        envs.reset()


def test_a_program_ends_though_a_command_is_under_way() -> None:
    code = f"""
from mlgym.vector import vector
from mlgym.records import Limits
envs = vector(2, task={str(GUESS)!r}, limits=Limits(command_s=600), sandbox="local")
envs.reset(seed=1)
envs.step_async(["sleep 600"] * 2)
raise KeyboardInterrupt
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=WAIT_S)
    assert b"KeyboardInterrupt" in ran.stderr


def test_a_mistake_is_a_sentence(probes: Episodes) -> None:
    for wrong, said in [
        (lambda: probes.step(["x"] * 3), "3 actions for 4"),
        (lambda: probes.step_wait(), "step_async"),
        (lambda: probes.reset(seed=[1, 2]), "2 seeds for 4"),
        (lambda: probes.reset(options={"reset_mask": np.zeros(4, dtype=bool)}), "reset_mask must"),
        (lambda: probes.set_attr("broken", [1]), "1 values of broken for 4"),
        (lambda: Episodes([]), "at least one"),
        (lambda: guesses(2).step(["x"] * 2), "call reset"),
    ]:
        with pytest.raises(UsageError, match=said):
            wrong()
    probes.step_async(["x"] * 4)
    with pytest.raises(UsageError, match="step_wait"):
        probes.step(["x"] * 4)
    probes.step_wait()


plain = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=2) | st.lists(st.integers())
)
inner = st.dictionaries(st.sampled_from("xyz"), plain, max_size=2)
told = st.fixed_dictionaries({}, optional={"a": plain, "b": plain, "c": st.none() | inner, "d": inner})


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.none() | told, min_size=1, max_size=4))
def test_infos_of_any_kind_go_together_and_come_apart(infos: list[dict[str, Any] | None]) -> None:
    def apart(together: dict[str, Any], n: int) -> dict[str, Any]:
        keys = [key for key in together if not key.startswith("_") and together[f"_{key}"][n]]
        values = {key: together[key] for key in keys}
        return {key: apart(value, n) if isinstance(value, dict) else value[n] for key, value in values.items()}

    def there(info: dict[str, Any]) -> dict[str, Any]:
        given = {key: value for key, value in info.items() if value is not None}
        return {key: there(value) if isinstance(value, dict) else value for key, value in given.items()}

    together = batched(infos)
    for n, info in enumerate(infos):
        assert apart(together, n) == there(info or {})


def test_the_entry_point_is_named_by_the_registration() -> None:
    assert mlgym.env.gymnasium.spec("mlgym/battle-of-sexes-v1").vector_entry_point == "mlgym.vector:vector"
