"""The cache folder, the lock between processes, and folders made once."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlgym import cache
from mlgym.cache import cache_dir, lock, made
from mlgym.errors import SourceError

MAKER = """
import sys, time
from pathlib import Path
from mlgym.cache import made
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
def make(part):
    print("making", flush=True)
    for number in range(10):
        (part / str(number)).write_text("x" * 1000)
        time.sleep(seconds / 10)
made(folder, make, what="the test's folder", say=print)
print("made", flush=True)
"""


def maker(folder: Path, seconds: float = 0.0) -> "subprocess.Popen[str]":
    """A process that makes the folder in so many seconds."""
    command = [sys.executable, "-c", MAKER, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def leftovers(folder: Path) -> list[str]:
    """What lies beside the folder."""
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def test_the_cache_folder_is_private_and_where_the_variables_say(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    assert cache_dir().stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("MLGYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform.startswith("linux"):
        assert cache_dir() == tmp_path / "xdg" / "mlgym"


def test_a_cache_folder_that_cannot_be_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SourceError, match=r"^The cache folder cannot be made \(.*\): set MLGYM_CACHE to another\.$"):
        cache_dir()


def test_processes_at_once_make_a_folder_once_and_the_others_say_that_they_wait(tmp_path):
    folder = tmp_path / "made"
    outputs = [process.communicate(timeout=60)[0] for process in [maker(folder, 1.5) for _ in range(4)]]
    assert sorted(output.count("making\n") for output in outputs) == [0, 0, 0, 1]
    assert all(output.endswith("made\n") for output in outputs)
    waited = [output for output in outputs if "Waiting for process" in output]
    assert waited and all("which is making the test's folder." in output for output in waited)
    assert leftovers(folder) == []


def test_a_failure_leaves_nothing_and_the_next_try_works(tmp_path):
    folder = tmp_path / "made"

    def fail(part: Path) -> None:
        (part / "half").write_text("")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        made(folder, fail, what="x")
    assert list(tmp_path.iterdir()) == []
    made(folder, lambda part: (part / "whole").touch(), what="x")
    assert (folder / "whole").exists() and leftovers(folder) == []


@pytest.mark.slow
def test_killed_at_random_moments_it_can_be_made_again_and_nothing_stays_behind(tmp_path):
    folder = tmp_path / "made"
    draw = random.Random(0)
    killed = 0
    for _ in range(12):
        process = maker(folder, 0.3)
        assert process.stdout
        process.stdout.readline()  # the start of Python is not the interesting part
        time.sleep(draw.uniform(0, 0.32))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if folder.exists():  # then it is whole
            assert len(list(folder.iterdir())) == 11
            made(folder, lambda part: pytest.fail("made again"), what="x")
            subprocess.run(["rm", "-r", str(folder)], check=True)
        else:
            killed += 1
    assert killed >= 3
    assert maker(folder).communicate(timeout=60)[0] == "making\nmade\n"
    assert leftovers(folder) == []


def test_a_dead_owners_lock_is_taken_over_by_one_at_a_time(tmp_path):
    held = tmp_path / "x.lock"
    command = "import os, sys, pathlib, mlgym.cache as c\nwith c.lock(pathlib.Path(sys.argv[1]), what='x'): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", command, held]).returncode == 9
    assert held.is_dir()
    inside: list[int] = []
    worst: list[int] = []

    def work() -> None:
        for _ in range(5):
            with lock(held, what="x", say=lambda text: None):
                inside.append(1)
                worst.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(worst) == 20 and max(worst) == 1
    assert list(tmp_path.iterdir()) == []


def owned(folder: Path, **about: object) -> Path:
    """A lock as some owner left it."""
    folder.mkdir()
    (folder / "token").write_text(
        json.dumps({"pid": 1, "start": "1", "host": "elsewhere", "since": time.time(), **about})
    )
    return folder


def test_an_owner_elsewhere_is_believed_while_it_is_heard_of(tmp_path):
    held = owned(tmp_path / "x.lock")
    said: list[str] = []
    begin = time.monotonic()

    def beat() -> None:
        while time.monotonic() - begin < 1.3:
            os.utime(held / "token")
            time.sleep(0.02)

    thread = threading.Thread(target=beat)
    thread.start()
    with lock(held, what="the data", say=said.append, silent_s=0.3):
        assert time.monotonic() - begin > 1.55
    thread.join()
    assert said == ["Waiting for process 1 on elsewhere (since 1 s), which is making the data."]


def test_a_number_used_again_by_another_process_is_not_the_owner(tmp_path):
    with lock(tmp_path / "probe", what="x"):
        host = json.loads(next((tmp_path / "probe").iterdir()).read_text())["host"]
    with lock(owned(tmp_path / "x.lock", pid=os.getpid(), host=host), what="x", say=pytest.fail):
        pass


def test_what_killed_processes_left_goes_when_the_folder_is_asked_for(tmp_path):
    folder = tmp_path / "thing"
    made(folder, lambda part: None, what="a thing")
    dead = {"pid": os.getpid(), "start": "1", "host": cache._host(), "since": 0}
    for name in ("thing.lock", "thing.lock.ab12"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "owner").write_text(json.dumps(dead))
    (tmp_path / "thing.lock.cd34").mkdir()
    os.utime(tmp_path / "thing.lock.cd34", (0, 0))
    (tmp_path / "thing.part-ab12").mkdir()
    (tmp_path / "thing.lock.ef56").mkdir()  # its owner's file may still come
    made(folder, lambda part: None, what="a thing")
    assert leftovers(folder) == ["thing.lock.ef56"]
