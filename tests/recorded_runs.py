"""Runs for test_exporters.py: episodes as they would be stored, without a sandbox, as many and as good as asked."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlgym.records import Action, Attempt, EpisodeSpec, Limits, Message, Observation, Reply, Result, Step, ToolCall
from mlgym.store import Episode, episode_folder
from mlgym.task import load_task
from mlgym.trajectory import Trajectory, Turn

TASK = "duel-s0-d0.2"


def step(
    n: int, tool: str, seen: str = "", *, marks: Sequence[str] = (), score: float | None = None, **more: Any
) -> Step:
    """A step with the arguments `args`; `score` is what `validate` has shown."""
    fields = {key: more.pop(key) for key in ("reward", "calls", "status") if key in more}
    status = fields.pop("status", "ok")
    shown = None if score is None else {"skill": score}
    action = Action(tool=tool, thought=more.pop("thought", ""), call=more.pop("call", ""), args=more)
    observation = Observation(text=seen, tool=tool, validation=shown, status=status)
    return Step(n=n, action=action, observation=observation, marks=tuple(marks), **fields)


def plain_steps(what: str) -> list[Step]:
    """Look, change, validate, submit."""
    return [
        step(1, "bash", "write.py\n", command="ls", thought="Look."),
        step(2, "bash", "", command=f"echo {what} > strategy.txt", thought="Change it."),
        step(3, "validate", "Your scores", score=0.5, reward=0.5),
        step(4, "submit", "Over.", status="end"),
    ]


def episode(
    run: Path,
    *,
    task: str = TASK,
    agent: str = "tuner",
    seed: int = 0,
    progress: float | None = 0.5,
    steps: Sequence[Step] = (),
    spec: dict[str, Any] | None = None,
    **result: Any,
) -> Path:
    """Store an episode with its final attempt; its folder."""
    home = load_task(task)
    about = EpisodeSpec(
        task=home.reference, version=home.version, agent=agent, seed=seed, limits=Limits(steps=9), **(spec or {})
    )
    folder = episode_folder(run, about)
    store = Episode.open(folder, about)
    taken = steps or plain_steps(f"{agent} {seed}")
    for each in taken:
        store.add_step(each)
    scores = {home.metric: progress if progress is not None else 0.0}
    final = Attempt(n=0, step=len(taken), kind="submit", valid=True, validation=scores, test=scores)
    store.add_attempt(final)
    fields: dict[str, Any] = {"metric": home.metric, "attempts": (final,), "final": scores, "progress": progress}
    fields |= {"ended": "submitted", "steps": len(taken), "baseline": {"validation": {home.metric: 0.0}}}
    store.finish(Result(**{**fields, **result}))
    store.close()
    return folder


def ask(store: Episode, messages: Sequence[Message], text: str, *calls: str) -> list[Message]:
    """Record an answer of a model that calls `bash` with these commands; the messages with it."""
    made = tuple(ToolCall(id=c, name="bash", arguments=json.dumps({"command": c})) for c in calls)
    store.add_call(messages, [{"function": {"name": "bash"}}], Reply(text=text, calls=made, tokens_in=9, tokens_out=3))
    return [*messages, Message(role="assistant", content=text, calls=made)]


def trajectory(**fields: Any) -> Trajectory:
    """Two replies and what the environment said between them."""
    messages = [("user", "Begin."), ("assistant", "ls"), ("user", "write.py"), ("assistant", "submit")]
    given: dict[str, Any] = {
        "task": TASK,
        "prompt": (1, 2),
        "ids": (3, 4, 9, 5),
        "mask": (1, 1, 0, 1),
        "logprobs": (-0.5, -0.25, 0.0, -1.0),
        "turns": (Turn(start=0, end=2, step=1), Turn(start=3, end=4, step=2)),
        "messages": tuple(Message(role=role, content=text) for role, text in messages),
        "reward": 0.5,
        "progress": 0.5,
        "status": "submitted",
        "ended": "submitted",
    }
    return Trajectory(**{**given, **fields})
