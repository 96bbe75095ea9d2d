"""Runs written as records, without an agent having run: what the report and its tests read."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mlgym.records import Action, Attempt, Cost, EpisodeSpec, Observation, Result, Step
from mlgym.store import episode_folder
from mlgym.task import load_task

TOOLS = ("bash", "view", "create", "validate")


def episode(run: Path, task: str, agent: str, seed: int, scores: Sequence[float | None], **fields: Any) -> Path:
    """Write an episode of `scores`, one an attempt, the last one submitted; `fields` are of its Result.

    `model` and `sampling` are of its spec. Scores of None are attempts that were not valid.
    """
    loaded = load_task(task)
    asked = {name: fields.pop(name) for name in ("model", "sampling") if name in fields}
    spec = EpisodeSpec(task=task, version=loaded.version, agent=agent, seed=seed, **asked)
    folder = episode_folder(run, spec)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec.model_dump_json())
    attempts = [_attempt(n, score, loaded.metric, len(scores)) for n, score in enumerate(scores)]
    valid = [score for score in scores if score is not None]
    sign = 1 if loaded.direction == "maximize" else -1
    base = loaded.anchors.baseline if loaded.anchors else {}
    given: dict[str, Any] = {
        "ended": "submitted",
        "metric": loaded.metric,
        "attempts": tuple(attempts),
        "baseline": {split: {loaded.metric: value} for split, value in base.items()},
        "best": {loaded.metric: max(valid, key=lambda score: sign * score)} if valid else None,
        "final": {loaded.metric: scores[-1]} if scores and scores[-1] is not None else None,
        "progress": progress(task, scores[-1] if scores else None),
        "steps": 2 * len(scores),
        "cost": Cost(money=0.1 if "model" in asked else 0.0, command_s=float(len(scores)), tokens_in=1000),
    }
    (folder / "result.json").write_text(Result.model_validate(given | fields).model_dump_json())
    lines = [_step(n).model_dump_json() for n in range(1, 2 * len(scores) + 1)]
    (folder / "steps.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def progress(task: str, score: float | None) -> float | None:
    """The progress of a test score on the identity scale."""
    anchors = load_task(task).anchors
    if anchors is None or anchors.best is None:
        return None
    base = anchors.baseline["test"]
    return -1.0 if score is None else max(-1.0, (score - base) / abs(anchors.best - base))


def at(task: str, share: float) -> float:
    """The test score with that progress, of a task with anchors on the identity scale."""
    anchors = load_task(task).anchors
    assert anchors and anchors.best is not None
    base = anchors.baseline["test"]
    return base + share * (anchors.best - base)


def lock(run: Path, tasks: Iterable[str], name: str, **facts: Any) -> None:
    """Give the run a protocol.lock whose tasks have hashes of `name`, and these facts."""
    content = {"task_protocol": {"hash": name, "tasks": {task: {"hash": f"{name}-{task}", **facts} for task in tasks}}}
    run.mkdir(parents=True, exist_ok=True)
    (run / "protocol.lock").write_text(json.dumps(content))


def _attempt(n: int, score: float | None, metric: str, many: int) -> Attempt:
    scores = None if score is None else {metric: score}
    kind: Any = "submit" if n + 1 == many else "validate"
    return Attempt(n=n, step=2 * n + 2, kind=kind, valid=score is not None, validation=scores, test=scores)


def _step(n: int) -> Step:
    tool = TOOLS[n % len(TOOLS)]
    return Step(n=n, action=Action(tool=tool), observation=Observation(text="", tool=tool), command_s=0.5)
