"""Training from end to end in the real environment: resumed after a kill, stopped, its control, its curve."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mlgym.errors import InUse, UsageError
from mlgym.rl import progress
from mlgym.rl.recipe import Recipe, changes, read_recipe
from mlgym.rl.train import summary, train

torch.set_num_threads(1)
SMALL = (
    "warmup.episodes=8",
    "warmup.steps=6",
    "warmup.rows=4",
    "tiny.hidden=32",
    "rows=4",
    "group=2",
    "steps=4",
    "checkpoint_every=2",
    "evaluation.every=2",
    "evaluation.episodes=2",
    'tasks=["duel-s0..1-d0.2"]',
)
HELD = 'evaluation.sets={"held out": ["duel-s2..3-d0.2"]}'


def small(*more: str) -> Recipe:
    """The shipped recipe at its smallest; the sets of its evaluation are one."""
    recipe = read_recipe("duel", changes(SMALL))
    sets = {"evaluation": {**recipe.evaluation.model_dump(), "sets": {"held out": ["duel-s2..3-d0.2"]}}}
    plain = recipe.model_dump(mode="json") | sets
    return Recipe.model_validate_json(json.dumps(plain)).with_changes(changes(more))


def curve(folder: Path) -> list[dict[str, Any]]:
    """The lines of a curve without what depends on the clock and the machine."""
    lines = progress.lines(folder)
    for line in lines:
        line.pop("memory_mb", None), line.pop("seconds", None)
        for each in line.get("evaluation", {}).values():
            each.pop("seconds")
    return lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("train") / "whole"
    said: list[str] = []
    assert train(small(), folder, say=said.append) == 0
    assert said[-1] == "\n".join(summary(folder)) and "held out: mean reward" in said[-1]
    return folder


def test_a_run_leaves_its_curve_and_a_policy(whole: Path) -> None:
    lines = curve(whole)
    steps = [line for line in lines if "update" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4] and all(line["scored"] == 4 for line in steps)
    assert all(line["update"]["drift"] < 1e-4 for line in steps if line["update"])
    assert [line["step"] for line in lines if "evaluation" in line] == [0, 2, 4]
    assert sum(line.get("phase") == "warmup" for line in lines) == 6
    from mlgym.rl.sampling import TorchPolicy

    assert TorchPolicy.load(whole / "policy", device="cpu").end


def test_killed_and_run_again_it_has_the_same_curve(whole: Path, tmp_path: Path) -> None:
    """Killed where it is in a step, between checkpoints: the same command goes on and draws the same."""
    folder, recipe = tmp_path / "killed", tmp_path / "recipe.json"
    recipe.write_text(small().model_dump_json())
    code = (
        "import sys; from pathlib import Path; from mlgym.rl.recipe import Recipe; from mlgym.rl.train import train\n"
        "sys.exit(train(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(recipe), str(folder)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert running.stdout
    for line in running.stdout:
        if line.startswith("step 3/4"):
            break
    running.send_signal(signal.SIGKILL)
    running.wait()
    with (folder / progress.CURVE).open("a") as file:
        file.write('{"done": 9, "torn')
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert curve(folder) == pytest.approx(curve(whole), rel=1e-6) or curve(folder) == curve(whole)


def test_a_signal_ends_it_with_a_checkpoint(tmp_path: Path) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("step 1/"):
            signal.raise_signal(signal.SIGINT)

    assert train(small("checkpoint_every=100"), tmp_path / "a", say=say) == 130
    assert said[-1] == "Stopped after step 1; the same command goes on."
    state = progress.load(tmp_path / "a" / progress.LAST, "cpu")
    assert state and state["done"] == 7


def test_another_recipe_is_refused_and_more_steps_are_not(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="begun with another recipe \\(its lr differs\\)"):
        train(small("lr=0.5"), whole)
    with progress.held(whole), pytest.raises(InUse, match="Another process trains in"):
        train(small(), whole)


def test_the_control_has_the_same_rewards_in_another_order(whole: Path) -> None:
    pass
