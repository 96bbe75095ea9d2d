"""Records: JSON both ways, strictness, merging."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlgym.records import Action, Attempt, Limits, Observation, Result, Step, better, merged

text = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | text, lambda v: st.lists(v, max_size=3), max_leaves=5
)


@given(st.builds(Action, tool=text, args=st.dictionaries(text, values, max_size=3), thought=text, id=text, call=text))
def test_an_action_survives_json(action: Action) -> None:
    assert Action.model_validate_json(action.model_dump_json()) == action


def test_steps_and_results_survive_json_even_with_nan() -> None:
    step = Step(n=1, action=Action(tool="bash"), observation=Observation(text="\u2028é", validation={"r2": math.inf}))
    assert Step.model_validate_json(step.model_dump_json()) == step
    result = Result(ended="steps", attempts=(Attempt(n=0, step=1, kind="end", validation={"r2": math.nan}),))
    again = Result.model_validate_json(result.model_dump_json())
    assert math.isnan((again.attempts[0].validation or {})["r2"])


def test_records_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        Limits(steps="50")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Limits(stepz=50)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Limits().steps = 3  # type: ignore[misc]


def test_better_follows_the_direction_and_never_takes_nan() -> None:
    assert better(2, 1, "maximize") and better(1, 2, "minimize")
    assert not better(1, 1, "maximize") and not better(math.nan, 1, "maximize")


def test_merged_lays_tables_on_tables() -> None:
    base = {"a": {"b": 1, "c": [1]}, "d": 1}
    assert merged(base, {"a": {"c": [2]}, "e": 3}) == {"a": {"b": 1, "c": [2]}, "d": 1, "e": 3}
    assert merged(base, {"a": {}}) == {**base, "a": {}}
    assert base == {"a": {"b": 1, "c": [1]}, "d": 1}
