"""Training from end to end in the real environment: resumed after a kill, stopped, its control, its curve."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mlgym.errors import InUse, UsageError
from mlgym.rl import progress
from mlgym.rl.recipe import Evaluation, Recipe, changes, read_recipe
from mlgym.rl.sampling import TorchPolicy
from mlgym.rl.train import shuffled, train
from mlgym.trajectory import Trajectory

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


def small(*more: str) -> Recipe:
    """The shipped recipe at its smallest; the sets of its evaluation are one."""
    recipe = read_recipe("duel", changes([*SMALL, *more]))
    return recipe.changed(evaluation=recipe.evaluation.changed(sets={"held out": ("duel-s2..3-d0.2",)}))


def without_evaluation(recipe: Recipe) -> Recipe:
    """The recipe without sets to be tried on."""
    return recipe.changed(evaluation=Evaluation())


def curve(folder: Path) -> list[Any]:
    """What was drawn and earned, in order; how sums are rounded depends on what is batched together."""
    found: list[Any] = []
    for line in progress.lines(folder):
        tried = {name: each["rewards"] for name, each in line.get("evaluation", {}).items()}
        loss = round(line["loss"], 3) if "loss" in line else None
        found.append([line["done"], line.get("step"), loss, line.get("reward"), line.get("tokens"), tried])
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("train") / "whole"
    said: list[str] = []
    assert train(small(), folder, say=said.append) == 0
    assert said[-1] == "\n".join(progress.summary(folder)) and "held out: mean reward" in said[-1]
    return folder


def test_a_run_leaves_its_curve_and_a_policy(whole: Path) -> None:
    lines = progress.lines(whole)
    steps = [line for line in lines if "update" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4] and all(line["scored"] == 4 for line in steps)
    assert all(line["update"]["drift"] < 1e-4 for line in steps if line["update"])
    assert [line["step"] for line in lines if "evaluation" in line] == [0, 2, 4]
    assert sum(line.get("phase") == "warmup" for line in lines) == 6
    assert TorchPolicy.load(whole / "policy", device="cpu").end


@pytest.mark.slow
def test_killed_and_run_again_it_has_the_same_curve(whole: Path, tmp_path: Path) -> None:
    """Killed where it is in a step, between checkpoints: the same command goes on and draws the same."""
    folder, recipe = tmp_path / "killed", tmp_path / "recipe.json"
    recipe.write_text(small().model_dump_json())
    code = (
        "import sys; from pathlib import Path; from mlgym.rl.recipe import Recipe\n"
        "from mlgym.rl.train import train\n"
        "sys.exit(train(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(recipe), str(folder)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert running.stdout
    for line in running.stdout:
        if line.startswith("step 3/4"):
            break
    running.send_signal(signal.SIGKILL)
    running.communicate()
    with (folder / progress.CURVE).open("a") as file:
        file.write('{"done": 9, "torn')
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert curve(folder) == curve(whole)


def test_a_signal_ends_it_with_a_checkpoint_from_which_it_goes_on(whole: Path, tmp_path: Path) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("step 1/"):
            signal.raise_signal(signal.SIGINT)

    assert train(small("checkpoint_every=100"), tmp_path / "a", say=say) == 130
    assert said[-1] == "Stopped after step 1; the same command goes on."
    state = progress.load(tmp_path / "a" / progress.LAST, "cpu")
    assert state and state["done"] == 7
    assert train(small(), tmp_path / "a", say=said.append) == 0
    assert "Going on after step 1" in said and curve(tmp_path / "a") == curve(whole)


def test_another_recipe_is_refused_and_more_steps_are_not(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="begun with another recipe \\(its lr differs\\)"):
        train(small("lr=0.5"), whole)
    with progress.held(whole), pytest.raises(InUse, match="Another process trains in"):
        train(small(), whole)


def test_the_control_has_the_same_rewards_in_another_order() -> None:
    found = [Trajectory(task="t", reward=reward) for reward in (1.0, None, 2.0, 3.0, 4.0, 5.0)]
    rewards = shuffled(found, [0, 2, 7])
    assert sorted(rewards) == [1, 2, 3, 4, 5] != rewards and rewards == shuffled(found, [0, 2, 7])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("options.kl=0.1", "set reference = true"),
        ("options.length=rows", "sequence, tokens or constant"),
        ("policy=nowhere", "There is no policy nowhere"),
        ("device=toaster", "There is no device 'toaster'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        train(small(change), tmp_path / "a", say=pytest.fail)
    with progress.held(tmp_path / "a"):  # nothing was made, so the recipe can be mended
        progress.keep_recipe(tmp_path / "a", small())


def test_the_command_says_what_is_wrong_in_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlgym", "train", "duel", "-o", str(tmp_path / "a"), "--set"]
    ran = subprocess.run([*command, "options.clap=1"], capture_output=True, text=True)
    assert ran.returncode == 2 and ran.stderr.startswith("The algorithm 'grpo' has no option 'clap'; it has clip,")
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_learns_and_the_control_does_not(tmp_path: Path) -> None:
    """Random weights to better play in real episodes; rewards that are permuted teach nothing.

    A rollout's reward has a standard deviation of some 0.7, so a mean of 120 is known to 0.07.
    """
    means = {}
    for name, more in (("real", ()), ("control", ("shuffle_rewards=true",))):
        folder = tmp_path / name
        if name == "control":  # the same beginning
            folder.mkdir()
            shutil.copytree(tmp_path / "real" / "tiny", folder / "tiny")
            shutil.copy(tmp_path / "real" / "teacher.jsonl", folder)
        recipe = read_recipe("duel", changes(["steps=24", "rows=24", "warmup.episodes=320", *more]))
        assert train(without_evaluation(recipe), folder) == 0
        steps = [line["reward"] for line in progress.lines(folder) if "update" in line]
        means[name] = statistics.fmean(steps[:5]), statistics.fmean(steps[-5:])
    assert means["real"][1] - means["real"][0] > 0.25
    assert means["real"][1] - means["control"][1] > 0.25
