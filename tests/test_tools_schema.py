"""Signatures as schemas, and arguments checked against them."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.tools import ToolError, schema, toolset
from mlgym.tools.schema import arguments
from mlgym.tools.session import Session

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def mix(
    session: Session,
    name: str,
    count: int = 1,
    share: float | None = None,
    loud: bool = False,
    mode: Literal["fast", "slow"] = "fast",
) -> str:
    """Mix things
    well.

    name: what to call it,
        in a few words
    count: how many
    unheard_of: nothing
    """
    return f"{session}{name}{count}{share}{loud}{mode}"


def test_schema() -> None:
    assert schema(mix) == {
        "type": "function",
        "function": {
            "name": "mix",
            "description": "Mix things well.",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "what to call it, in a few words"},
                    "count": {"type": "integer", "description": "how many"},
                    "share": {"type": "number"},
                    "loud": {"type": "boolean"},
                    "mode": {"type": "string", "enum": ["fast", "slow"]},
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        },
    }


@pytest.mark.parametrize("name", ["modern", "classic"])
def test_every_tool_and_argument_is_described(name: str) -> None:
    for tool in toolset(name).values():
        function = schema(tool)["function"]
        assert function["description"]
        assert all(each.get("description") for each in function["parameters"]["properties"].values()), function["name"]


@pytest.mark.parametrize(
    ("given_", "taken"),
    [
        ({"name": 7, "count": "12"}, {"name": "7", "count": 12}),
        ({"name": "a", "count": 3.0, "share": 1}, {"name": "a", "count": 3, "share": 1.0}),
        ({"name": "a", "share": "0.5", "loud": "True"}, {"name": "a", "share": 0.5, "loud": True}),
        ({"name": "a", "count": None, "mode": "slow"}, {"name": "a", "mode": "slow"}),
    ],
)
def test_what_can_be_taken_is(given_: dict[str, Any], taken: dict[str, Any]) -> None:
    assert arguments(mix, given_) == taken


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "`mix` needs `name` (what to call it, in a few words)"),
        ({"name": None}, "needs `name`"),
        ({"name": ["a"]}, "needs text (valid Unicode without NUL) for `name`, not ['a']"),
        ({"name": "\ud800"}, "for `name`, not '\\ud800'"),
        ({"name": "a\0b"}, "for `name`, not 'a\\x00b'"),
        ({"name": "a", "count": 1.5}, "needs a whole number for `count`, not 1.5"),
        ({"name": "a", "count": True}, "needs a whole number for `count`"),
        ({"name": "a", "count": "9" * 5000}, "needs a whole number for `count`"),
        ({"name": "a", "share": "nan"}, "needs a number for `share`"),
        ({"name": "a", "loud": 1}, "needs true or false for `loud`"),
        ({"name": "a", "mode": "odd"}, "needs 'fast' or 'slow' for `mode`, not 'odd'"),
        (
            {"name": "a", "colour": "red"},
            "takes name, count, share, loud, mode; there is no place for 'colour' = 'red'",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolError) as caught:
        arguments(mix, given_)
    assert said in str(caught.value)
    assert caught.value.status == "format"
    assert len(str(caught.value)) < 300


@given(st.dictionaries(st.sampled_from(["name", "count", "share", "loud", "mode", "x"]), JSON))
def test_arguments_fit_or_are_refused(given_: dict[str, Any]) -> None:
    kinds = {"name": str, "count": int, "share": float, "loud": bool, "mode": str}
    try:
        taken = arguments(mix, given_)
    except ToolError as error:
        assert error.status == "format"
        str(error).encode()
        assert "\n" not in str(error)
        return
    assert set(taken) == {key for key, value in given_.items() if value is not None}
    assert all(type(value) is kinds[key] for key, value in taken.items())


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
def test_values_of_the_right_type_pass_unchanged(name: str, count: int, share: float, loud: bool) -> None:
    given_ = {"name": name, "count": count, "share": share, "loud": loud}
    assert arguments(mix, given_) == given_
