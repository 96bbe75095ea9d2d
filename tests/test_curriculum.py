"""Which tasks are drawn: by weights, by learnability, and the same again from a stored state."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.curriculum import Curriculum, bucket
from mlgym.errors import UsageError


def test_draws_follow_the_weights() -> None:
    drawn = Curriculum(["a", "b", "c"], {"a": 3.0, "c": 0.0}).draw(4000)
    counts = Counter(name for name, _ in drawn)
    assert counts["c"] == 0 and counts["a"] / counts["b"] == pytest.approx(3, rel=0.15)
    assert len({seed for _, seed in drawn}) > 3900


def test_an_open_seed_is_drawn() -> None:
    names = [name for name, _ in Curriculum(["maze-s*-d0.4", "maze-s3..5-d1"]).draw(200)]
    assert all(name.startswith("maze-s") and "*" not in name for name in names)
    assert {name for name in names if name.endswith("-d1")} == {f"maze-s{seed}-d1" for seed in (3, 4, 5)}
    assert len({name for name in names if name.endswith("-d0.4")}) > 80


def test_what_always_or_never_succeeds_is_drawn_less() -> None:
    curriculum = Curriculum(["easy", "right", "hard"], learnability=True)
    assert list(curriculum.chances().values()) == pytest.approx([1 / 3] * 3)
    for _ in range(30):
        curriculum.update("easy", [1.0] * 8)
        curriculum.update("right", [1.0, -1.0] * 4)
        curriculum.update("hard", [-1.0] * 8)
    chances = curriculum.chances()
    assert chances["right"] > 0.8 and chances["easy"] == pytest.approx(chances["hard"])
    assert min(chances.values()) > 0.2 / 3 and sum(chances.values()) == pytest.approx(1)


def test_made_tasks_of_one_difficulty_share_an_estimate_which_forgets() -> None:
    curriculum = Curriculum(["maze-s*-d0.4", "maze-s*-d0.9"], learnability=True)
    curriculum.update("maze-s7-d0.4", [1.0] * 8)
    assert bucket("maze-s7-d0.4") == "maze-s*-d0.4" == bucket("maze-s0..9-d0.4")
    assert curriculum.rate("maze-s1-d0.4") > 0.9 and curriculum.rate("maze-s1-d0.9") == 0.5
    for _ in range(20):
        curriculum.update("maze-s8-d0.4", [0.0] * 8)
    assert curriculum.rate("maze-s1-d0.4") < 0.1


def test_an_episode_that_was_not_scored_says_nothing() -> None:
    curriculum = Curriculum(["a"])
    curriculum.update("a", [None, None])
    assert curriculum.rate("a") == 0.5 and curriculum.state()["seen"] == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1, 2)), max_size=8), st.integers(0, 9), st.integers(0, 5))
def test_a_stored_state_goes_on_the_same(updates: list[tuple[str, float]], drawn: int, seed: int) -> None:
    one, other = (Curriculum("abc", learnability=True, seed=seed) for _ in range(2))
    one.draw(drawn)
    for task, reward in updates:
        one.update(task, [reward])
    other.restore(json.loads(json.dumps(one.state())))
    assert other.draw(5) == one.draw(5) and other.state() == one.state()


def test_draws_from_a_seed_leave_the_sequence_alone() -> None:
    one, other = Curriculum("abc"), Curriculum("abc")
    assert one.draw(6, seed=3) == one.draw(6, seed=3) != one.draw(6, seed=4)
    assert one.draw(6) == other.draw(6)


@pytest.mark.parametrize(
    ("names", "weights", "said"),
    [
        ([], None, "needs tasks"),
        (["a"], {"a": 0.0}, "above 0"),
        (["a"], {"b": 1.0}, "'b'"),
        (["a", "b"], {"b": -1.0}, "below 0"),
        (["a-s5..4-d1"], None, "lower one first"),
    ],
)
def test_a_mistake_is_a_sentence(names: list[str], weights: dict[str, float] | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Curriculum(names, weights)
