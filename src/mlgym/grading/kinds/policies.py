"""Policies of reinforcement learning: the environments are stepped here, the submission's policy is asked for actions.

All episodes of one checkpoint are played side by side; only the first episode of each environment counts. What the
environments draw depends on a salt, the split and the seed, never on the submission: every one, and each of its
checkpoints, meets the same luck. The salt is made once when the task is prepared and keeps that luck unknown.
"""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import InvalidSubmission

SPLITS = {"validation": 0, "test": 1}
Rows = NDArray[Any]  # the first axis is the environment


class World(Protocol):
    """Many copies of one environment; a copy begins anew by itself when its episode is over.

    An action is one of `actions` whole numbers from 0 or, if that is 0, `width` numbers from -1 to 1.
    """

    actions: int
    width: int

    def reset(self, luck: NDArray[np.uint32], number: int) -> Rows:
        """Begin `number` episodes, all luck from these two words; the first observations."""

    def step(self, actions: Rows) -> tuple[Rows, Rows, Rows]:
        """The next observations, the rewards, and whether each episode is over."""


def prepare(public: Path, private: Path, settings: Mapping[str, Any]) -> None:
    """Write evaluation.json, which tells the agent how it is graded, and make the salt."""
    told = {key: settings[key] for key in ("checkpoints", "environments", "seeds", "frames")}
    (public / "evaluation.json").write_text(json.dumps(told, indent=2) + "\n")
    (private / "salt").write_text(secrets.token_hex(16))


def grade(
    world: World, submission: Any, private: Path, *, settings: Mapping[str, Any], split: str, seed: int
) -> dict[str, float]:
    """`mean_return` and `std_return` of the episodes that `act` of policy.py plays with all checkpoints."""
    submission.path("policy.py")
    held = {path.name.split(".")[0] for path in (submission.folder / "checkpoints").glob("*")}
    for number in range(settings["checkpoints"]):
        if str(number) not in held:
            raise InvalidSubmission(f"The submission has no checkpoint {number} in the folder checkpoints.")
    salt = int((private / "salt").read_text(), 16)
    luck = np.random.default_rng([salt, SPLITS[split], seed]).integers(2**32, size=2, dtype=np.uint32)
    player = submission.player("policy", seed=2 * seed + SPLITS[split])
    episodes = settings["environments"] * settings["seeds"]
    returns = [play(world, player, n, luck, episodes, settings["frames"]) for n in range(settings["checkpoints"])]
    return {"mean_return": float(np.mean(returns)), "std_return": float(np.std(returns))}


def play(world: World, player: Any, checkpoint: int, luck: Rows, episodes: int, frames: int) -> NDArray[np.float64]:
    """The return of each episode: its rewards up to its end, or to the last frame."""
    expect = [("<i8", (episodes,))] if world.actions else [("<f4", (episodes, world.width))]
    observations = world.reset(luck, episodes)
    first = np.ones(episodes, bool)
    alive, returns = first.copy(), np.zeros(episodes)
    for frame in range(frames):
        answer = player.batch("act", [np.int64(checkpoint), observations, first], expect)[0]
        actions = np.frombuffer(answer.data, answer.descr).reshape(answer.shape)
        _check(world, actions, checkpoint, frame)
        observations, rewards, first = world.step(actions)
        returns += alive * rewards
        alive &= ~first
        if not alive.any():
            break
    return returns


def _check(world: World, actions: Rows, checkpoint: int, frame: int) -> None:
    """InvalidSubmission for an action that is none; comparisons with NaN are false."""
    low, high = (0, world.actions - 1) if world.actions else (-1, 1)
    valid = (low <= actions) & (actions <= high)
    if not valid.all():
        bad, kind = actions[~valid][0], "a whole number" if world.actions else "a number"
        where = f"with checkpoint {checkpoint}, in frame {frame + 1}"
        raise InvalidSubmission(f"act returned {bad} {where}; an action is {kind} from {low} to {high}.")
