"""One episode as training sees it: the tokens that a policy read and wrote, and what they earned.

Every adapter and exporter is a pure function of this record. The tokens are the sampler's own: text that was decoded is
never encoded again.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mlgym.disk import write_whole
from mlgym.errors import UsageError
from mlgym.records import Message, Record, Text

Status = Literal["submitted", "no_submission", "invalid", "gave_up", "timeout", "budget", "tampered", "not_scored"]
Stop = Literal["stop", "length", "context", "deadline", "refused"]


class Turn(Record):
    """One reply of the policy: the tokens `start` to `end` (exclusive) of the trajectory's `ids`.

    `stop` says why the sampler stopped; `policy` is the version of the weights that wrote it. `step` is the step of the
    episode that it led to, 0 where none came of it. Seconds: `model_s` of sampling, `env_s` of the environment.
    """

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    stop: Stop = "stop"
    policy: int = 0
    step: int = 0
    model_s: float = 0.0
    env_s: float = 0.0


class Trajectory(Record):
    """A rollout. `prompt` are the tokens before the first reply, `ids` all that came after, replies and observations.

    `mask` is 1 where the policy wrote and 0 where the environment did; `logprobs` are the sampler's, in nats and at its
    own `temperature`, 0.0 where `mask` is 0. All three have one entry for each token of `ids`; all are empty where the
    server tells no tokens, and the `messages` are what there is. `reward` is None where the episode is not scored: it
    belongs in no group. `parts` are its components, which sum to it; `progress` is the final test progress. `group`
    joins the rollouts of one task and seed that are compared with each other.
    """

    task: str
    seed: int = 0
    group: str = ""
    prompt: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    mask: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    turns: tuple[Turn, ...] = ()
    temperature: float = 1.0
    messages: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    reward: float | None = None
    parts: dict[str, float] = Field(default_factory=dict)
    progress: float | None = None
    status: Status = "not_scored"
    ended: str = ""
    why: Text = ""
    model: Text = ""
    noise: float = 0.0

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if not len(self.ids) == len(self.mask) == len(self.logprobs):
            raise ValueError("ids, mask and logprobs must have one entry for each token")
        return self

    @property
    def text(self) -> str:
        """The conversation to be read: each message under its role, calls of tools as they were written."""
        parts = []
        for one in self.messages:
            calls = [f"{call.name} {call.arguments}" for call in one.calls]
            parts.append("\n".join(filter(None, (f"[{one.role}]", one.content, *calls))))
        return "\n\n".join(parts)


def write(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """Write a batch as JSONL, whole or not at all; raises StorageError."""
    write_whole(path, b"".join(each.model_dump_json().encode() + b"\n" for each in trajectories))


def read(path: Path) -> Iterator[Trajectory]:
    """The trajectories of a JSONL file; raises UsageError, naming the line that is none."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield Trajectory.model_validate_json(line)
                except ValidationError as error:
                    raise UsageError(f"{path}, line {number}, is no trajectory.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
