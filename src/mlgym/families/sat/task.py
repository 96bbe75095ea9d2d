"""Heuristics for SAT of a drawn law, by their decisions. Hidden from the agent."""

from pathlib import Path

from kinds import counted

HERE = Path(__file__).parent


def prepare(public, private, *, settings, seed):
    """Draw the formulas, and count for them what the starter and the hidden solution need."""
    files = (HERE / folder / "heuristic.py" for folder in ("workspace", "solution"))
    counted.prepare(public, private, *files, settings, seed)


def grade(submission, private, *, settings, split, seed):
    """The skill, and the decisions that it comes from."""
    return counted.grade(submission, private, split=split, seed=seed)
