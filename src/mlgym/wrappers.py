"""Wrappers of ResearchEnv: its limits, and the reward."""

from typing import Any

import gymnasium

from mlgym.env import ResearchEnv
from mlgym.metrics import clip, potential
from mlgym.records import Action

Stepped = tuple[str, float, bool, bool, dict[str, Any]]


class Limited(gymnasium.Wrapper[str, str | Action, str, str | Action]):
    """Ends the episode, graded as it stands, when its steps or its command seconds are used up.

    Gymnasium's own `max_episode_steps` would end it ungraded, so it is not used. The limits are the environment's;
    `steps_left` goes into `info["observation"]`, the attribute `seconds_left` stays out of it: `info` holds no clock.
    """

    env: ResearchEnv

    def __init__(self, env: gymnasium.Env[str, str | Action]) -> None:
        super().__init__(env)
        self.steps = 0
        self.seconds = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start anew with nothing used."""
        self.steps, self.seconds = 0, 0.0
        return super().reset(seed=seed, options=options)

    def step(self, action: str | Action) -> Stepped:
        """One step; truncates with a final attempt at a limit."""
        text, reward, terminated, truncated, info = self.env.step(action)
        inner: ResearchEnv = self.unwrapped  # type: ignore[assignment]
        self.steps += 1
        self.seconds += inner.command_s
        info["observation"]["steps_left"] = self.steps_left
        ended = "steps" if self.steps_left == 0 else "time" if self.seconds_left == 0 else ""
        if ended and not terminated and not truncated:
            truncated = True
            end = inner.end(ended)
            # The attempt of this step stays beside the final one; a fault of the grading at the end counts.
            info = {**end, **info, "scored": end.get("scored", True)}
        return text, reward, terminated, truncated, info

    @property
    def steps_left(self) -> int | None:
        """Steps that are left, None without such a limit."""
        limit = self.unwrapped.limits.steps  # type: ignore[attr-defined]
        return None if limit is None else max(0, limit - self.steps)

    @property
    def seconds_left(self) -> float | None:
        """Command seconds that are left, None without such a limit."""
        limit = self.unwrapped.limits.seconds  # type: ignore[attr-defined]
        return None if limit is None else max(0.0, limit - self.seconds)


class Progress(gymnasium.Wrapper[str, str | Action, str, str | Action]):
    """Pays Φ(s') − Φ(s), and on the last step −Φ(s) plus the test progress of the final submission in [−1, 2].

    Φ is the best validation progress so far in [0, 2]: potential-based shaping (Ng, Harada and Russell 1999), so the
    rewards of every scored episode sum to its final test progress. A fault of the infrastructure pays 0.0.
    """

    env: ResearchEnv

    def __init__(self, env: gymnasium.Env[str, str | Action]) -> None:
        super().__init__(env)
        self.best: float | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start anew with no attempt."""
        self.best = None
        return super().reset(seed=seed, options=options)

    def step(self, action: str | Action) -> Stepped:
        """One step, with its reward."""
        text, _, terminated, truncated, info = self.env.step(action)
        inner: ResearchEnv = self.unwrapped  # type: ignore[assignment]
        if not info["scored"]:
            return text, 0.0, terminated, truncated, info
        before = potential(self.best)
        attempt = info.get("attempt")
        if attempt and attempt["valid"]:
            value = inner.progress(attempt[inner.feedback], inner.feedback)
            if value is not None and (self.best is None or value > self.best):
                self.best = value
        after = potential(self.best)
        if "final" in info:
            value = inner.progress(info["final"]["test"], "test")
            after = 0.0 if value is None else clip(value, -1.0, 2.0)
        return text, after - before, terminated, truncated, info
