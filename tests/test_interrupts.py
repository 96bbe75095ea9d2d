"""A small grid interrupted at random ends as the undisturbed one; the whole is benchmarks/interrupts.py."""

import os
import signal
from pathlib import Path

import pytest

from tests.grids import Grid, differences, methods


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interrupted_grid_ends_as_the_undisturbed(tmp_path: Path) -> None:
    from mlgym.sandbox.probe import probe

    if not probe("bubblewrap").works:
        assert "CI" not in os.environ
        pytest.skip("bubblewrap does not start here")
    grid = Grid(tmp_path, ("battle-of-sexes",), 1)
    run, seconds = grid.undisturbed()
    seen = grid.disturbed([signal.SIGINT, signal.SIGKILL], (1.0, max(1.5, seconds / 2)), 0)
    assert seen["code"] == 0 and not differences(run, grid.runs / "disturbed", len(methods()))
    assert not seen["orphans"] and seen["slowest_stop_s"] < 30
    assert seen["paid_twice"] <= 2 * seen["met"].count("SIGKILL")
