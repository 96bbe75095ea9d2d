"""Recorded episodes of the original, replayed: what its file tools showed is shown again, to the letter.

The starting files are taken from the first whole window on each; programs are not run. Left out are the edits of files
that the original had made read-only: it said that they were made, and here the rights of user 0 would make them.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgym.records import Attempt, Limits
from mlgym.sandbox import SandboxSpec, open_shell
from mlgym.tools import Session, call, lint_binds, parse, toolset

REFERENCE = os.environ.get("MLGYM_REFERENCE", "")
TOOLS = toolset("classic")
FILE_TOOLS = set(TOOLS) - {"validate", "submit"}
SHELL = {"cd", "cp", "mv", "rm", "mkdir"}
READ_ONLY = ("Permission denied", "read-only file")
HOME = "/home/agent"
WINDOW = re.compile(r"\[File: (\S+) \((\d+) lines total\)\]")
LETTERS = re.compile(r"\d+:|\[File: |\(\d+ more lines|- [EF]\d|-{49}$|Found |Line |\S+ \(\d+ matches\)$")


def no_grading(kind: str) -> Attempt:
    raise AssertionError(f"{kind} is not replayed")


def letters(text: str) -> list[str]:
    """The lines that are equal to the letter: all but empty ones and sentences."""
    return [line for line in text.split("\n") if LETTERS.match(line)]


class Replay:
    """One recorded episode in a shell."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.home = session.shell.sandbox.home

    def here(self, text: str) -> str:
        return text.replace(HOME, self.home)

    def there(self, text: str) -> str:
        return text.replace(self.home, HOME)

    def lay(self, steps: list[dict[str, Any]]) -> None:
        """Make the starting files: those whose first sight is a whole window that `open` showed."""
        seen: set[str] = set()
        for step in steps:
            name = WINDOW.match(step["observation"])
            if name and name[1] not in seen:
                seen.add(name[1])
                lines = [line.partition(":")[2] for line in step["observation"].split("\n") if re.match(r"\d+:", line)]
                if step["action"].startswith("open ") and len(lines) == int(name[2]):
                    self.session.shell.write(self.here(name[1]), "".join(line + "\n" for line in lines).encode())

    def step(self, step: dict[str, Any]) -> tuple[str, list[str], list[str]] | None:
        """(kind, our lines, their lines) of a step that is run here; None for one that is not."""
        action, theirs = step["action"], step["observation"]
        word = (action.split() or [""])[0]
        if word in SHELL:
            ran = self.session.shell.run(self.here(action), 10)
            return None if "ls" in action else (word, self.there(ran.output).split(), theirs.split())
        if word not in FILE_TOOLS or any(said in theirs for said in READ_ONLY):
            return None
        seen = call(self.session, parse(self.here(action), TOOLS), TOOLS)
        ours = letters(self.there(seen.text))
        kind = word if ours else f"{word}, malformed"
        if word in ("edit", "insert"):
            kind += " and accepted" if seen.status == "ok" else " and rejected" if seen.status == "error" else ""
            assert (seen.status == "ok") == ("File updated" in theirs)
        return kind, ours, letters(theirs)


def episodes() -> list[Path]:
    return sorted(Path(REFERENCE).glob("episodes/*/*.traj")) if REFERENCE else []


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with open_shell("local", SandboxSpec(workspace, binds=lint_binds())) as shell:
        yield Session(shell, Limits(), no_grading, {})


@pytest.mark.skipif(not REFERENCE, reason="MLGYM_REFERENCE names no folder with recorded episodes")
@pytest.mark.parametrize("path", episodes(), ids=lambda path: path.parent.name)
def test_replay(session: Session, path: Path) -> None:
    replay, equal = Replay(session), Counter[str]()
    steps = json.loads(path.read_text())["trajectory"]
    replay.lay(steps)
    for number, step in enumerate(steps):
        place = {"open_file": session.state.get("file", "n/a"), "working_dir": session.shell.cwd}
        recorded = json.loads(step["state"] or "{}")
        assert {key: replay.there(value) for key, value in place.items()} == (recorded or place), number
        if compared := replay.step(step):
            kind, ours, theirs = compared
            assert ours == theirs, f"step {number}: {step['action'][:80]}"
            equal[kind] += 1
    print(path.parent.name, dict(equal))
    assert sum(equal.values()) >= 3
