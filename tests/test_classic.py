"""The classic set, in real shells."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.records import Action, Attempt, Limits, Observation
from mlgym.sandbox import SandboxSpec, open_shell
from mlgym.tools import Session, call, footer, lint_binds, parse, toolset
from mlgym.tools.lint_inside import brought, problems
from mlgym.tools.windows import join, split, window

TOOLS = toolset("classic")
NEEDS_OPEN = ["goto 1", "scroll_down", "scroll_up", "edit 1:1\nx\nend_of_edit", "insert 1\nx\nend_of_insert"]
Act = Callable[[str], Observation]


def graded(kind: str) -> Attempt:
    return Attempt(n=0, step=1, kind="validate", valid=True, validation={"r2": 0.9})


@pytest.fixture
def session(backend: str, tmp_path: Path) -> Iterator[Session]:
    (tmp_path / "workspace").mkdir()
    with open_shell(backend, SandboxSpec(tmp_path / "workspace", binds=lint_binds())) as shell:
        yield Session(shell, Limits(command_s=20), graded, {"r2": 0.8})


@pytest.fixture
def act(session: Session) -> Act:
    return lambda text: call(session, parse(text, TOOLS), TOOLS)


def write(session: Session, name: str, *lines: str) -> None:
    session.shell.write(name, join(lines).encode())


def shown(seen: Observation) -> tuple[str, ...]:
    """The first and the last line that a window shows, between the lines that say what is above and below."""
    lines = [line for line in seen.text.split("\n") if not line.startswith("[File: ")]
    return tuple(line for line in (*lines[:2], *lines[-2:]))


@pytest.mark.parametrize("text", [*NEEDS_OPEN, "search_file x"])
def test_there_must_be_an_open_file(act: Act, text: str) -> None:
    assert act(text).text == "No file is open; open one first, with `open <path>`."


def test_the_window_moves(session: Session, act: Act) -> None:
    write(session, "long", *map(str, range(1, 3001)))
    top = ("1:1", "2:2", "1000:1000", "(2000 more lines below)")
    assert shown(act("open long")) == top
    assert shown(act("scroll_down")) == (
        "(998 more lines above)",
        "999:999",
        "1998:1998",
        "(1002 more lines below)",
    )
    assert shown(act("scroll_up")) == top
    assert shown(act("scroll_up")) == top
    assert shown(act("goto 1500"))[:2] == ("(1334 more lines above)", "1335:1335")
    assert shown(act('open "long" 1500'))[:2] == ("(1334 more lines above)", "1335:1335")
    assert shown(act("goto 2990")) == ("(2000 more lines above)", "2001:2001", "2999:2999", "3000:3000")
    assert shown(act("scroll_down"))[0] == "(2000 more lines above)"
    assert act("goto 3001").text.startswith("There is no line 3001: ")


@given(st.integers(0, 60), st.integers(-5, 70), st.integers(10, 40))
def test_a_window_stays_in_the_file_and_says_the_rest(total: int, line: int, size: int) -> None:
    text = window("/f", [f"line {number}" for number in range(1, total + 1)], line, size).split("\n")
    assert text[0] == f"[File: /f ({total} lines total)]"
    numbers = [int(each.partition(":")[0]) for each in text[1:] if each[0] != "("]
    assert numbers == list(range(numbers[0], numbers[-1] + 1) if numbers else [])
    above = numbers[0] - 1 if numbers else 0
    below = total - numbers[-1] if numbers else 0
    assert (f"({above} more lines above)" in text) == (above > 0)
    assert (f"({below} more lines below)" in text) == (below > 0)
    assert len(numbers) >= min(total, size - 1)
    assert len(numbers) <= size


@given(st.text())
def test_lines_make_the_text_again(text: str) -> None:
    assert join(split(text)) == (text if text.endswith("\n") or not text else text + "\n")


def test_open_refuses_and_warns(session: Session, act: Act) -> None:
    write(session, "f", "one", "two")
    session.shell.write("photo.png", b"\x89PNG\r\n\x1a\n\0\0")
    assert "not a text file" in act("open photo.png").text
    assert "Is a directory" in act("open .").text
    assert "No such file" in act("open nothing").text
    assert act("open f two").text == "`open` needs a whole number for `line`, not 'two'."
    assert session.state == {}
    seen = act("open f 9")
    assert seen.text.split("\n")[0].endswith("/f has 2 lines, so line 2 is shown.")
    assert seen.text.endswith("1:one\n2:two")
    assert act("open f 0").text.split("\n")[0].endswith("so line 1 is shown.")


def test_create_opens_and_spares_what_is_there(session: Session, act: Act) -> None:
    assert act("create new.py").text.endswith("/new.py (1 lines total)]\n1:")
    write(session, "new.py", "x = 1")
    seen = act("create new.py")
    assert "exists already" in seen.text
    assert seen.text.endswith("1:x = 1")


def test_edit_and_insert(session: Session, act: Act) -> None:
    write(session, "f", "one", "two", "three")
    act("open f")
    seen = act("edit 2:3\nTWO\n\n  THREE\nend_of_edit\n")
    assert "(4 lines total)]\n1:one\n2:TWO\n3:\n4:  THREE\nThe file was changed." in seen.text
    assert "\n4:\n5:  THREE\n" in act("insert 3\n\nend_of_insert").text
    assert act("insert 0\nzero\nend_of_insert").status == "ok"
    assert act("edit 2:4\nend_of_edit").status == "ok"
    assert session.shell.read("f") == b"zero\n\n  THREE\n"
    native = Action(tool="edit", args={"lines": "1:1", "text": "a\nb"})
    assert call(session, native, TOOLS).status == "ok"
    assert session.shell.read("f") == b"a\nb\n\n  THREE\n"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("edit 1:1\nx\n", "format"),
        ("edit 1:1\nx\n  end_of_edit", "format"),
        ("edit 1\nx\nend_of_edit", "format"),
        ('edit "f" 1:1\nx\nend_of_edit', "format"),
        ("edit 0:1\nx\nend_of_edit", "error"),
        ("edit 2:1\nx\nend_of_edit", "error"),
        ("insert -1\nx\nend_of_insert", "error"),
        ("insert\nx\nend_of_insert", "format"),
    ],
)
def test_a_wrong_edit_changes_nothing(session: Session, act: Act, text: str, status: str) -> None:
    write(session, "f", "one", "two")
    act("open f")
    assert act(text).status == status
    assert session.shell.read("f") == b"one\ntwo\n"


def test_an_edit_that_breaks_a_python_file_is_refused_with_both_windows(session: Session, act: Act) -> None:
    write(session, "f.py", *(f"x{number} = {number}" for number in range(1, 31)))
    act("open f.py")
    before = act("edit 15:15\n  y = 1\nend_of_edit")
    lines = before.text.split("\n")
    rule = "-" * 49
    assert before.status == "error"
    assert lines[1:3] == ["ERRORS:", "- E999 IndentationError: unexpected indent"]
    would, was = [lines[n + 1 : m] for n, m in zip(places(lines, rule)[::2], places(lines, rule)[1::2], strict=True)]
    assert (would[1:3], would[-1]) == (["(8 more lines above)", "9:x9 = 9"], "(11 more lines below)")
    assert "15:  y = 1" in would
    assert (was[1:3], was[-1]) == (["(9 more lines above)", "10:x10 = 10"], "(10 more lines below)")
    assert session.shell.read("f.py").count(b"\n") == 30
    assert act("insert 3\nz = undefined\nend_of_insert").text.count("F821 undefined name 'undefined'") == 1


def places(lines: list[str], line: str) -> list[int]:
    return [place for place, each in enumerate(lines) if each == line]


def test_errors_that_were_there_do_not_stop_an_edit_elsewhere(session: Session, act: Act) -> None:
    write(session, "f.py", "a = 1", "b = c", "d = e")
    act("open f.py")
    assert act("edit 1:1\na = 2\na = 3\nend_of_edit").status == "ok"
    assert "F821 undefined name 'e'" in act("edit 4:4\nd = e + 1\nend_of_edit").text
    assert act("edit 4:4\nd = '\\d'\nend_of_edit").status == "ok"


def test_other_files_are_not_checked(session: Session, act: Act) -> None:
    write(session, "f.yaml", "a: 1")
    act("open f.yaml")
    assert act("edit 1:1\n  )\nend_of_edit").status == "ok"


def test_the_check_does_not_import_what_lies_in_the_workspace(session: Session, act: Act) -> None:
    for name in ("json", "ast", "pyflakes", "pycodestyle"):
        write(session, f"{name}.py", "raise SystemExit(0)")
    write(session, "f.py", "a = 1")
    act("open f.py")
    assert "F821" in act("edit 1:1\na = b\nend_of_edit").text


def test_a_file_that_cannot_be_written_says_so(session: Session, act: Act) -> None:
    write(session, "f", "one")
    if session.shell.run("chmod 444 f; [ -w f ]", 10).code == 0:
        pytest.skip("this user may write everything")
    act("open f")
    seen = act("edit 1:1\ntwo\nend_of_edit")
    assert (seen.status, seen.text.rpartition(": ")[2]) == ("error", "Permission denied.")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = 1\n", []),
        ("def f(a, a):\n    pass\n", ["F831 duplicate argument 'a' in function definition"]),
        ("__all__ = ['g']\n", ["F822 undefined name 'g' in __all__"]),
        ("if 1:\n  x = 1\n", ["E111 indentation is not a multiple of 4"]),
        ("def f():\n    # a\n  # b\n    x = 1\n", []),
        ("x = y  # noqa\n", []),
        ("x = y  # noqa: F821\n", []),
        ("x = y  # noqa: E501\n", ["F821 undefined name 'y'"]),
        ("x = (\n", ["E999 SyntaxError: '(' was never closed"]),
        ("a\0", ["E9"]),
        ("\udcff = 1", ["E9"]),
        ("(" * 5000, ["E9"]),
    ],
)
def test_what_the_check_finds(source: str, found: list[str]) -> None:
    said = [text for _, text in problems(source)]
    assert len(said) == len(found)
    assert all(text.startswith(start) for text, start in zip(said, found, strict=True))


@given(st.lists(st.sampled_from(["a = 1", "b = c", "  d = 2", "if a:", "    pass", ")", "", "\r", "\x0c"])), st.data())
def test_no_change_brings_no_problem(lines: list[str], data: st.DataObject) -> None:
    text = join(lines)
    start = data.draw(st.integers(0, len(lines)))
    assert brought(text, text, start, start, 0) == []


def test_search(session: Session, act: Act) -> None:
    write(session, "src/a.py", "import os", "def f():", "    return os")
    write(session, "src/b c.py", "os = 1")
    write(session, ".hidden/c.py", "import os")
    root = session.shell.workspace
    assert act("search_dir os").text == (
        f'Found 3 matches for "os" in {root}:\n{root}/src/a.py (2 matches)\n{root}/src/b c.py (1 matches)'
    )
    assert act('search_dir "def f" src').text.startswith(f'Found 1 matches for "def f" in {root}/src:')
    assert act("search_dir nowhere").text == f'Nothing in {root} matches "nowhere".'
    assert act("search_dir os nothing").status == "error"
    assert act(r"search_dir '\('").status == "error"
    assert act("search_file os src/a.py").text == (
        f'Found 2 matches for "os" in {root}/src/a.py:\nLine 1:import os\nLine 3:    return os'
    )
    act("open src/a.py")
    assert act("search_file -- src/a.py").text.startswith("Nothing in ")
    assert act("search_file return").text.endswith("Line 3:    return os")
    assert act("find_file *.py src").text.endswith(f"in {root}/src:\n{root}/src/a.py\n{root}/src/b c.py")


def test_a_search_that_finds_too_much_is_refused(session: Session, act: Act) -> None:
    session.shell.run("for i in $(seq 101); do echo x > f$i; echo x >> all; done", 20)
    for text in ("search_dir x", "search_file x all", "find_file f*"):
        seen = act(text)
        assert (seen.status, seen.text.startswith("More than 100 ")) == ("error", True)


def test_validate_submit_and_the_shell(session: Session, act: Act) -> None:
    assert act("mkdir a; cd a; pwd").text == f"{session.shell.workspace}/a\n"
    assert act("validate").validation == {"r2": 0.9}
    assert act("submit").status == "end"


def test_footer(session: Session, act: Act) -> None:
    root = session.shell.workspace
    assert footer(session, 1, 49) == (
        f"(Current Step: 1, Remaining Steps: 49)\n(Open file: n/a)\n(Current directory: {root})\nbash-$"
    )
    write(session, "d/f", "x")
    act("open d/f")
    act("cd d")
    assert f"(Open file: {root}/d/f)\n(Current directory: {root}/d)" in footer(session, 2, None)
