"""Titanic: the labelled passengers of Kaggle's file in a split of our own. Hidden from the agent.

Kaggle's test file has no outcomes, so its 418 passengers are left out.
"""

from kinds import tables


def prepare(public, private, *, settings, seed):
    """`validation` and `test` say how many passengers each has; both are shown as one unlabelled, shuffled pool."""
    sizes = {name: settings[name] for name in ("validation", "test")}
    source = settings["sources"]["passengers"]
    tables.prepare(source, public, private, id="PassengerId", target="Survived", seed=seed, **sizes)


def grade(submission, private, *, settings, split, seed):
    """Accuracy."""
    path, answers = submission.path("submission.csv"), private / "answers.csv"
    return tables.grade_classes(path, answers, id="PassengerId", target="Survived", split=split, classes=("0", "1"))
