"""TorchRL: its own Gymnasium wrapper takes the environment; `make_env` adds what `info` tells of the reward."""

from pathlib import Path
from typing import Any, cast

from mlgym.env import ResearchEnv
from mlgym.rewards import environment
from mlgym.task import Task


def make_env(task: str | Path | Task, *, reward: str = "shaped", **options: Any) -> Any:
    """The task as a TorchRL environment: actions and observations are texts, the reward is the environment's own.

    Two entries come from `info`, none from text: `scored` (False after a fault of the infrastructure: leave the episode
    out) and `progress` (of the final submission on the test split; nan before the end). `reward` and `options` as for
    `rewards.environment`.
    """
    import torch
    from torchrl.data import Binary, Composite, Unbounded
    from torchrl.envs.gym_like import BaseInfoDictReader
    from torchrl.envs.libs.gym import GymWrapper

    inner = environment(task, reward=reward, **options)
    research = cast(ResearchEnv, inner.unwrapped)

    class Told(BaseInfoDictReader):  # type: ignore[misc]
        """Reads `info`."""

        info_spec = Composite(scored=Binary(shape=(), dtype=torch.bool), progress=Unbounded(()))

        def __call__(self, info: dict[str, Any], into: Any) -> Any:
            """Write the two entries."""
            progress = research.progress(info["final"]["test"], "test") if "final" in info else None
            into.set("scored", torch.tensor(bool(info["scored"])))
            return into.set("progress", torch.tensor(float("nan") if progress is None else progress))

    return GymWrapper(inner).set_info_dict_reader(Told())
