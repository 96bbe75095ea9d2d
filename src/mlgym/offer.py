"""What is offered to clients: tasks, families of made tasks, and the options that they may choose.

A client's words never name a path or a module: a task is looked up among those offered, a reward among ours.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mlgym import made
from mlgym.errors import UsageError
from mlgym.names import resolve, split
from mlgym.records import Limits
from mlgym.rewards import REWARDS
from mlgym.task import Task, for_training, load_task, load_tasks

REWARD = re.compile(r"(shaped|progress)(\?[a-z_]+=[0-9.]+(&[a-z_]+=[0-9.]+)*)?")
BOUNDS = ("steps", "seconds", "command_s", "training_s")


class Reset(BaseModel):
    """How an episode begins. `task` is a name, or `split` and `index` give its place; else `seed` draws among all.

    `limits` can be tighter than the task's, never wider. `session_id` names the session to begin anew in (a new one
    where it is not known), `resume` one whose running episode is gone on with instead, in a WebSocket.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    episode_id: str | None = Field(default=None, max_length=255)
    task: str = Field(default="", max_length=200)
    split: str | None = None
    index: int | None = None
    reward: str | None = Field(default=None, max_length=200)
    tools: Literal["modern", "classic"] = "modern"
    limits: Limits | None = None
    session_id: str = Field(default="", pattern="^([A-Za-z0-9_-]{8,64})?$")
    request_id: str = Field(default="", max_length=255)
    resume: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class Offer:
    """Tasks by name. Of a family that is named every task is offered, and none is listed.

    Raises UsageError for an unknown name or reward and, unless `include_eval`, for a task of the benchmark's own.
    """

    def __init__(self, names: Iterable[str], include_eval: bool = False, reward: str = "shaped") -> None:
        shipped = {family.name: family for family in made.list_families()}
        names = list(names)
        self.families = {name for name in names if name in shipped}
        tasks = for_training(load_tasks(name for name in names if name not in shipped), include_eval)
        self.tasks = {task.name: task for task in tasks}
        resolve(split(reward)[0], REWARDS, "reward")
        self.reward = reward
        if not names:
            raise UsageError("There is no task to serve: name some with -t.")

    @property
    def splits(self) -> dict[str, list[Task]]:
        """The listed tasks: `test` has those of the benchmark, `train` all others."""
        found: dict[str, list[Task]] = {}
        for task in self.tasks.values():
            found.setdefault("test" if task.evaluation else "train", []).append(task)
        return found

    def task(self, wanted: Reset) -> Task:
        """The task that a reset asks for; raises UsageError where it is not offered."""
        if wanted.split is not None or wanted.index is not None:
            return self.at(wanted.split or "train", wanted.index or 0)
        if not wanted.task:
            listed = list(self.tasks.values())
            if not listed:
                raise UsageError(f"Name a task, such as {min(self.families)}-s17-d0.4.")
            return listed[(wanted.seed or 0) % len(listed)]
        if wanted.task in self.tasks:
            return self.tasks[wanted.task]
        parts = made.ID.fullmatch(wanted.task)
        if parts and parts[1] in self.families and "/" not in wanted.task:
            return load_task(wanted.task)
        raise UsageError(f"The task '{wanted.task[:80]}' is not offered here; GET /mlgym/splits tells what is.")

    def at(self, split: str, index: int) -> Task:
        """The task at a place of a split; raises UsageError where there is none."""
        listed = self.splits.get(split, [])
        if not 0 <= index < len(listed):
            raise UsageError(f"There is no task {index} in the split '{split[:80]}', which has {len(listed)}.")
        return listed[index]

    def options(self, wanted: Reset, task: Task) -> dict[str, Any]:
        """The options of the session; raises UsageError for a reward that is not ours."""
        reward = wanted.reward or self.reward
        if reward != self.reward and not REWARD.fullmatch(reward):
            raise UsageError("The reward must be shaped or progress, with numbers as options.")
        return {"reward": reward, "tools": wanted.tools, "limits": tightened(task.episode_limits, wanted.limits)}


def tightened(own: Limits, asked: Limits | None) -> Limits:
    """The limits of a task, each as tight as asked for, and never wider."""
    if asked is None:
        return own
    pairs = {name: (getattr(own, name), getattr(asked, name)) for name in BOUNDS}
    least = {name: min((each for each in pair if each is not None), default=None) for name, pair in pairs.items()}
    return own.changed(**least)


def listed(task: Task, index: int) -> dict[str, Any]:
    """A task as it is listed."""
    return {
        "id": task.name,
        "index": index,
        "task": task.name,
        "title": task.title,
        "version": task.version,
        "metric": task.metric,
        "direction": task.direction,
    }
