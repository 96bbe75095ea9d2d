"""Recorded runs in the shape of the original's, made for tests: folders with TASK.traj and results.json."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORKSPACE = "/home/agent/workspace"
METRICS = {
    "battleOfSexes": ("Score", 1.0226699113845825),
    "blotto": ("Score", -0.24797001481056213),
    "3SATTime": ("Time", 16.158),
    "imageCaptioningCOCO": ("BLEU Score", 0.2793602467563585),
    "regressionKaggleHousePrice": ("r2", 0.8799891474739243),
}
Told = tuple[str, str]


def shown(task: str, score: float) -> str:
    """What `validate` says."""
    metric, base = METRICS[task]
    return (
        f"Your code produced a valid submission artefact at {WORKSPACE}/target.py.\n"
        f"Baseline Score: {{'{metric}': {base}}}\nEvaluation Score: {{'{metric}': {score}}}"
    )


def recorded_run(
    place: Path,
    steps: Sequence[Told] = (("ls\n", "a.py"),),
    scores: Sequence[float] = (),
    *,
    task: str = "battleOfSexes",
    model: str = "some-model",
    run: int = 0,
    exit: str = "submitted",
    opened: str = "n/a",
    **changes: Any,
) -> Path:
    """Lay a run into a new folder of `place`; a step whose answer is a number's text shows that score.

    Each of `changes` takes the place of an entry of the trajectory; None takes it away.
    """
    folder = place / f"metagen-{model}__{task}__default__t-0.00__p-0.95__c-4.00__install-0__parallel_agents_run_{run}"
    folder.mkdir(parents=True)
    metric, base = METRICS[task]
    trajectory, history = [], [{"role": "system", "content": "SETTING"}, {"role": "user", "content": "TASK"}]
    for action, answer in steps:
        observation = shown(task, float(answer)) if action.strip() == "validate" and _number(answer) else answer
        trajectory.append(
            {
                "action": action,
                "observation": observation,
                "response": f"I think.\n```\n{action}```",
                "thought": "I think.\n",
                "execution_time": 0.5,
                "state": json.dumps({"open_file": opened, "working_dir": WORKSPACE}),
            }
        )
        history += [
            {"role": "assistant", "content": trajectory[-1]["response"]},
            {"role": "user", "content": observation},
        ]
    listed = [{metric: score} for score in scores]
    stats = {"total_cost": 0.25, "tokens_sent": 1000, "tokens_received": 100, "api_calls": len(steps)}
    told = {
        "environment": "mlgym_main",
        "trajectory": trajectory,
        "history": history[:-1],
        "info": {"exit_status": exit, "submission": None, "score": listed, "model_stats": stats},
    }
    told = {name: value for name, value in {**told, **changes}.items() if value is not None}
    (folder / f"{task}.traj").write_text(json.dumps(told))
    (folder / "results.json").write_text(json.dumps({"agent": listed, "baseline": {metric: base}}))
    return folder


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
