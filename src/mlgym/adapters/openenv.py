"""OpenEnv: an Environment for its own `create_app`, and the tasks that it provides.

This module imports openenv, so nothing here imports it. OpenEnv's server loses an episode whose action takes longer
than its client waits (60 s unless told otherwise); `mlgym serve` speaks the same protocol and does not.
"""

from collections.abc import Iterable
from typing import Any

from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State

from mlgym import wire
from mlgym.offer import Offer, Reset, listed
from mlgym.session import LocalSession


class MlgymAction(Action):  # type: ignore[misc]
    """A command line in `text`, or a call of `tool`."""

    text: str | None = None
    tool: str | None = None
    args: dict[str, Any] = {}  # noqa: RUF012 - a model of pydantic


class MlgymObservation(Observation):  # type: ignore[misc]
    """What the agent reads; `reward` is None where the step is not scored, `metadata` as in `mlgym.wire`."""

    text: str = ""


class MlgymEnvironment(Environment):  # type: ignore[misc]
    """Episodes of tasks (names, suites, families; the benchmark's own where `include_eval`), of which `reset` is told
    one as `mlgym.offer.Reset` says. `options` as for `session.LocalSession`; those given here no client can choose.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, tasks: Iterable[str] = ("train",), *, include_eval: bool = False, **options: Any) -> None:
        super().__init__()
        self._offer, self._options = Offer(tasks, include_eval), options
        self._session: LocalSession | None = None
        self._id: str | None = None

    def reset(self, seed: int | None = None, episode_id: str | None = None, **chosen: Any) -> MlgymObservation:
        """Begin an episode; raises UsageError for a task that is not offered."""
        self.close()
        wanted = Reset(seed=seed, **chosen)
        task, self._id = self._offer.task(wanted), episode_id
        self._session = LocalSession(task, **{**self._offer.options(wanted, task), **self._options})
        text = self._session.reset(seed or 0)
        return MlgymObservation(text=text, metadata=wire.finite({"brief": self._session.brief.model_dump()}))

    def step(self, action: MlgymAction, timeout_s: float | None = None) -> MlgymObservation:
        """Take an action; raises ValueError before a reset."""
        asked = wire.Asked(text=action.text, tool=action.tool, args=action.args)
        if self._session is None:
            raise ValueError("There is no episode yet: call reset() first.")
        return MlgymObservation(**wire.told(self._session, self._session.act(asked.action())))

    @property
    def state(self) -> State:
        """The episode's id and its count of steps."""
        return State(episode_id=self._id, step_count=self._session.steps if self._session else 0)

    def close(self) -> None:
        """End the sandbox."""
        if self._session is not None:
            self._session.close()

    def list_splits(self) -> list[str]:
        """`test` has the benchmark's tasks, `train` all others."""
        return list(self._offer.splits)

    def num_tasks(self, split: str) -> int:
        """How many a split has."""
        return len(self._offer.splits.get(split, []))

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """One of them; raises IndexError where there is none."""
        return listed(self._offer.splits.get(split, [])[index], index)
