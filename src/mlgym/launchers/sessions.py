"""Sessions on the machines of a Ray cluster: each in an actor of its own, which holds what its task asks for."""

import contextlib
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mlgym.env import render_brief
from mlgym.errors import MlgymError, SandboxError, UsageError
from mlgym.launchers.joining import joined
from mlgym.records import Action, Brief
from mlgym.session import Elsewhere, Outcome
from mlgym.task import load_task

PACKAGE = "mlgym-env"
STATE = ("done", "steps", "reward", "parts", "status", "progress", "noise", "clocks")
END_S = 10.0  # what an actor has to let its sandbox go


def place() -> type:
    """The class of the actors. It is sent as it stands, so that a machine with another mlgym, or none, can say so."""

    class Place:
        def __init__(self) -> None:
            self.session: Any = None

        def begin(self, theirs: str, task: str, seed: int, options: dict[str, Any]) -> "Brief":
            import importlib.metadata

            found = importlib.metadata.version("mlgym-env")
            if found != theirs:
                raise ValueError(f"a machine of the Ray cluster has mlgym {found}, this one {theirs}")
            from mlgym.session import LocalSession

            self.session = self.session or LocalSession(task, **options)
            self.session.reset(seed)
            brief: Brief = self.session.brief
            return brief

        def act(self, action: "str | Action", left_s: float | None) -> "tuple[Outcome, dict[str, Any]]":
            import time

            from mlgym.launchers.sessions import STATE

            self.session.deadline = None if left_s is None else time.monotonic() + left_s
            outcome = self.session.act(action)
            return outcome, {name: getattr(self.session, name) for name in STATE}

        def kill(self) -> None:
            if self.session is not None:
                self.session.kill()

        def close(self) -> None:
            if self.session is not None:
                self.session.close()

    return Place


class RaySessions:
    """Opens sessions on a cluster: `auto`, `local` for one that is started here, or the address of its head.

    `places` is how many the cluster has processors for, one each. Raises UsageError where there is no cluster.
    """

    def __init__(self, address: str = "auto") -> None:
        self._ray, self._joined = joined("" if address == "auto" else address)
        self._kind = self._ray.remote(place())
        self._most = max((node["Resources"].get("CPU", 0.0) for node in self._ray.nodes() if node["Alive"]), default=0)
        self.places = int(self._ray.cluster_resources().get("CPU", 1)) or 1

    def open(self, task: str, **options: Any) -> "RaySession":
        """A session of a task; `options` as for LocalSession."""
        limits = load_task(task).limits
        actor = self._kind.options(
            num_cpus=min(limits.processors, self._most), num_gpus=limits.gpus, max_restarts=0, max_concurrency=3
        )
        return RaySession(self._ray, actor.remote(), task, options)

    def close(self) -> None:
        """Leave the cluster, or end it where this has started it."""
        if self._joined:
            self._ray.shutdown()


class RaySession(Elsewhere):
    """A Session in an actor. One that is lost with its machine ends the episode, not scored."""

    def __init__(self, ray: Any, actor: Any, task: str, options: Mapping[str, Any]) -> None:
        self._ray, self._actor, self._task, self._options = ray, actor, task, dict(options)
        self.clocks = 0.0, 0.0
        super().__init__()

    def reset(self, seed: int = 0) -> str:
        """Begin anew, once the cluster has a place for it; returns the brief as text. Raises SandboxError."""
        if self._closed:
            raise UsageError("The session is closed: open another.")
        self._clear()
        begun = self._actor.begin.remote(version(PACKAGE), self._task, seed, self._options)
        until = self.deadline
        if until is not None and not self._ray.wait([begun], timeout=max(0.0, until - time.monotonic()))[0]:
            raise SandboxError("The Ray cluster had no place for the session before the deadline.")
        self._brief = self._got(begun)
        return render_brief(self.brief)

    def _acted(self, action: str | Action, left: float | None) -> Outcome:
        """Have the actor take the action."""
        outcome, state = self._got(self._actor.act.remote(action, left))
        for name, value in state.items():
            setattr(self, name, value)
        made: Outcome = outcome
        return made

    def kill(self) -> None:
        """End the sandbox from another thread: the action under way finds it lost; the last valid attempt counts."""
        self._actor.kill.remote()

    def close(self) -> None:
        """End the sandbox and the actor, from any thread; nothing is graded."""
        self._closed = True
        with contextlib.suppress(Exception):  # a machine that is gone has done so
            self._ray.wait([self._actor.close.remote()], timeout=END_S)
            self._ray.kill(self._actor)

    def _got(self, ref: Any) -> Any:
        """What an actor answers; raises what it raised, and SandboxError where it was lost."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:
            if isinstance(error.cause, MlgymError):
                raise error.cause from None
            raise UsageError(f"A session on the Ray cluster failed: {error.cause}.") from error
        except errors.RayError as error:
            raise SandboxError(f"A session on the Ray cluster was lost ({type(error).__name__}).") from error
