"""The modern set, in real shells, and how a call can fail."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgym.errors import GradingError, SandboxError, UsageError
from mlgym.records import Action, Attempt, Limits, Observation
from mlgym.sandbox import SandboxSpec, open_shell
from mlgym.tools import Session, call, lint_binds, parse, toolset
from mlgym.tools.shell import longest

TOOLS = toolset("modern")
VALID = Attempt(n=0, step=1, kind="validate", valid=True, validation={"r2": 0.9}, test={"r2": 0.1})
Do = Callable[..., Observation]


def graded(kind: str) -> Attempt:
    return VALID.model_copy(update={"kind": kind})


@pytest.fixture
def session(backend: str, tmp_path: Path) -> Iterator[Session]:
    (tmp_path / "workspace").mkdir()
    with open_shell(backend, SandboxSpec(tmp_path / "workspace", binds=lint_binds())) as shell:
        yield Session(shell, Limits(command_s=20), graded, {"r2": 0.8})


@pytest.fixture
def do(session: Session) -> Do:
    return lambda tool, **args: call(session, Action(tool=tool, args=args, id="7"), TOOLS)


def test_a_set_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="There is no set of tools 'ancient'; there are modern and classic"):
        toolset("ancient")


def test_bash_keeps_its_directory_and_says_the_exit_code(do: Do) -> None:
    assert do("bash", command="mkdir -p a/b; cd a/b; X=1") == Observation(text="", tool="bash", id="7")
    seen = do("bash", command="pwd; echo $X; printf end; exit_code() { return 3; }; exit_code")
    assert seen.text.endswith("/workspace/a/b\n1\nend\n(Exit code 3.)")
    assert seen.status == "error"


def test_bash_stops_at_its_timeout_and_keeps_what_was_printed(do: Do) -> None:
    seen = do("bash", command="echo before; sleep 30", timeout=0.3)
    assert seen.status == "timeout"
    assert seen.text.startswith("before\n(Stopped after 0.3")
    assert do("bash", command="echo on").text == "on\n"
    assert do("bash", command="ls", timeout=0).status == "format"


def test_the_limit_of_the_task_bounds_the_timeout(session: Session, do: Do) -> None:
    session.limits = Limits(command_s=0.3)
    assert do("bash", command="sleep 30", timeout=1000).status == "timeout"
    assert do("bash", command="sleep 30").status == "timeout"


def test_bash_says_that_the_shell_was_replaced_and_output_cut(do: Do) -> None:
    seen = do("bash", command="X=1; echo bye; exit 0")
    assert "bye\n(The shell ended and was started anew in " in seen.text
    assert "left out" in do("bash", command="seq 100000").text


def test_files_are_written_and_shown(do: Do) -> None:
    made = do("create", path="src/new.txt", content="one\ntwo\nthree")
    assert made.text.endswith("/workspace/src/new.txt (3 lines).")
    whole = do("view", path="src/new.txt").text
    assert whole.endswith("/workspace/src/new.txt (3 lines total)]\n1:one\n2:two\n3:three")
    do(
        "bash", command="[ -e ~/workspace ] || { mkdir ~/workspace; cp -r src ~/workspace; }"
    )  # where the workspace is not in the home
    part = do("view", path="~/workspace/src/new.txt", start="2", end=2).text
    assert part.endswith("total)]\n(1 more lines above)\n2:two\n(1 more lines below)")
    assert do("bash", command="cat src/new.txt").text == "one\ntwo\nthree"


def test_a_view_has_a_thousand_lines_at_most(do: Do) -> None:
    do("bash", command="seq 3000 > long")
    lines = do("view", path="long", start=500).text.split("\n")
    assert (lines[1], lines[2], lines[-2], lines[-1]) == (
        "(499 more lines above)",
        "500:500",
        "1499:1499",
        "(1501 more lines below)",
    )
    assert do("view", path="long", start=3001).text == "`view` cannot start at line 3001: long has 3000 lines."
    assert do("view", path="long", start=9, end=8).status == "error"


def test_an_empty_file_is_shown(do: Do) -> None:
    do("create", path="empty", content="")
    assert do("view", path="empty").text.endswith("/empty (0 lines total)]")


def test_str_replace_wants_exactly_one_place(do: Do) -> None:
    do("create", path="f", content="a\nb\na b\n")
    many = do("str_replace", path="f", old="a", new="c")
    assert many.text == "The text in `old` occurs 2 times in f, at lines 1, 3; give more of it."
    assert "does not contain" in do("str_replace", path="f", old="z", new="c").text
    assert do("str_replace", path="f", old="", new="c").status == "format"
    assert do("str_replace", path="f", old="\na b", new="\nx\ny").text.endswith("1:a\n2:b\n3:x\n4:y")
    assert do("bash", command="cat f").text == "a\nb\nx\ny\n"


def test_str_replace_keeps_line_ends_and_foreign_bytes(do: Do) -> None:
    do("bash", command=r"printf 'a\r\nb\r\n\xff\n' > f")
    assert do("str_replace", path="f", old="a\nb", new="c\nd").status == "ok"
    assert do("bash", command="od -An -tx1 f").text.split() == ["63", "0d", "0a", "64", "0d", "0a", "ff", "0a"]


def test_insert_by_line(do: Do) -> None:
    do("create", path="f", content="one\ntwo\n")
    assert do("insert", path="f", line=0, text="zero").text.endswith("1:zero\n2:one\n3:two")
    assert do("insert", path="f", line=3, text="three\nfour\n").text.endswith("3:two\n4:three\n5:four")
    assert do("insert", path="f", line=6, text="x").text == "`insert` cannot insert after line 6: f has 5 lines."


@pytest.mark.parametrize(
    ("path", "said"),
    [("nothing", "No such file"), (".", "Is a directory"), ("binary", "is not a text file (2 bytes)"), ("pipe", "")],
)
def test_what_cannot_be_shown(do: Do, path: str, said: str) -> None:
    do("bash", command=r"printf 'a\0' > binary; mkfifo pipe")
    seen = do("view", path=path)
    assert seen.status == "error"
    assert said in seen.text
    assert "\n" not in seen.text


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Action(tool="fly"), "There is no tool 'fly'; the tools are bash, view, create"),
        (Action(tool="\ud800"), "There is no tool '\ufffd'"),
        (Action(tool="view"), "`view` needs `path` (the file, absolute, from ~, or relative to the shell's directory)"),
        (Action(tool="view", args={"path": "a", "depth": 1}), "there is no place for 'depth' = 1."),
        (Action(tool="view", args={"path": "a", "start": "x"}), "`view` needs a whole number for `start`, not 'x'."),
        (Action(tool="bash", args={"command": "a\0b"}), "`bash` needs text (valid Unicode without NUL)"),
    ],
)
def test_a_malformed_call_is_an_observation(session: Session, action: Action, said: str) -> None:
    seen = call(session, action, TOOLS)
    assert seen.status == "format"
    assert said in seen.text


def test_validate_shows_both_scores_and_no_test_score(do: Do) -> None:
    seen = do("validate")
    assert seen.text == "Baseline scores: {'r2': 0.8}\nYour scores: {'r2': 0.9}"
    assert (seen.validation, seen.status) == ({"r2": 0.9}, "ok")
    assert do("bash", command="true").validation is None


def test_validate_says_why_there_is_no_score(session: Session, do: Do) -> None:
    session.grade = lambda kind: Attempt(n=1, step=2, kind="validate", why="'out.csv' is missing.")
    seen = do("validate")
    assert seen.text == "There is no score: 'out.csv' is missing.\nBaseline scores: {'r2': 0.8}"
    assert (seen.validation, seen.status) == (None, "error")


def test_submit_ends_the_episode(session: Session, do: Do) -> None:
    assert do("submit").status == "end"
    assert session.ended


def test_faults_of_the_infrastructure_are_raised(session: Session, do: Do) -> None:
    def broken(kind: str) -> Attempt:
        raise GradingError("The grader is gone.")

    session.grade = broken
    with pytest.raises(GradingError):
        do("validate")


def test_a_shell_that_is_gone_is_raised(tmp_path: Path) -> None:
    shell = open_shell("local", SandboxSpec(tmp_path))
    with shell:
        session = Session(shell, Limits(), graded, {})
    with pytest.raises(SandboxError):
        call(session, Action(tool="view", args={"path": "a"}), TOOLS)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([*TOOLS, "edit", ""]).filter(lambda name: name != "bash"),
    st.dictionaries(
        st.sampled_from(["path", "start", "end", "content", "old", "new", "line", "text"]),
        st.one_of(st.none(), st.integers(-2, 5), st.text(max_size=8), st.just("f"), st.lists(st.integers())),
    ),
)
def test_no_call_raises(session: Session, tool: str, args: dict[str, Any]) -> None:
    args = {key: "f" if key == "path" and value != "f" and "/" in str(value) else value for key, value in args.items()}
    seen = call(session, Action(tool=tool, args=args), TOOLS)
    seen.text.encode()
    session.ended = False


def test_text_goes_to_bash(session: Session, do: Do) -> None:
    assert do("bash", command="true").status == "ok"
    assert call(session, parse("for x in a b\ndo\n  echo $x\ndone\n", TOOLS), TOOLS).text == "a\nb\n"
    assert call(session, parse("validate", TOOLS), TOOLS).validation == {"r2": 0.9}


@pytest.mark.parametrize(
    ("command", "trains"),
    [
        ("python train.py", True),
        ("cd src && /opt/env/bin/python3.12 -u train.py > log 2>&1", True),
        ("CUDA_VISIBLE_DEVICES=0 torchrun --nproc_per_node 2 train.py", True),
        ("echo a; (python3 <<'E'\nprint(1)\nE\n)", True),
        ("cat python.py", False),
        ("./pythonic && ls /usr/lib/python3/dist-packages", False),
        ("bash train.sh", False),
        ("", False),
    ],
)
def test_a_command_that_starts_python_has_the_longer_limit(command: str, trains: bool) -> None:
    assert longest(command, Limits(command_s=25, training_s=1800)) == (1800 if trains else 25)
    assert longest(command, Limits(command_s=25)) == 25


def test_an_ordinary_command_is_stopped_where_a_training_command_goes_on(session: Session) -> None:
    session.limits = Limits(command_s=0.3, training_s=20)
    tools = toolset("modern")
    assert call(session, Action(tool="bash", args={"command": "sleep 9"}), tools).status == "timeout"
    training = "python3 -c 'import time; time.sleep(0.6); print(7)'"
    assert call(session, Action(tool="bash", args={"command": training}), tools).text == "7\n"
