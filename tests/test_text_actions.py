"""Which tool a text action means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.records import Action
from mlgym.tools import parse, toolset

CLASSIC, MODERN = toolset("classic"), toolset("modern")


def bash(text: str) -> Action:
    return Action(tool="bash", args={"command": text})


@pytest.mark.parametrize(
    ("text", "tool", "args"),
    [
        ('open "a b.py" 12\n', "open", {"path": "a b.py", "line": "12"}),
        ("  open a.py", "open", {"path": "a.py"}),
        ("goto 7", "goto", {"line": "7"}),
        ("scroll_down", "scroll_down", {}),
        ("create new.py", "create", {"path": "new.py"}),
        ("search_dir 'def f' src", "search_dir", {"term": "def f", "dir": "src"}),
        ("search_dir it's", "search_dir", {"term": "it's"}),
        ("edit 1:2\na\n\n  b\nend_of_edit\n", "edit", {"lines": "1:2", "text": "a\n\n  b\n"}),
        ("edit 1:2\nend_of_edit", "edit", {"lines": "1:2", "text": ""}),
        ("edit 1:2\n\nend_of_edit", "edit", {"lines": "1:2", "text": "\n"}),
        ("insert 4\nedit 1:2\nend_of_edit\nend_of_insert", "insert", {"line": "4", "text": "edit 1:2\nend_of_edit\n"}),
        ("validate\n", "validate", {}),
        ("submit", "submit", {}),
    ],
)
def test_classic_tools(text: str, tool: str, args: dict[str, str]) -> None:
    assert parse(text, CLASSIC) == Action(tool=tool, args=args)


@pytest.mark.parametrize("text", ["edit 5:26\n", "edit 1:2\nx\n    end_of_edit\n", "edit 1:2\nx\nend_of_insert"])
def test_edit_without_its_end_has_no_text(text: str) -> None:
    assert "text" not in parse(text, CLASSIC).args


@pytest.mark.parametrize(
    ("text", "surplus"),
    [
        ('edit "a.py" 1:2\nx\nend_of_edit', "1:2"),
        ("open a.py 1 2", "2"),
        ("validate now", "now"),
        ("open a.py\nls", "ls"),
        ("edit 1:1\nx\nend_of_edit\npython a.py", "python a.py"),
    ],
)
def test_what_has_no_place_is_kept_and_not_run(text: str, surplus: str) -> None:
    assert parse(text, CLASSIC).args["surplus"] == surplus


@pytest.mark.parametrize(
    "text", ["ls -la", "", " \n", "openssl version", "python a.py\nvalidate", "./open a", "view a"]
)
def test_anything_else_is_a_shell_command(text: str) -> None:
    assert parse(text, CLASSIC) == bash(text)


@pytest.mark.parametrize("text", ["view a.py", "validate now", "validate\nls", "ls; submit", "create a", "insert 1"])
def test_modern_text_is_for_bash(text: str) -> None:
    assert parse(text, MODERN) == bash(text)


@pytest.mark.parametrize("text", ["validate", " validate \n", "\nsubmit\n"])
def test_modern_text_tools_stand_alone(text: str) -> None:
    assert parse(text, MODERN) == Action(tool=text.strip())


@given(st.text())
def test_any_text_is_an_action(text: str) -> None:
    words = text.split(maxsplit=1)
    for tools in (CLASSIC, MODERN):
        action = parse(text, tools)
        if action.tool == "bash":
            assert action.args == {"command": text}
        else:
            assert action.tool in tools
            assert words and words[0] == action.tool


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.lists(st.text().filter(lambda line: "\n" not in line)))
def test_the_lines_of_an_edit_arrive_as_they_are(first: int, last: int, lines: list[str]) -> None:
    text = "".join(line + "\n" for line in lines if line.rstrip() != "end_of_edit")
    action = parse(f"edit {first}:{last}\n{text}end_of_edit\n", CLASSIC)
    assert action == Action(tool="edit", args={"lines": f"{first}:{last}", "text": text})


@given(st.sampled_from([name for name in CLASSIC if name not in ("edit", "insert")]), st.text())
def test_the_first_word_decides(name: str, rest: str) -> None:
    assert parse(f"{name} {rest}", CLASSIC).tool == name
    assert parse(f"x{name} {rest}", CLASSIC) == bash(f"x{name} {rest}")
