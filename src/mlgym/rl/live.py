"""One row on its way: an episode, the conversation about it, and the trajectory that comes of it.

What a worker does (`open`, `act`, `end`) may take long and never runs beside anything else of the same row.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlgym.agents.replies import Want
from mlgym.env import END
from mlgym.records import Action, Message
from mlgym.rl.protocols import NONE, answers, said
from mlgym.rl.talk import Talk
from mlgym.session import AFTER_END, Outcome, Session
from mlgym.trajectory import Stop, Trajectory

LOST = "It could not be begun before the deadline."


@dataclass(frozen=True)
class Row:
    """What to roll out: a task and the episode's seed. Rows of one `group` are compared with each other."""

    task: str
    seed: int = 0
    group: str = ""


@dataclass(frozen=True)
class Taken:
    """A step that was taken: `calls` counts the replies so far, `model_s` are the seconds of sampling before it."""

    action: Action
    outcome: Outcome
    command_s: float
    grader_s: float
    model_s: float
    calls: int


class Live:
    """The state of one row under way; `trajectory` is there once it has ended, and nothing is left open then.

    `make` opens a session, `keep` is given the finished row while its session is still open. `again` counts how often
    the row was lost to the infrastructure before.
    """

    def __init__(
        self,
        place: int,
        row: Row,
        make: Callable[[str], Session],
        keep: Callable[["Live"], None],
        protocol: str,
        again: int = 0,
    ) -> None:
        self.place, self.row, self.again = place, row, again
        self._make, self._keep, self._protocol = make, keep, protocol
        self.session: Session | None = None
        self.talk: Talk | None = None
        self.wrong, self.killed, self.closed = 0, False, False
        self.taken: list[Taken] = []
        self.pending: list[Message] = []  # what the last reply is answered with, not yet told
        self.trajectory: Trajectory | None = None

    def open(self, until: float | None) -> None:
        """Begin the episode; no command of it runs on after `until` (as time.monotonic() counts)."""
        self.session = self._make(self.row.task)
        self.session.deadline = until
        if self.closed:  # meanwhile, by another thread
            self.close()
        self.session.reset(self.row.seed)

    def act(self, wants: Sequence[Want]) -> None:
        """Do what a reply asks for, one thing after another."""
        assert self.session is not None and self.talk is not None
        told = []
        for want in wants:
            assert want.action is not None
            outcome = self._step(want.action)
            told.append((want, outcome.text))
            if outcome.done:
                break
        told += [(want, AFTER_END) for want in wants[len(told) :]]
        self.pending = answers(told)
        self.talk.messages += self.pending
        none = all(want.action is not None and want.action.tool == NONE for want in wants)
        self.wrong = self.wrong + 1 if none else 0
        if self.session.done:
            late = self.session.deadline is not None and time.monotonic() >= self.session.deadline
            if self.killed or (late and outcome.info.get("ended") == "time"):
                self.talk.mark(stop="deadline")
            self.over()

    def end(self, reason: str, stop: Stop | None = None) -> None:
        """End the episode as it stands, for a reason of the engine's."""
        assert self.session is not None and self.talk is not None
        self._step(Action(tool=END, args={"reason": reason}))
        if stop and self.talk.turns:
            self.talk.mark(stop=stop)
        self.over()

    def said(self, text: str) -> None:
        """Keep a reply as a message."""
        assert self.talk is not None
        self.talk.messages.append(said(text, self._protocol, len(self.talk.turns)))

    def over(self, why: str = "") -> None:
        """Make the trajectory and let the session go; one that is given a `why` is not scored."""
        session, talk = self.session, self.talk
        info = self.taken[-1].outcome.info if self.taken else {}
        scored = session is not None and talk is not None and session.done and not why
        fields = {} if session is None or not scored else _earned(session)
        if talk is not None:
            fields |= talk.fields()
        ended = info.get("ended") or ("submitted" if "final" in info and scored else "error")
        self.trajectory = Trajectory(
            task=self.row.task,
            seed=self.row.seed,
            group=self.row.group,
            ended=ended,
            why=why or str(info.get("why") or ""),
            **fields,
        )
        if self.trajectory.reward is not None:
            self._keep(self)
        self.close()

    def kill(self) -> None:
        """End the sandbox under the action that is under way, where the session can do that; what it was counts."""
        kill = getattr(self.session, "kill", None)
        if kill:
            self.killed = True
            kill()

    def close(self) -> None:
        """Let the session go, at any time and from any thread."""
        self.closed = True
        if self.session is not None:
            with contextlib.suppress(Exception):
                self.session.close()

    def _step(self, action: Action) -> Outcome:
        """One step of the episode, with its seconds."""
        assert self.session is not None and self.talk is not None
        began, turns = time.perf_counter(), self.talk.turns
        ends = action.tool == END
        outcome = self.session.finish(action.args["reason"]) if ends else self.session.act(action)
        seconds = time.perf_counter() - began
        fresh = bool(turns) and turns[-1].step == 0
        if outcome.info.get("observation", {}).get("tool") == END and not ends:  # the deadline came before it
            action, ends = Action(tool=END, args={"reason": "time"}), True
        command_s, grader_s = getattr(self.session, "clocks", (seconds, 0.0))
        self.taken.append(Taken(action, outcome, command_s, grader_s, turns[-1].model_s if fresh else 0.0, len(turns)))
        if turns:
            self.talk.mark(step=0 if ends else len(self.taken), env_s=seconds)
        return outcome


def _earned(session: Session) -> dict[str, Any]:
    """What the episode came to."""
    return {
        "reward": session.reward,
        "parts": dict(session.parts),
        "progress": session.progress,
        "status": session.status,
        "noise": session.noise,
    }
