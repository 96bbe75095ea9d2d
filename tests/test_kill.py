"""SIGKILL at random moments, and run again: nothing is lost, nothing is left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlgym.records import EpisodeSpec, Limits, Result
from mlgym.store import Episode
from tests.servers import OpenAIServer

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
RUN = """
import sys
from pathlib import Path
from mlgym.episode import run_episode
from mlgym.records import EpisodeSpec
run_episode(EpisodeSpec.model_validate_json(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
"""
SCRIPT = [
    item
    for value in (20, 30, 35, 41)
    for item in (
        {"text": f"Try {value}.", "calls": [("bash", {"command": f"echo {value} > guess.txt; sleep 0.05; ls"})]},
        {"calls": [("validate", {})]},
    )
] + [{"calls": [("submit", {})]}]


def start(spec: Path, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(spec), str(folder)], env={**os.environ, "OPENAI_API_KEY": "k"}
    )


def left_behind(root: Path) -> list[str]:
    """Scratch folders, mounts and processes that speak of `root`."""
    found = [str(path) for path in root.glob("scratch/*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(root) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(root) in (process / "environ").read_text() + (process / "cmdline").read_text():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_an_episode_killed_at_twenty_random_moments_ends_as_the_undisturbed(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("MLGYM_CACHE", str(cache))
    rng = random.Random(7)
    with OpenAIServer(SCRIPT, delay_s=0.05) as server:
        spec = EpisodeSpec(
            task=GUESS, agent="react", model="openai/x", base_url=server.url, sandbox=backend, limits=Limits()
        )
        file = tmp_path / "spec.json"
        file.write_text(spec.model_dump_json())
        whole = start(file, tmp_path / "whole")
        began = time.monotonic()
        assert whole.wait(120) == 0
        undisturbed = Episode.read(tmp_path / "whole").result
        calls = len(server.requests)
        assert undisturbed is not None and calls == len(SCRIPT)
        began = time.monotonic()
        assert start(file, tmp_path / "again").wait(120) == 0
        seconds = time.monotonic() - began
        kills = 0
        folder = tmp_path / "killed"
        server.requests.clear()
        rounds = 0
        while kills < 20:
            process = start(file, folder)
            time.sleep(rng.uniform(0, seconds))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.wait()
            if (folder / "spec.json").exists():
                steps = Episode.read(folder).steps()
                assert [step.n for step in steps] == list(range(1, len(steps) + 1))
            if (folder / "result.json").exists():
                _same(Episode.read(folder).result, undisturbed)
                assert len(server.requests) <= calls + kills
                rounds += 1
                folder = tmp_path / f"killed{rounds}"
                server.requests.clear()
        process = start(file, folder)
        assert process.wait(120) == 0
        _same(Episode.read(folder).result, undisturbed)
    deadline = time.monotonic() + 5
    while left_behind(cache) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left_behind(cache)


def _same(result: Result | None, undisturbed: Result) -> None:
    assert result is not None
    assert [(a.n, a.kind, a.files, a.validation, a.test) for a in result.attempts] == [
        (a.n, a.kind, a.files, a.validation, a.test) for a in undisturbed.attempts
    ]
    assert (result.ended, result.final, result.progress) == (undisturbed.ended, undisturbed.final, undisturbed.progress)
