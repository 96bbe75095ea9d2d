"""Rewards for training: ResearchEnv with its limits and one of the rewards, as a Gymnasium environment.

`docs/reward.md` has the definitions. All of it follows from what the grading says; nothing that a sandbox prints or
that an agent claims is worth anything.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium

from mlgym import names
from mlgym.env import ResearchEnv
from mlgym.errors import UsageError
from mlgym.made import task_id
from mlgym.metrics import clip
from mlgym.records import Action, Scores, Split
from mlgym.task import Task
from mlgym.trajectory import Status
from mlgym.wrappers import Limited, Progress, Stepped

Env = gymnasium.Env[str, str | Action]

REWARDS = {"shaped": "mlgym.rewards:Shaped", "progress": "mlgym.wrappers:Progress"}
LOWEST, HIGHEST = -1.0, 2.0  # of the utility: no submission, and twice the way from the baseline to the best known
# How much of the way from no submission to the baseline each milestone is worth. A utility is never less.
FILES, RAN, GRADED, FLOOR = 0.1, 0.25, 0.5, 0.75
# All format errors of an episode together cost less than this; so many of them cost half of it.
FORMAT, HALF = 0.2, 4.0
ENDINGS: dict[str, Status] = {
    "": "submitted",
    "time": "timeout",
    "deadline": "timeout",
    "steps": "budget",
    "money": "budget",
    "tokens": "budget",
    "context": "budget",
}


def environment(task: str | Path | Task, *, reward: str = "shaped", **options: Any) -> Env:
    """The environment of `task` with its limits and a reward: `shaped`, `progress`, or `package.module:Wrapper`.

    Options of the reward follow its name, as in `shaped?format=0.1&graded=0.4`; `options` are those of ResearchEnv.
    Each step's `info` has `rewards`, the parts that sum to the step's reward; at the end it has `status` and `noise`,
    one standard deviation of the final progress. Raises UsageError for a reward that there is not, or not so.
    """
    name, chosen = names.split(reward)
    wrapper = names.resolve(name, REWARDS, "reward")
    limited = Limited(ResearchEnv(task, **options))
    try:
        return Told(wrapper(limited, **chosen))
    except TypeError as error:
        raise UsageError(f"The reward '{reward}' cannot be made: {error}.") from error


def of_family(family: str, seed: int = 0, difficulty: float = 0.5, reward: str = "progress", **options: Any) -> Env:
    """The environment of a made task; `options` are those of ResearchEnv."""
    return environment(task_id(family, seed, difficulty), reward=reward, **options)


class Told(gymnasium.Wrapper[str, str | Action, str, str | Action]):
    """Tells in `info` what a reward is made of, where it has not said so itself, and how an episode ended."""

    tampered = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start anew with no attempt."""
        self.tampered = False
        return super().reset(seed=seed, options=options)

    def step(self, action: str | Action) -> Stepped:
        """One step, with more in its `info`."""
        text, reward, terminated, truncated, info = self.env.step(action)
        if "rewards" not in info:
            info["rewards"] = {"reward": float(reward)} if info["scored"] else {}
        self.tampered |= tampered(info)
        if terminated or truncated:
            inner: ResearchEnv = self.unwrapped  # type: ignore[assignment]
            info["status"] = status(info, self.tampered)
            info["noise"] = inner.task.noise if inner.anchors else 0.0
        return text, float(reward), terminated, truncated, info


def tampered(info: Mapping[str, Any]) -> bool:
    """Whether an attempt of the step tampered with its grading, by the step's `info`."""
    return any(each is not None and each["stage"] == "tampered" for each in (info.get("final"), info.get("attempt")))


def status(info: Mapping[str, Any], tampered: bool = False) -> Status:
    """How an episode ended, by the `info` of its last step and whether it `tampered`; the first of these that is true.

    `not_scored`: the infrastructure failed. `tampered`: code of a submission wrote into the grader's pipe.
    `no_submission`, `invalid`: nothing valid counts, for want of files or for what is in them. Otherwise something
    valid counts, and it was `submitted`, or the episode ended by a `budget` (steps, money, tokens, context), a
    `timeout` (time, deadline), or as the agent `gave_up`, also by losing its sandbox.
    """
    final = info.get("final")
    if not info["scored"] or final is None:
        return "not_scored"
    if tampered:
        return "tampered"
    if not final["valid"]:
        return "invalid" if final["stage"] else "no_submission"
    return ENDINGS.get(info.get("ended", ""), "gave_up")


