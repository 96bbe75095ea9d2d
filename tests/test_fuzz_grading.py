"""Real gradings of a game whose strategy is hostile: a verdict or a sentence, never a hang, never a traceback."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz import fuzz
from hypothesis import strategies as st
from test_fuzz_player import TAPE, damaged

from mlgym.grading import Grader
from mlgym.grading.prepare import prepare
from mlgym.task import load_task

HOSTILE = """
import os, sys, time
DATA, WHEN, THEN = {data!r}, {when!r}, {then!r}
def attack():
    for fd in range(1, 16):
        try:
            os.set_blocking(fd, False)
            os.write(fd, DATA)
        except OSError:
            pass
    if THEN == "exit":
        os._exit(3)
    if THEN == "raise":
        raise type("E\\n", (Exception,), {{"__str__": lambda self: DATA.decode("latin-1")}})
    if THEN == "close":
        os.closerange(0, 64)
def row_strategy(history):
    if WHEN == "move":
        attack()
    return {move!r}
if WHEN == "import":
    attack()
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Grader, Path]]:
    """A warm grader, and a folder for the submission."""
    with Grader(prepare(load_task("battle-of-sexes"))) as grader:
        yield grader, tmp_path


@fuzz(
    8,
    data=damaged(TAPE),
    when=st.sampled_from(["import", "move"]),
    then=st.sampled_from(["exit", "raise", "close", "go on"]),
    move=st.sampled_from([0, 1, 2, None, 1.5, "x", 2**70, [1], True]),
)
def test_a_hostile_strategy(place: tuple[Grader, Path], **values: Any) -> None:
    """A GradingError, which would blame the infrastructure, fails the test."""
    grader, folder = place
    (folder / "strategy.py").write_text(HOSTILE.format(**values))
    began = time.monotonic()
    verdict = grader.grade(folder, "validation")
    assert time.monotonic() - began < 45
    if verdict.valid:
        assert verdict.scores and 0 <= verdict.scores["score"] <= 2
    else:
        assert verdict.scores is None and "\n" not in verdict.why and verdict.why.endswith(".")
