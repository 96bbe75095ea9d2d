"""A machine on which nothing isolates: a sandbox in which no further one can start, as in many containers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlgym.errors import SandboxError
from mlgym.sandbox.probe import working

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")


@pytest.fixture
def confined() -> list[str]:
    """The command line that runs a program where user namespaces are forbidden."""
    try:
        program = working().program
    except SandboxError as error:
        pytest.skip(str(error))
    user = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns"]
    return [program, *user, "--die-with-parent", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]


def run(confined: list[str], tmp_path: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    command = [*confined, sys.executable, "-m", "mlgym", "run", GUESS, "-o", str(tmp_path / "r"), *args]
    env = {**os.environ, "MLGYM_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    return subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)


def test_shipped_agents_go_on_and_say_so(confined: list[str], tmp_path: Path) -> None:
    ran = run(confined, tmp_path, "-a", "nop")
    assert ran.returncode == 0, ran.stderr
    assert "No isolation on this machine" in ran.stdout and "none" in ran.stdout


def test_a_model_stops_with_one_sentence(confined: list[str], tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('[{"calls": [{"name": "submit"}]}]')
    ran = run(confined, tmp_path, "-m", f"scripted/{script}")
    assert ran.returncode != 0 and "--sandbox local" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr


def test_local_asked_for_by_name_warns(confined: list[str], tmp_path: Path) -> None:
    ran = run(confined, tmp_path, "-a", "nop", "--sandbox", "local")
    assert ran.returncode == 0 and "can read your files and your keys" in " ".join(ran.stdout.split())
