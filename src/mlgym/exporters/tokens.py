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


def trajectory(sample: Sample) -> Iterator[Row]:
    """The record; an episode that was stored without its tokens has none."""
    if sample.trajectory:
        yield sample.trajectory.model_dump(mode="json")
