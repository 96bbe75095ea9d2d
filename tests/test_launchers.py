"""Launchers: the same outcomes from each, specs asked for lazily, and nothing left of a worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlgym.errors import UsageError
from mlgym.launchers import in_process, launcher, processes, threads
from mlgym.records import EpisodeSpec, Failure, Result
from mlgym.store import episode_folder
from tests.jobs import Writes, spec

SEVERAL = [pytest.param(threads, id="threads"), pytest.param(processes, id="processes")]
EACH = [pytest.param(lambda n: in_process, id="in_process"), *SEVERAL]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def eventually(true: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


@pytest.mark.parametrize("launch", EACH)
def test_every_spec_has_its_outcome(launch: Callable, tmp_path: Path) -> None:
    specs = [spec(seed) for seed in range(5)]
    done = list(launch(2)(Writes(tmp_path), specs))
    assert sorted(one.seed for one, _ in done) == [0, 1, 2, 3, 4]
    assert all(isinstance(outcome, Result) and outcome.steps == 1 for _, outcome in done)
    elsewhere = {outcome.why for _, outcome in done} - {str(os.getpid())}
    assert len(elsewhere) == (2 if launch is processes else 0)  # two workers, used again


@pytest.mark.parametrize("launch", SEVERAL)
def test_a_spec_is_asked_for_when_a_worker_is_free(launch: Callable, tmp_path: Path) -> None:
    asked: list[int] = []

    def source() -> Iterator[EpisodeSpec]:
        for seed in range(6):
            asked.append(seed)
            yield spec(seed)

    for number, _ in enumerate(launch(2)(Writes(tmp_path), source())):
        assert len(asked) <= number + 3
    assert len(asked) == 6


@pytest.mark.parametrize("launch", EACH)
def test_none_means_later(launch: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["mlgym.launchers.flow"], "AGAIN_S", 0.01)
    monkeypatch.setattr(sys.modules["mlgym.launchers"], "AGAIN_S", 0.01)
    source = iter([None, spec(0), None, None, spec(1), None])
    assert sorted(one.seed for one, _ in launch(2)(Writes(tmp_path), source)) == [0, 1]


@pytest.mark.parametrize("launch", EACH)
def test_what_a_job_raises_is_raised(launch: Callable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Nothing like that"):
        list(launch(2)(Writes(tmp_path), [spec(0, "wrong"), spec(1)]))


@pytest.mark.parametrize("launch", EACH)
def test_what_the_source_raises_ends_it(launch: Callable, tmp_path: Path) -> None:
    def source() -> Iterator[EpisodeSpec]:
        yield spec(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(launch(2)(Writes(tmp_path), source()))


def test_a_killed_worker_s_episode_runs_again(tmp_path: Path) -> None:
    said: list[str] = []
    launch = processes(1, say=lambda spec, note: said.append(f"{spec.seed} {note}"))
    (_, outcome), (_, other) = launch(Writes(tmp_path), [spec(0, "die1"), spec(1)])
    assert isinstance(outcome, Result) and outcome.steps == 2 and isinstance(other, Result)
    (note,) = said
    assert note.startswith("0 Its worker (process ") and note.endswith("killed (SIGKILL). It is run again (1 of 3).")


def test_three_times_at_most(tmp_path: Path) -> None:
    ((one, outcome),) = processes(1)(Writes(tmp_path), [spec(0, "die")])
    assert isinstance(outcome, Failure) and outcome.boundary == "sandbox" and "3 times" in outcome.why
    assert len((episode_folder(tmp_path, one) / "steps.jsonl").read_text().split()) == 4


def test_a_worker_is_interrupted_when_it_is_over(tmp_path: Path) -> None:
    folder = episode_folder(tmp_path, spec(0, "sleep"))
    outcomes = processes(2)(Writes(tmp_path), iter([spec(0, "sleep"), spec(1)]))
    assert next(outcomes)[0].seed == 1 and eventually((folder / "asleep").exists)
    pid = int((folder / "steps.jsonl").read_text())
    outcomes.close()  # type: ignore[attr-defined]
    assert not alive(pid) and (folder / "tidied").exists()


OWNER = """
import sys, pathlib
from mlgym.launchers import processes
from tests.jobs import Writes, spec
list(processes(2)(Writes(pathlib.Path(sys.argv[1])), [spec(0, "sleep"), spec(1, "sleep")]))
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_owner(tmp_path: Path, sign: signal.Signals) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)])
    files = [episode_folder(tmp_path, spec(seed, "sleep")) for seed in range(2)]
    assert eventually(lambda: all((folder / "asleep").exists() for folder in files), 30)
    pids = [int((folder / "steps.jsonl").read_text()) for folder in files]
    owner.send_signal(sign)
    owner.wait()
    assert eventually(lambda: not any(map(alive, pids)))
    assert all((folder / "tidied").exists() for folder in files)


def test_names_of_launchers() -> None:
    assert launcher("threads", 1) is in_process
    with pytest.raises(UsageError, match=r"^--launcher is threads, processes or ray, not 'slurm'\.$"):
        launcher("slurm")
    with pytest.raises(UsageError, match="for --launcher ray, not for threads"):
        launcher("threads", 2, address="auto")


def test_importing_the_launchers_imports_little() -> None:
    code = "import sys, mlgym.launchers; assert not {'ray', 'gymnasium', 'mlgym.episode'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_ray_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None\nfrom mlgym.launchers import launcher\nlauncher('ray')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'mlgym-env[ray]'" in ran.stderr
