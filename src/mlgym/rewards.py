"""Rewards for training: ResearchEnv with its limits and one of the rewards, as a Gymnasium environment."""

from pathlib import Path
from typing import Any

import gymnasium

from mlgym.env import ResearchEnv
from mlgym.records import Action
from mlgym.task import Task
from mlgym.wrappers import Limited, Progress

Env = gymnasium.Env[str, str | Action]


def environment(task: str | Path | Task, *, reward: str = "shaped", **options: Any) -> Env:
    """The environment of `task` with its limits and the reward "shaped" or "progress".

    `options` are those of ResearchEnv.
    """
    return Progress(Limited(ResearchEnv(task, **options)))
