"""The main job at full size: the tuner on the demo's two tasks, five seeds each, in real sandboxes."""

from pathlib import Path

import pytest

from mlgym.bench import run_grid
from mlgym.launchers import threads
from mlgym.records import EpisodeSpec
from mlgym.task import load_task


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "trials"), [("battle-of-sexes", 20), ("house-price", 5)])
def test_the_tuner_beats_the_baseline_in_five_of_five_seeds(name: str, trials: int, tmp_path: Path) -> None:
    task = load_task(name)
    limits = task.episode_limits
    specs = [EpisodeSpec(task=name, agent=f"tuner?trials={trials}", seed=seed, limits=limits) for seed in range(5)]
    for spec, result in run_grid(specs, tmp_path, launcher=threads(2)):
        assert (result.ended, result.isolation, result.data) == ("submitted", "full", ""), spec
        final = result.attempts[-1]
        assert final.test and final.test[task.metric] > result.baseline["test"][task.metric], (spec.seed, result)
