"""Machines that forbid namespaces, as default containers do, and machines on which nothing isolates at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlgym.errors import SandboxError
from mlgym.sandbox import weak
from mlgym.sandbox.probe import working

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
FORBIDDEN = [sys.executable, str(Path(__file__).with_name("forbidden.py"))]
WEAKER = "user" if os.geteuid() == 0 else "landlock"


@pytest.fixture
def nothing() -> list[str]:
    """The command line that runs a program, as user 1000, where neither namespaces nor Landlock are to be had."""
    try:
        program = working().program
    except SandboxError as error:
        pytest.skip(str(error))
    user = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns"]
    walls = [program, *user, "--die-with-parent", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    return [*walls, *FORBIDDEN, "landlock"]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A model that writes a guess, tries it and submits it."""
    calls = [
        {"name": "bash", "arguments": {"command": "echo 41 >guess.txt; id -u"}},
        {"name": "validate"},
        {"name": "submit"},
    ]
    path = tmp_path / "script.json"
    path.write_text(json.dumps([{"calls": [call]} for call in calls]))
    return path


def run(confined: list[str], tmp_path: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    command = [*confined, sys.executable, "-m", "mlgym", "run", GUESS, "-o", str(tmp_path / "r"), *args]
    env = {**os.environ, "MLGYM_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    return subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)


@pytest.mark.skipif(weak.version() < 6 and WEAKER == "landlock", reason="this kernel's Landlock has no scopes")
def test_without_namespaces_a_weaker_sandbox_is_taken_said_and_marked(script: Path, tmp_path: Path) -> None:
    ran = run(FORBIDDEN, tmp_path, "-m", f"scripted/{script}")
    assert ran.returncode == 0, ran.stderr
    assert f"The sandbox is '{WEAKER}', which isolates partly: bubblewrap does not start" in ran.stderr
    (found,) = (tmp_path / "r").rglob("result.json")
    result = json.loads(found.read_text())
    assert (result["isolation"], result["backend"], result["ended"]) == ("partial", WEAKER, "submitted")
    assert result["final"]["closeness"] > 0


@pytest.mark.skipif(weak.version() < 6 and WEAKER == "landlock", reason="this kernel's Landlock has no scopes")
@pytest.mark.slow
def test_the_tuner_runs_without_namespaces(tmp_path: Path) -> None:
    ran = run(FORBIDDEN, tmp_path)
    assert ran.returncode == 0, ran.stderr
    (found,) = (tmp_path / "r").rglob("result.json")
    assert json.loads(found.read_text())["isolation"] == "partial"


def test_shipped_agents_go_on_and_say_so(nothing: list[str], tmp_path: Path) -> None:
    ran = run(nothing, tmp_path, "-a", "nop")
    assert ran.returncode == 0, ran.stderr
    assert "No isolation on this machine" in ran.stdout and "none" in ran.stdout


def test_a_model_stops_with_one_sentence(nothing: list[str], script: Path, tmp_path: Path) -> None:
    ran = run(nothing, tmp_path, "-m", f"scripted/{script}")
    assert ran.returncode != 0 and "--sandbox local" in ran.stderr and "Nor does the weaker 'landlock'" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr


def test_local_asked_for_by_name_warns(nothing: list[str], tmp_path: Path) -> None:
    ran = run(nothing, tmp_path, "-a", "nop", "--sandbox", "local")
    assert ran.returncode == 0 and "can read your files and your keys" in " ".join(ran.stdout.split())
