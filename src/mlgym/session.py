"""One episode as a trainer drives it: tools by name or actions in text, one outcome each, a reward and a status.

The one seam of all adapters and servers. A session is driven by one thread at a time; `close` may come from any other.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, SupportsFloat, cast

from mlgym.env import END, ResearchEnv, render_brief
from mlgym.errors import SandboxError, UsageError
from mlgym.records import Action, Brief
from mlgym.rewards import environment
from mlgym.task import Task
from mlgym.trajectory import Status

AFTER_END = "The episode has ended, so nothing was done."
BEFORE_RESET = "The session has no episode yet: call reset() first."
LEAST_S = 0.1  # seconds that a command has at least


@dataclass(frozen=True)
class Outcome:
    """What came of one action. `reward` is the step's, None where it is not scored; `info` as the environment's."""

    text: str
    reward: float | None = 0.0
    terminated: bool = False
    truncated: bool = False
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated


class Session(Protocol):
    """An episode, here or at a server. After its end a further action changes nothing and says so."""

    done: bool
    steps: int
    reward: float | None
    """The sum of the rewards so far; None once the episode is known not to be scored."""
    parts: dict[str, float]
    """The components of the reward, summed so far."""
    status: Status
    """How it ended; "not_scored" before the end."""
    progress: float | None
    """The final test progress, at the end."""
    noise: float
    """One standard deviation of `progress` from one grading to the next, where the task tells."""
    deadline: float | None
    """When commands are stopped, as time.monotonic() counts; an action after it ends the episode ("time")."""

    @property
    def brief(self) -> Brief:
        """What the agent is told; raises UsageError before `reset`."""
        ...

    def reset(self, seed: int = 0) -> str:
        """Begin anew; returns the brief as text."""
        ...

    def act(self, action: str | Action) -> Outcome:
        """Take one action."""
        ...

    def call(self, name: str, args: Mapping[str, Any]) -> Outcome:
        """Call one tool."""
        ...

    def finish(self, reason: str) -> Outcome:
        """End the episode, graded as it stands; `reason` as in a Result's `ended`."""
        ...

    def close(self) -> None:
        """End the sandbox; nothing is graded."""
        ...


class Elsewhere(ABC):
    """What a Session whose environment is another process keeps on this side, and does without asking it."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self._brief: Brief | None = None
        self._closed = False
        self._clear()

    def _clear(self) -> None:
        """Forget the episode before."""
        self.done, self.steps, self.parts = False, 0, dict[str, float]()
        self.reward: float | None = 0.0
        self.status: Status = "not_scored"
        self.progress: float | None = None
        self.noise = 0.0
        self._end = Outcome(AFTER_END, 0.0, terminated=True)

    @property
    def brief(self) -> Brief:
        """What the agent is told; raises UsageError before `reset`."""
        if self._brief is None:
            raise UsageError(BEFORE_RESET)
        return self._brief

    def act(self, action: str | Action) -> Outcome:
        """Take one action; after the end it changes nothing. One that was lost on its way ends the episode unscored."""
        if self.done or self._closed:
            return self._end
        if self._brief is None:
            raise UsageError(BEFORE_RESET)
        try:
            outcome = self._acted(action, None if self.deadline is None else self.deadline - time.monotonic())
        except SandboxError as error:
            self.done, self.reward, self.status = True, None, "not_scored"
            info = {"scored": False, "boundary": error.boundary, "why": str(error), "ended": "error"}
            outcome = Outcome(str(error), None, truncated=True, info=info)
        if self.done:
            scored = outcome.reward is not None
            self._end = replace(outcome, text=AFTER_END, reward=0.0 if scored else None, info={"scored": scored})
        return outcome

    def call(self, name: str, args: Mapping[str, Any]) -> Outcome:
        """Call one tool; an unknown one, or arguments that do not fit, are answered as the agent's mistake."""
        return self.act(Action(tool=name, args=dict(args)))

    def finish(self, reason: str) -> Outcome:
        """End the episode, graded as it stands; `reason` as in a Result's `ended`."""
        return self.act(Action(tool=END, args={"reason": reason}))

    @abstractmethod
    def _acted(self, action: str | Action, left: float | None) -> Outcome:
        """Have the action taken, within so many seconds, and take over what the session is at; raises SandboxError
        where that is lost.
        """


