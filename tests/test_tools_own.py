"""Sets of tools that a user adds to: what is taken, what is refused in a sentence, and what a broken tool does."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgym.errors import UsageError
from mlgym.grid import from_flags, plan
from mlgym.protocol import agree, lock
from mlgym.records import Action, Attempt, EpisodeSpec, Limits
from mlgym.sandbox import SandboxSpec, open_shell
from mlgym.tools import Session, call, schema, toolset

HERE = "tests.test_tools_own" if __name__.startswith("tests.") else "test_tools_own"


def word_count(session: Session, path: str, least: int = 1) -> str:
    """Count the words of a file.

    path: the file
    least: letters that a word has at least
    """
    text = session.shell.read(path).decode()
    return str(sum(len(word) >= least for word in text.split()))


def broken(session: Session) -> str:
    """Fail."""
    raise ZeroDivisionError("by\nzero")


def view(session: Session, path: str) -> str:
    """Take a name that is taken."""
    return path


def undocumented(session: Session) -> str:
    return ""


def unannotated(session, path) -> str:  # type: ignore[no-untyped-def]
    """Take no schema."""
    return ""


def numeric(session: Session) -> int:
    """Give what is no text."""
    return 1


def alone() -> str:
    """Take no session."""
    return ""


def listed(session: Session, paths: list[str]) -> str:
    """Take what has no schema here."""
    return ""


NOTHING = 3


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with open_shell("local", SandboxSpec(tmp_path)) as shell:
        yield Session(shell, Limits(), lambda kind: Attempt(n=0, step=1, kind=kind), {})


def test_a_tool_of_ones_own_is_one_function(session: Session) -> None:
    tools = toolset(f"modern+{HERE}:word_count")
    assert list(tools) == [*toolset("modern"), "word_count"]
    described = schema(tools["word_count"])["function"]
    assert described["description"] == "Count the words of a file."
    assert described["parameters"]["properties"]["least"] == {
        "type": "integer",
        "description": "letters that a word has at least",
    }
    session.shell.write("f", b"a bb ccc")
    assert call(session, Action(tool="word_count", args={"path": "f", "least": "2"}), tools).text == "2"
    assert call(session, Action(tool="word_count", args={"path": "none"}), tools).status == "error"


def test_what_its_code_raises_is_an_observation(session: Session) -> None:
    seen = call(session, Action(tool="broken"), toolset(f"classic+{HERE}:broken+{HERE}:word_count"))
    assert (seen.status, seen.text) == ("error", "The tool `broken` failed: ZeroDivisionError: by\nzero")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("nothing", "A tool of your own is named as package.module:function, not 'nothing'."),
        ("", "A tool of your own is named as package.module:function, not ''."),
        ("no.such:thing", "The tool 'no.such:thing' cannot be imported: No module named 'no'."),
        (f"{HERE}:missing", "cannot be imported"),
        *((f"{HERE}:{name}", "should be a function of the session and of str, int") for name in (
            *("NOTHING", "undocumented", "unannotated", "numeric", "alone", "listed"),
        )),
        (f"{HERE}:view", "has two tools 'view': give your function another name."),
        (f"{HERE}:word_count+{HERE}:word_count", "has two tools 'word_count'"),
    ],
)  # fmt: skip
def test_what_is_no_tool_is_refused_in_a_sentence(more: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        toolset(f"modern+{more}")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_lock_knows_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mytool.py").write_text('def t(session) -> str:\n    """Do."""\n    return "1"\n')
    before = lock([planned(tools="modern+mytool:t")])
    (tmp_path / "mytool.py").write_text('def t(session) -> str:\n    """Do."""\n    return "two"\n')
    importlib.reload(sys.modules["mytool"])
    after = lock([planned(tools="modern+mytool:t")])
    assert agree(before, after) == ["blotto: the sources of tools of your own differ"]
    assert agree(before, before) == [] and "own" not in lock([planned()])["task_protocol"]["tasks"]["blotto"]["tools"]


def planned(**fields: Any) -> EpisodeSpec:
    return plan(from_flags({"tasks": ["blotto"], "agents": [{"agent": "nop"}], **fields})).specs[0]


def test_a_grid_takes_them() -> None:
    assert planned(tools=f"modern+{HERE}:word_count").tools == f"modern+{HERE}:word_count"
    with pytest.raises(UsageError, match=r"tools: should be modern or classic, with \+package.module:function .*'x'\)"):
        planned(tools="modern+x")
    with pytest.raises(UsageError, match="The protocol v1 fixes tools \\(modern\\)"):
        planned(tools=f"modern+{HERE}:word_count", protocol="v1")
