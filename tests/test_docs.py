"""The documents tell the truth: their commands and their Python run, their links lead somewhere.

A block marked `console` is run line by line, those that begin with `$`, all of one document in one folder; a block
marked `python` is run too, or written to FILE where it is marked `python file=FILE`. Other blocks are only read.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlgym.task import list_tasks

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|`|\$ )(mlgym(?: [^`\n]+)?)(?:`|$)", re.MULTILINE)
DOCUMENT = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def steps(text: str) -> list[tuple[str, str]]:
    """What is to be done to follow a document: ("run", command), ("python", code) or (file name, content)."""
    found = []
    for language, file, body in BLOCK.findall(text):
        if language == "console":
            found += [("run", line.removeprefix("$ ")) for line in body.splitlines() if line.startswith("$ ")]
        elif language == "python":
            found.append((file or "python", body))
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as a reader has it: the examples, and an `mlgym` on PATH that is this one."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "mlgym"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlgym "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
@DOCUMENT
def test_a_reader_can_follow_it(document: Path, place: Path) -> None:
    env = {**os.environ, "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(place)}
    for kind, body in steps(document.read_text()):
        if kind not in ("run", "python"):
            (place / kind).write_text(body)
            continue
        command = ["bash", "-c", body] if kind == "run" else [sys.executable, "-W", "error", "-c", body]
        ran = subprocess.run(command, cwd=place, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert ran.returncode == 0, f"{body}\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"


def known() -> dict[str, set[str]]:
    """Each verb of the command line with its options."""
    import typer

    from mlgym.cli import app

    group = typer.main.get_command(app)
    verbs = group.commands.items()  # type: ignore[attr-defined]
    own = {name: [verb, *getattr(verb, "commands", {}).values()] for name, verb in verbs}
    return {
        name: {o for each in found for p in each.params for o in [*p.opts, *p.secondary_opts]} | {"--help", "-h"}
        for name, found in own.items()
    }


@DOCUMENT
def test_verbs_and_options_exist(document: Path) -> None:
    verbs = known()
    for line in COMMAND.findall(document.read_text()):
        words = line.split("#")[0].split()[1:]
        named = [word for word in words if re.fullmatch(r"[a-z]+", word)][:1]
        options = {word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)}
        if named:
            assert named[0] in verbs, f"{line}: no verb {named[0]}"
            assert options <= verbs[named[0]], f"{line}: no option {options - verbs[named[0]]}"


@DOCUMENT
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if not link.startswith("http")]
    paths = re.findall(r"`((?:src|docs|examples|tests|benchmarks)/[\w./-]+)`", text)
    gone = [link for link in links if not (document.parent / link).exists()]
    gone += [path for path in paths if not (ROOT / path).exists()]
    assert not gone


def test_what_is_followed() -> None:
    text = "```console\n$ a\nsaid by a\n$ b\n```\n```sh\nnever\n```\n```python file=x.py\n1\n```\n```python\n2\n```\n"
    assert steps(text) == [("run", "a"), ("run", "b"), ("x.py", "1\n"), ("python", "2\n")]
    assert COMMAND.findall("`mlgym run x -a tuner`, `mlgym` or\nmlgym show\n$ mlgym tasks") == [
        "mlgym run x -a tuner",
        "mlgym",
        "mlgym show",
        "mlgym tasks",
    ]


def test_a_whole_agent_is_short() -> None:
    files = dict(steps((ROOT / "docs" / "agent.md").read_text()))
    shown = {name: text for name, text in files.items() if name.endswith(".py")}
    assert {name: len(text.splitlines()) < 50 for name, text in shown.items()} == {"both.py": True, "thinker.py": True}


def test_every_document_is_in_an_index() -> None:
    for index, pages in (("index.md", "*.md"), ("tasks.md", "tasks/*.md")):
        text = (ROOT / "docs" / index).read_text()
        names = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob(pages)]
        assert [name for name in names if f"({name})" not in text and name != "index.md"] == []


def test_every_shipped_task_has_a_page() -> None:
    folders = {task.folder.name for task in list_tasks()}
    assert {path.stem for path in (ROOT / "docs" / "tasks").glob("*.md")} == folders


def test_every_test_of_the_threat_model_exists() -> None:
    from mlgym.sandbox.examiner import cases

    text = (ROOT / "docs" / "threat-model.md").read_text()
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    assert named and not [at for at in named if f"def {at[1]}(" not in (ROOT / at[0]).read_text()]
    shipped = {case.name for case in cases()}
    examined = re.findall(r"`examiner: ([^`]+)`", text)
    assert examined and not set(examined) - shipped
