"""The two set-up commands, on Pythons old and new, with and without what they need."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FILE = ROOT / "bootstrap.py"


@pytest.fixture
def bootstrap() -> dict[str, Any]:
    """The script's names, without running it."""
    return runpy.run_path(str(FILE), run_name="bootstrap")


def say(*args: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run something to its end."""
    return subprocess.run(args, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)


def old_pythons() -> list[str]:
    """Interpreters older than 3.11 that this machine has, those that only pyenv knows of included."""
    names = ["python2.7", *(f"python3.{minor}" for minor in range(5, 11))]
    folders = os.environ["PATH"].split(os.pathsep)
    if shutil.which("pyenv"):
        folders += [str(path) for path in Path(say("pyenv", "root").stdout.strip()).glob("versions/*/bin")]
    found = (shutil.which(name, path=folder) for name in names for folder in folders)
    return [python for python in found if python and say(python, "-c", "").returncode == 0]


@pytest.mark.parametrize("python", old_pythons())
def test_a_python_that_is_too_old_says_what_to_do(python: str) -> None:
    ran = say(python, str(FILE), "demo")
    assert ran.returncode == 1 and ran.stdout == ""
    (sentence,) = ran.stderr.splitlines()
    assert sentence.startswith("mlgym needs Python 3.11 or newer, but this is Python ") and python in sentence


@pytest.mark.parametrize(
    ("path", "advice"), [("", "get a newer one from python.org"), ("new", "`python3.13 bootstrap.py test -x`")]
)
def test_the_advice_names_a_newer_python_where_there_is_one(path: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for name, code in (("python3.13", 0), ("python3.14", 1)):  # the latter does not start
        program = tmp_path / "new" / name
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
    pretend = "import runpy, sys; sys.version_info = (3, 9, 1); sys.argv = ['', 'test', '-x']; "
    pretend += f"runpy.run_path({str(FILE)!r}, run_name='__main__')"
    ran = say(sys.executable, "-c", pretend, PATH=str(tmp_path / path) if path else "")
    assert ran.returncode == 1
    assert "this is Python 3.9.1" in ran.stderr and advice in ran.stderr and len(ran.stderr.splitlines()) == 1


def test_old_pythons_can_read_it() -> None:
    """What even the oldest needs, wherever the tests run: ASCII, and no line that begins with a newer construct."""
    text = FILE.read_text(encoding="ascii")
    assert (
        ' f"' not in text and "(f'" not in text and "->" not in text and "from __future__ import print_function" in text
    )


@pytest.mark.parametrize(("args", "code"), [((), 2), (("nonsense",), 2), (("check", "more"), 2), (("--help",), 0)])
def test_a_wrong_command_shows_the_right_ones(args: tuple[str, ...], code: int) -> None:
    ran = say(sys.executable, str(FILE), *args)
    assert ran.returncode == code
    assert "bootstrap.py demo" in ran.stdout and "bootstrap.py test [ARGS]" in ran.stdout


def test_the_first_pip_that_is_new_enough_is_taken(bootstrap: dict[str, Any], tmp_path: Path) -> None:
    commands = []
    for name, said in (
        ("old", "pip 21.0 from x"),
        ("broken", ""),
        ("new", "pip 22.3.1 from x"),
        ("newest", "pip 30.0"),
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
        commands.append([str(program)])
    missing = [str(tmp_path / "missing")]
    assert bootstrap["find_pip"]([missing, *commands]) == commands[2]
    with pytest.raises(SystemExit, match=r"^No pip \(22.3 or newer\) was found: install one"):
        bootstrap["find_pip"]([missing, *commands[:2]])


def clone(folder: Path) -> Path:
    """A copy of what git tracks, or would, in a folder whose name has a blank."""
    copy = folder / "a clone"
    ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "runs")
    return Path(shutil.copytree(ROOT, copy, ignore=ignored))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
def test_a_fresh_clone_sets_itself_up(tmp_path: Path) -> None:
    """From another folder, without make, bwrap and ensurepip, and at once the second time."""
    here, programs = clone(tmp_path), tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "bash", "git"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    base = getattr(sys, "_base_executable", sys.executable)
    env = {"PATH": str(programs), "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "elsewhere")}
    (tmp_path / "elsewhere" / "mlgym").mkdir(parents=True)
    (tmp_path / "elsewhere" / "mlgym" / "__init__.py").write_text("raise SystemExit('another project')")
    first = say(base, str(here / "bootstrap.py"), "test", "-q", "tests/test_names.py", cwd=tmp_path, **env)
    assert first.returncode == 0, (first.stdout + first.stderr)[-500:]
    assert " passed" in first.stdout and "Installing mlgym" in first.stdout
    again = say(
        base, str(here / "bootstrap.py"), "test", "-q", "tests/test_names.py", "-k", "no_such_test", cwd=tmp_path, **env
    )
    assert again.returncode == 5 and "Installing" not in again.stdout, (again.stdout + again.stderr)[-500:]
    assert "Usage" in say(base, str(here / "bootstrap.py"), "demo", "--help", cwd=tmp_path, **env).stdout


def test_a_failing_pip_is_one_sentence(tmp_path: Path) -> None:
    """A pip that cannot install leaves no stamp, so the next run tries again."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'nothing'\n")
    shutil.copy(FILE, tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pip3").write_text(
        '#!/bin/sh\ntest "$1" = --version && echo pip 25.0 && exit\necho ERROR: no such thing\nexit 1\n'
    )
    (programs / "pip3").chmod(0o755)
    code = f"import runpy, sys; sys.argv = ['x', 'demo']; g = runpy.run_path({str(tmp_path / 'bootstrap.py')!r}); "
    code += f"g['pips'].__globals__['pips'] = lambda: [[{str(programs / 'pip3')!r}]]; g['main'](['demo'])"
    for _ in range(2):
        ran = say(sys.executable, "-c", code)
        assert ran.returncode == 1 and ran.stderr.startswith(
            "The packages could not be installed: ERROR: no such thing ("
        )
    assert not (tmp_path / ".venv" / "mlgym-stamp").exists()