class LocalSession:
    """A Session in this process. `reward` and `options` as for `rewards.environment`."""

    def __init__(self, task: str | Path | Task, *, reward: str = "shaped", **options: Any) -> None:
        self._env = environment(task, reward=reward, **options)
        self.research = cast(ResearchEnv, self._env.unwrapped)
        self.deadline: float | None = None
        self._lock, self._closed = threading.Lock(), False
        self._clear()

    def _clear(self) -> None:
        self.done, self.steps, self.reward, self.parts = False, 0, cast("float | None", 0.0), dict[str, float]()
        self.status: Status = "not_scored"
        self.progress: float | None = None
        self.noise = 0.0
        self.clocks = (0.0, 0.0)  # seconds of commands and of grading that the last step took
        self._end = Outcome(AFTER_END, 0.0, terminated=True)

    @property
    def brief(self) -> Brief:
        """What the agent is told; raises UsageError before `reset`."""
        if not hasattr(self.research, "brief"):
            raise UsageError(BEFORE_RESET)
        return self.research.brief

    def reset(self, seed: int = 0) -> str:
        """Begin anew; returns the brief as text. Raises UsageError after `close`."""
        with self._lock:
            if self._closed:
                raise UsageError("The session is closed: open another.")
            self._clear()
            self._env.reset(seed=seed)
            return render_brief(self.brief)

    def act(self, action: str | Action) -> Outcome:
        """Take one action; after the end, and after `close`, it changes nothing. Raises UsageError before `reset`."""
        with self._lock:
            if self.done or self._closed:
                return self._end
            late = self.deadline is not None and time.monotonic() >= self.deadline
            if late and not (isinstance(action, Action) and action.tool == END):
                action = Action(tool=END, args={"reason": "time"})
            self._hold()
            before = self.research.attempts.grader_s
            stepped = self._env.step(action)
            self.clocks = self.research.command_s, self.research.attempts.grader_s - before
            return self._account(*stepped)

    def call(self, name: str, args: Mapping[str, Any]) -> Outcome:
        """Call one tool; an unknown one, or arguments that do not fit, are answered as the agent's mistake."""
        return self.act(Action(tool="none" if name == END else name, args=dict(args)))  # the end is `finish`

    def finish(self, reason: str) -> Outcome:
        """End the episode, graded as it stands; `reason` as in a Result's `ended`."""
        return self.act(Action(tool=END, args={"reason": reason}))

    def kill(self) -> None:
        """End the sandbox from another thread: the action under way finds it lost; the last valid attempt counts."""
        self.research.kill()

    def close(self) -> None:
        """End the sandbox, from any thread and at any time; nothing more is graded."""
        self._closed = True
        while not self._lock.acquire(timeout=LEAST_S):  # an action is under way, or just began
            self.kill()
        try:
            self._env.close()
        finally:
            self._lock.release()

    def _hold(self) -> None:
        """Let no command run on after the deadline."""
        if self.deadline is None or self.research.attempts.final is not None:
            return
        left, limits = max(LEAST_S, self.deadline - time.monotonic()), self.research.limits
        training = None if limits.training_s is None else min(left, limits.training_s)
        self.research.session.limits = limits.changed(command_s=min(left, limits.command_s), training_s=training)

    def _account(
        self, text: str, reward: SupportsFloat, terminated: bool, truncated: bool, info: dict[str, Any]
    ) -> Outcome:
        """What a step came to, added up."""
        scored = bool(info["scored"])
        self.steps += 1
        self.reward = self.reward + float(reward) if scored and self.reward is not None else None
        for name, value in info.get("rewards", {}).items():
            self.parts[name] = self.parts.get(name, 0.0) + value
        self.done = terminated or truncated
        if self.done:
            self.status = info.get("status", "not_scored")
            self.noise = info.get("noise", 0.0)
            if scored and "final" in info:
                self.progress = self.research.progress(info["final"]["test"], "test")
            self._end = Outcome(AFTER_END, 0.0 if scored else None, terminated, truncated, {"scored": scored})
        return Outcome(text, float(reward) if scored else None, terminated, truncated, info)
