"""What a tool is given: the session of one episode; and how a tool fails."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mlgym.memory import Memory
from mlgym.records import Attempt, Limits, Scores, Split
from mlgym.sandbox.shell import Shell

Tool = Callable[..., str]
Failure = Literal["error", "timeout", "format"]


class Papers(Protocol):
    """Where literature is looked up; what is found is text to show. Raises SourceError where there is none."""

    def search(self, query: str, most: int, start: int, source: str | None) -> str:
        """At most so many papers of each source that match, from place `start` on, each with its id."""

    def read(self, id: str, start: int) -> str:
        """A part of the paper of that id, from character `start` on."""


@dataclass
class Session:
    """The tools' view of an episode.

    `grade` makes an attempt of a kind ("validate" or "submit"); `feedback` is the split that `validate` shows, and
    `baseline` are the starter's scores on it. `state` is what the tools remember between calls, JSON values only;
    `ended` is set by `submit`; `attempt` is the one that the last call made. `memory` and `papers` are None where the
    episode has none; `step` is the number of the step under way, `score` the best that was shown before it.
    """

    shell: Shell
    limits: Limits
    grade: Callable[[Literal["validate", "submit"]], Attempt]
    baseline: Scores
    feedback: Split = "validation"
    state: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    attempt: Attempt | None = None
    memory: Memory | None = None
    papers: Papers | None = None
    step: int = 0
    score: float | None = None

    def shown(self) -> Scores | None:
        """The scores of the last call's attempt that the agent may see."""
        return getattr(self.attempt, self.feedback) if self.attempt else None


class ToolError(Exception):
    """A tool could not do what it was asked; the text is for the agent, `status` that of the observation."""

    def __init__(self, text: str, status: Failure = "error") -> None:
        super().__init__(text)
        self.status: Failure = status
