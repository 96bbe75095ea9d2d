"""Hidden from the agent: splits table.csv, which lies beside this file, and grades predictions."""

from pathlib import Path

from kinds import tables


def prepare(public, private, *, settings, seed):
    """`validation` and `test` say how many rows each has; both are shown as one unlabelled, shuffled pool."""
    parts = {name: settings[name] for name in ("id", "target", "validation", "test")}
    tables.prepare(Path(__file__).with_name("table.csv"), public, private, seed=seed, **parts)


def grade(submission, private, *, settings, split, seed):
    """The metric, with what goes with it."""
    path, answers = submission.path("submission.csv"), private / "answers.csv"
    about = {"id": settings["id"], "target": settings["target"], "split": split}
    if settings["classes"]:
        return tables.grade_classes(path, answers, classes=settings["classes"], **about)
    return tables.grade_numbers(path, answers, **about)
