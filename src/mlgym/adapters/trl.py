"""TRL: environments for its GRPOTrainer's `environment_factory`, and rollouts by the engine for its `rollout_func`."""

import itertools
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mlgym.adapters.trl_environment import SHARE, environment_class
from mlgym.errors import UsageError
from mlgym.rl import Engine, Row
from mlgym.task import for_training, load_tasks
from mlgym.trajectory import Trajectory

OPEN = 64  # episodes that are open at once
CALL = 1_000_003  # between the seeds of one call and those of the next: more than there are processes
MARK = "Task {}, seed {}.\n\n"  # a task's number: the model reads it, and a made task's name tells what it was drawn by


class MlgymSpec:
    """What a GRPOTrainer takes: `train_dataset`, `reward_funcs`, and `environment_factory` or `rollout_func`.

    `tasks` are names, folders or suites, each with so many `seeds`. The split "train" refuses tasks of the benchmark's
    own (unless `include_eval`), "eval" takes any. After `deadline` seconds (0.8 of `ddp_timeout` where None) an episode
    is truncated and graded as it stands. `reward` and `options` as for `session.LocalSession`; `engine` are further
    arguments of the Engine, for `rollout_func` alone, `policy` acts in the place of the trainer's own model.
    An episode that is not scored has the reward None: TRL leaves it out of its group.
    """

    def __init__(
        self,
        tasks: str | Path | Iterable[str | Path],
        *,
        split: Literal["train", "eval"] = "train",
        seeds: int = 1,
        include_eval: bool = False,
        deadline: float | None = None,
        reward: str = "shaped",
        policy: Any = None,
        engine: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        found = load_tasks([tasks] if isinstance(tasks, str | Path) else tasks)
        self.tasks = for_training(found, include_eval or split == "eval")
        self.seeds, self.deadline, self.reward, self.options = seeds, deadline, reward, options
        self.policy, self.engine = policy, engine or {}
        self._calls = itertools.count()

    @property
    def reward_funcs(self) -> list[Any]:
        """The reward; a new list each time, for a trainer adds to the one that it is given."""
        return [mlgym_reward]

    @cached_property
    def train_dataset(self) -> Any:
        """A row for each task and seed: `prompt`, `task`, `seed`. The prompt's first line has the task's number and the
        seed.
        """
        from datasets import Dataset

        return Dataset.from_list(
            [
                {"prompt": [{"role": "user", "content": MARK.format(n, seed)}], "task": task.reference, "seed": seed}
                for n, task in enumerate(self.tasks)
                for seed in range(self.seeds)
            ]
        )

    @cached_property
    def environment_factory(self) -> type:
        """The class of environments."""
        return environment_class(deadline=self.deadline, reward=self.reward, **self.options)

    def rollout_func(self, prompts: Sequence[Any], trainer: Any) -> dict[str, list[Any]]:
        """One episode for each prompt of the trainer's, by the engine; all of them side by side."""
        call = next(self._calls)
        args = trainer.args
        given = {
            "max_tokens": args.max_completion_length,
            "environments": min(len(prompts), OPEN),
            "deadline": SHARE * args.ddp_timeout if self.deadline is None else self.deadline,
            "seed": args.seed + trainer.accelerator.process_index + CALL * call,
            **self.options,
            **self.engine,
        }
        names = [task.reference for task in self.tasks]
        engine = Engine(self.policy or acting(trainer), reward=self.reward, **given)
        try:
            return columns(engine.rollout(rows(prompts, names, call)), int(trainer.processing_class.eos_token_id))
        finally:
            engine.close()


def acting(trainer: Any) -> Any:
    """The trainer's own model as a policy, with its weights of now. It acts in this process, whole: not sharded."""
    from mlgym.rl.sampling import TorchPolicy

    model = trainer.accelerator.unwrap_model(trainer.model)
    version = int(trainer.state.global_step)
    return TorchPolicy(model, trainer.processing_class, temperature=trainer.args.temperature, version=version)


def rows(prompts: Sequence[Any], names: Sequence[str], call: int = 0) -> list[Row]:
    """The rows that prompts of the dataset of these tasks stand for.

    Equal ones that follow each other are a group of this call.
    """
    made = []
    for number, (prompt, same) in enumerate(itertools.groupby(prompts)):
        text = prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
        found = re.match(r"Task (\d{1,9}), seed (\d{1,9})\.\n", text)
        if not found or int(found[1]) >= len(names):
            raise UsageError(f"The prompt {text[:60]!r} names no task: train on the `train_dataset` of MlgymSpec.")
        made += [Row(names[int(found[1])], int(found[2]), f"{call}-{number}") for _ in same]
    return made


def columns(trajectories: Sequence[Trajectory], end: int) -> dict[str, list[Any]]:
    """What `rollout_func` returns; an episode without tokens is one token `end` that counts nothing."""
    return {
        "prompt_ids": [list(each.prompt) or [end] for each in trajectories],
        "completion_ids": [list(each.ids) or [end] for each in trajectories],
        "logprobs": [list(each.logprobs) or [0.0] for each in trajectories],
        "env_mask": [list(each.mask) or [0] for each in trajectories],
        "episode": [{"reward": each.reward, "parts": each.parts} for each in trajectories],
    }


def mlgym_reward(
    prompts: Sequence[Any], environments: Any = None, episode: Any = None, log_metric: Any = None, **_: Any
) -> list[float | None]:
    """The reward of the engine's episodes; environments pay theirs themselves. Logs the means of the components."""
    if episode is None:
        for each in environments or ():
            each.get_reward()
        parts = [each._session.parts for each in environments or () if each._session]
    else:
        parts = [each["parts"] for each in episode if each["reward"] is not None]
    for name in sorted({name for each in parts for name in each}) if log_metric else ():
        log_metric(f"mlgym/{name}", sum(each.get(name, 0.0) for each in parts) / len(parts))
    return [None] * len(prompts) if episode is None else [each["reward"] for each in episode]
