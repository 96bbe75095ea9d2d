"""What is measured of a sandbox's memory and disk."""

import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from mlgym.sandbox import SandboxLimits, measure, trees
from mlgym.sandbox.victims import first
from mlgym.sandbox.watch_disk import Disk
from mlgym.sandbox.watch_memory import Memory


def test_a_sandbox_that_is_just_starting_is_not_charged_with_this_machines_files() -> None:
    assert os.statvfs("/").f_blocks > 0
    assert measure.temporary(os.getpid(), ["/", "/tmp"]) == 0


def test_what_starts_is_not_ended_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[object] = []
    monkeypatch.setattr("mlgym.sandbox.watch_memory.end", ended.append)
    struck: Counter[str] = Counter()
    Memory(os.getpid(), SandboxLimits(memory_mb=2048), ["/", "/tmp"], struck).look(trees.processes())
    assert not ended and not struck["oom"]


def test_processes_that_have_ended_meanwhile_have_no_first() -> None:
    assert first([trees.Process(2**22 + 1, 1, 0, 0.0, 1, 0)]) == 0


def test_a_measuring_of_the_disk_can_be_ended_from_another_thread(tmp_path: Path) -> None:
    for n in range(3000):
        (tmp_path / str(n)).touch()
    for n in range(40):
        disk = Disk(os.getpid(), SandboxLimits(), [tmp_path], Counter())
        looking = threading.Thread(target=disk.look, args=(time.monotonic() + 1,))
        looking.start()
        time.sleep(n * 1e-4)
        disk.close()
        looking.join()
        disk.look(time.monotonic() + 1)
        assert disk.walk is None or disk.closed
