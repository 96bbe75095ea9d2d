"""3-SAT heuristics: random formulas, from easy ones to the phase transition. Hidden from the agent."""

from pathlib import Path

from kinds import sat


def prepare(public, private, *, settings, seed):
    """Draw the formulas; all are timed against the baseline that the agent finds: another one is another version."""
    sat.prepare(public, private, Path(__file__).parent / "workspace" / "heuristic.py", settings["groups"])


def grade(submission, private, *, settings, split, seed):
    """The heuristic's processor time as a share of the baseline's."""
    return sat.grade(submission, private, rounds=settings["rounds"], split=split, seed=seed)
