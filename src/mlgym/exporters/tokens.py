"""The trajectories of training as they are: the tokens that a policy read and wrote, and what they earned."""

from collections.abc import Iterator

from mlgym.exporters.chat import Row
from mlgym.exporters.reading import Sample
from mlgym.exporters.shape import Shape

TRAJECTORIES: dict[str, Shape] = {
    "task": "string",
    "seed": "int64",
    "group": "string",
    "prompt": ["int64"],
    "ids": ["int64"],
    "mask": ["int64"],
    "logprobs": ["float64"],
    "turns": ["json"],
    "temperature": "float64",
    "messages": ["json"],
    "tools": ["json"],
    "reward": "float64",
    "parts": "json",
    "progress": "float64",
    "status": "string",
    "ended": "string",
    "why": "string",
    "model": "string",
    "noise": "float64",
}


SPELL = ("prompt_token_ids", "completion_token_ids", "logprobs")  # of a step of ATIF


def scrubbed(row: Row, clean: Row) -> Row:
    """The clean row, without tokens where a text of it was changed: they spell what was replaced there."""
    texts = "messages" if "ids" in row else "steps"
    if row.get(texts) == clean.get(texts):
        return clean
    if "ids" in row:
        turns = [{**turn, "start": 0, "end": 0} for turn in clean["turns"]]
        return {**clean, **{key: [] for key in ("prompt", "ids", "mask", "logprobs")}, "turns": turns}
    for step in clean.get("steps", ()):
        if isinstance(step.get("metrics"), dict):
            step["metrics"] = {key: value for key, value in step["metrics"].items() if key not in SPELL}
    return clean


def trajectory(sample: Sample) -> Iterator[Row]:
    """The record; an episode that was stored without its tokens has none."""
    if sample.trajectory:
        yield sample.trajectory.model_dump(mode="json")
