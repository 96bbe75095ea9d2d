"""Text actions of any form: an action always comes out, what was written comes back, only ToolError is raised."""

import shlex
import string

import pytest
from fuzz import fuzz
from hypothesis import strategies as st

from mlgym.agents.fences import NotSpoken, spoken
from mlgym.records import Action
from mlgym.tools import ToolError, parse, toolset
from mlgym.tools.schema import arguments, parameters
from mlgym.tools.text import BLOCKS, SURPLUS

SETS = {name: toolset(name) for name in ("classic", "modern")}
NAMES = sorted({name for tools in SETS.values() for name in tools})
SHARDS = [*NAMES, *BLOCKS.values(), "'", '"', "\\", "\n", "\r", "\0", " ", "\t", "1:2", "```", "bash", "\x85", "\u2028"]
TEXT = st.lists(st.sampled_from(SHARDS) | st.text(max_size=5), max_size=12).map("".join)
WORD = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), min_size=1, max_size=8)
LINE = st.text(st.characters(blacklist_characters="\n"), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def place() -> None:
    """Nothing is shared."""


def tried(action: Action, name: str) -> None:
    """The action's arguments fit its tool, or a ToolError says in a sentence why not."""
    tool = SETS[name].get(action.tool)
    if tool is None:
        return
    try:
        given = arguments(tool, action.args)
    except ToolError as error:
        assert str(error).endswith(".") and "\n" not in str(error) and str(error).isprintable()
        str(error).encode()
    else:
        known = parameters(tool)
        assert set(given) <= set(known) and {each.name for each in known.values() if each.required} <= set(given)
        assert all(type(value) is known[key].type for key, value in given.items())


@fuzz(100, text=TEXT)
def test_any_text_is_an_action_of_either_set(place: None, text: str) -> None:
    for name, tools in SETS.items():
        action = parse(text, tools)
        assert action == parse(text, tools)
        tried(action, name)
        if action.tool == "bash":
            assert action == Action(tool="bash", args={"command": text})
        else:
            assert action.tool in tools


@fuzz(
    200, name=st.sampled_from(NAMES), given=st.dictionaries(st.sampled_from(["path", "line", "text", "dir", "x"]), JSON)
)
def test_any_arguments_fit_or_are_refused(place: None, name: str, given: dict[str, object]) -> None:
    for kind in SETS:
        tried(Action(tool=name, args=given), kind)


@fuzz(80, data=st.data())
def test_a_classic_command_comes_back(place: None, data: st.DataObject) -> None:
    """Any words, quoted as a shell would, and any lines of a block."""
    name = data.draw(st.sampled_from(sorted(SETS["classic"])))
    names = list(parameters(SETS["classic"][name]))
    args: dict[str, str] = {}
    block = ""
    if name in BLOCKS:
        lines = data.draw(st.lists(LINE.filter(lambda line: line.rstrip() != BLOCKS[name]), max_size=4))
        args[names.pop()] = "".join(line + "\n" for line in lines)
        block = "\n" + args["text"] + BLOCKS[name]
    words = data.draw(st.lists(WORD, max_size=len(names)))
    args |= dict(zip(names, words, strict=False))
    text = " ".join([name, *map(shlex.quote, words)]) + block
    assert parse(text, SETS["classic"]) == Action(tool=name, args=args)


@fuzz(80, name=st.sampled_from(sorted(SETS["classic"])), words=st.lists(WORD, min_size=4, max_size=6))
def test_words_too_many_are_kept_and_refused(place: None, name: str, words: list[str]) -> None:
    action = parse(" ".join([name, *map(shlex.quote, words)]), SETS["classic"])
    assert SURPLUS in action.args
    with pytest.raises(ToolError):
        arguments(SETS["classic"][name], action.args)


@fuzz(
    200, text=st.lists(st.sampled_from(["```", "````", "```python", "\n", " ", "ls"]) | TEXT, max_size=12).map("".join)
)
def test_any_reply_has_a_command_or_a_reason(place: None, text: str) -> None:
    for strict in (False, True):
        try:
            found = spoken(text, strict)
        except NotSpoken as error:
            assert str(error)
        else:
            assert found.command.strip() and all(line in text for line in found.command.split("\n"))


@fuzz(60, lines=st.lists(st.text(string.printable.replace("`", "").replace("\n", ""), max_size=20), min_size=1))
def test_a_fenced_command_comes_back(place: None, lines: list[str]) -> None:
    command = "\n".join(lines)
    if command.strip():
        assert spoken(f"I think.\n```bash\n{command}\n```\n").command == command
