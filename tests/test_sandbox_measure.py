"""What is measured of a sandbox's memory."""

import os
from collections import Counter

import pytest

from mlgym.sandbox import SandboxLimits, measure, trees
from mlgym.sandbox.victims import first
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