class Shaped(gymnasium.Wrapper[str, str | Action, str, str | Action]):
    """The utility of the final submission on test, with its potential on the way, less what errors of format cost.

    The utility is progress held within [−1, 2] and lifted to the milestone that the submission reached, each of which
    lies below the baseline's 0: `files` are there, their code `ran`, it was `graded`, it beats the `floor` (the best
    constant answer, where the task's anchors tell it). These four are shares of the way from −1 to 0. Φ is the best
    utility so far on the split that is shown, from −1 on counted as 0, and each step pays Φ(s') − Φ(s), the last one
    −Φ(s): this sums to 0 (Ng, Harada and Russell 1999), so a submission made twice earns nothing. The n-th error of
    format makes them cost `format` · n / (n + `half`) in all. An episode in which a submission tampered with its
    grading has the utility −1. One that is not scored pays 0.0 from then on, with no parts.

    The parts in `info["rewards"]`: `progress`, `ladder` (what the milestone lifts it by), `integrity` (what tampering
    takes away), `shaping`, `format`.
    """

    env: gymnasium.Env[str, str | Action]

    def __init__(
        self,
        env: gymnasium.Env[str, str | Action],
        *,
        files: float = FILES,
        ran: float = RAN,
        graded: float = GRADED,
        floor: float = FLOOR,
        format: float = FORMAT,
        half: float = HALF,
    ) -> None:
        super().__init__(env)
        shares = [0.0, files, ran, graded, floor]
        if shares != sorted(shares) or floor >= 1:
            raise UsageError("The milestones of the reward must rise: 0 <= files <= ran <= graded <= floor < 1.")
        if format < 0 or half <= 0:
            raise UsageError("The reward's `format` must not be negative, and `half` must be positive.")
        self.rungs = {"": 0.0, "files": files, "ran": ran, "graded": graded}
        self.floor, self.format, self.half = floor, format, half
        self._clear()

    def _clear(self) -> None:
        self.best, self.errors, self.tampered = LOWEST, 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start anew with no attempt."""
        self._clear()
        return super().reset(seed=seed, options=options)

    def step(self, action: str | Action) -> Stepped:
        """One step, with its reward and the parts of it."""
        text, _, terminated, truncated, info = self.env.step(action)
        if not info["scored"]:
            return text, 0.0, terminated, truncated, {**info, "rewards": {}}
        inner: ResearchEnv = self.unwrapped  # type: ignore[assignment]
        final, attempt, before = info.get("final"), info.get("attempt"), self.best
        self.tampered |= tampered(info)
        parts = dict.fromkeys(("progress", "ladder", "integrity", "shaping"), 0.0)
        if final is not None:
            parts["progress"] = self._progress(final, "test")
            parts["ladder"] = self.utility(final, "test") - parts["progress"]
            parts["integrity"] = LOWEST - parts["progress"] - parts["ladder"] if self.tampered else 0.0
            self.best = LOWEST
        elif attempt is not None:
            self.best = max(self.best, self.utility(attempt, inner.feedback))
        parts["shaping"] = self.best - before
        parts["format"] = self._format(info["observation"]["status"] == "format")
        info["rewards"] = parts
        return text, math.fsum(parts.values()), terminated, truncated, info

    def utility(self, attempt: Mapping[str, Any], split: Split) -> float:
        """What an attempt is worth on a split, in [−1, 2]; an attempt as `info` has it."""
        value = self._progress(attempt, split)
        share = self.rungs["graded"] if attempt["valid"] else self.rungs.get(attempt["stage"], 0.0)
        if attempt["valid"] and self._beats_floor(attempt[split], split):
            share = self.floor
        return max(value, LOWEST * (1 - share))

    def _progress(self, attempt: Mapping[str, Any], split: Split) -> float:
        inner: ResearchEnv = self.unwrapped  # type: ignore[assignment]
        value = inner.progress(attempt[split], split) if attempt["valid"] else None
        return LOWEST if value is None else clip(value, LOWEST, HIGHEST)

    def _beats_floor(self, scores: Scores | None, split: Split) -> bool:
        """Whether the scores are better than the best constant answer; never where the task does not tell it."""
        inner: ResearchEnv = self.unwrapped  # type: ignore[assignment]
        floor = inner.anchors.floor.get(split) if inner.anchors else None
        score = (scores or {}).get(inner.task.metric)
        if floor is None or score is None:
            return False
        return score > floor if inner.task.direction == "maximize" else score < floor

    def _format(self, wrong: bool) -> float:
        """What this step's error of format, if it is one, costs."""
        before = self.errors
        self.errors += wrong
        return self.format * (before / (before + self.half) - self.errors / (self.errors + self.half))


__all__ = ["Env", "Progress", "Shaped", "Told", "environment", "status"]
