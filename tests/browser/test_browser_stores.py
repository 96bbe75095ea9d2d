"""Runs that were not made here: the recorded ones of the original, and rollouts of a training."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from mlgym.importers import import_runs
from mlgym.rl import Engine, Row, ScriptedPolicy
from mlgym.store import episodes
from tests.browser.places import at, ready, served
from tests.browser.watching import Visit

REFERENCE = os.environ.get("MLGYM_REFERENCE", "")
GUESS = str(Path(__file__).parent.parent.parent / "examples" / "guess")


@pytest.mark.skipif(not REFERENCE, reason="MLGYM_REFERENCE names no folder with recorded episodes")
def test_recorded_runs_of_the_original(visit: Visit, cache: Path, tmp_path: Path) -> None:
    """All open in every part; what their windows show again and again is quiet."""
    run = tmp_path / "runs" / "original"
    list(import_runs(Path(REFERENCE) / "episodes", run))
    with served(cache, run.parent) as place:
        page = ready(visit(place.home, at("run", "original")))
        expect(page.locator("#view")).to_contain_text("imported")
        for folder in episodes(run):
            key = "/".join(folder.parts[-4:])
            page.goto(place.home + at("e", key))
            expect(ready(page).locator("#step-1")).to_be_visible()
            for part in "fsatj" if folder == next(iter(episodes(run))) else "f":
                page.keyboard.press(part)
                ready(page)
        expect(page.locator(".quietly").first).to_be_attached()


def test_rollouts_of_a_training(visit: Visit, cache: Path, tmp_path: Path) -> None:
    policy = ScriptedPolicy(["ls", "submit"], version=4, name="tiny")
    Engine(policy, protocol="plain", store=tmp_path / "training", every=1).rollout(
        [Row(GUESS, seed) for seed in range(2)]
    )
    with served(cache, tmp_path / "training") as place:
        page = ready(visit(place.home, at("run", "training")))
        expect(page.locator("#view")).to_contain_text("tiny")
        for folder in episodes(tmp_path / "training"):
            page.goto(place.home + at("e", "/".join(folder.parts[-4:])))
            expect(ready(page).locator("#step-1")).to_be_visible()
            page.keyboard.press("c")
            expect(page.get_by_role("tabpanel")).to_contain_text("tiny")
