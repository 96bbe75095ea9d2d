"""An episode as JSON, both ways: what `mlgym serve` and its clients send each other, in the forms of OpenEnv 0.10."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mlgym.errors import UsageError
from mlgym.records import Action, Args, Text
from mlgym.session import Outcome, Session

RUNNING = 'Running: job {job}. Ask again for its result with the action {{"poll": "{job}"}}.'


class Asked(BaseModel):
    """An action: a command line in `text`, a call of `tool`, or the question `poll` how far a job is.

    Exactly one of the three is given. `metadata` is OpenEnv's and is not looked at.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Text | None = Field(default=None, description="A command line for the task's sandbox.")
    tool: Text | None = Field(default=None, description="The name of a tool; 'end' ends the episode as it stands.")
    args: Args = Field(default_factory=dict, description="The arguments of the tool.")
    thought: Text = ""
    id: Text = ""
    call: Text = ""
    poll: str | None = Field(default=None, description="A job's number: wait for what a long action comes to.")
    metadata: dict[str, Any] = Field(default_factory=dict)

    def action(self) -> str | Action:
        """The action for a Session; raises UsageError unless just one was asked for."""
        if sum(given is not None for given in (self.text, self.tool, self.poll)) != 1:
            raise UsageError("An action has one of text, tool and poll.")
        if self.tool is not None:
            return Action(tool=self.tool, args=self.args, thought=self.thought, id=self.id, call=self.call)
        return self.text or ""


def asked(action: str | Action) -> dict[str, Any]:
    """An action as it is sent."""
    return {"text": action} if isinstance(action, str) else finite(action.model_dump())


class Told(BaseModel):
    """An observation: `text` is for the agent. `job` is the number of the action that still runs, else empty.

    The fields `done` and `reward` (None: not scored) stand beside it in a message. `metadata` has what the session is
    at: steps, reward (the sum so far), parts, status, progress, noise, and of the last action terminated, truncated and
    info; after a reset also the brief.
    """

    model_config = ConfigDict(extra="forbid")

    text: str = ""
    session: str = ""
    job: str = ""
    done: bool = False
    reward: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


def told(session: Session, outcome: Outcome) -> dict[str, Any]:
    """What came of an action, as the fields of a Told."""
    metadata = {
        "steps": session.steps,
        "reward": session.reward,
        "parts": session.parts,
        "status": session.status,
        "progress": session.progress,
        "noise": session.noise,
        "terminated": outcome.terminated,
        "truncated": outcome.truncated,
        "info": _shown(outcome.info, outcome.done),
    }
    return {"text": outcome.text, "done": outcome.done, "reward": outcome.reward, "metadata": finite(metadata)}


def message(told: dict[str, Any]) -> dict[str, Any]:
    """The data of an observation message: `done` and `reward` beside the observation, the metadata in both places."""
    inner = {key: value for key, value in told.items() if key not in ("done", "reward")}
    return {"observation": inner, "reward": told["reward"], "done": told["done"], "metadata": told["metadata"]}


def finite(value: Any) -> Any:
    """`value` with None for each number that JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(info: dict[str, Any], done: bool) -> dict[str, Any]:
    """`info` without scores on the test data while the episode goes on: some clients show all of it to their model."""
    attempt = info.get("attempt")
    return info if done or not attempt else {**info, "attempt": {**attempt, "test": None}}
