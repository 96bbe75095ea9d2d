"""A procedure whose questions are counted. Hidden from the agent."""

from pathlib import Path

from kinds import queries


def prepare(public, private, *, settings, seed):
    """Draw the cases, and count the starter's questions."""
    starter = Path(__file__).parent / f"workspace-{settings['problem']}" / "probe.py"
    about = {key: settings[key] for key in ("problem", "given", "count", "seed")}
    queries.prepare(private, starter, **about)


def grade(submission, private, *, settings, split, seed):
    """skill, and the mean number of questions."""
    about = {"problem": settings["problem"], "given": settings["given"]}
    return queries.grade(submission, private, **about, split=split, seed=seed)
