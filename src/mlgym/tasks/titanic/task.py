"""Titanic: the labelled passengers of Kaggle's file in a split of our own. Hidden from the agent.

Kaggle's test file has no outcomes, so its 418 passengers are left out.
"""

from kinds.tables import grade_classes


def prepare(public, private, *, settings, seed):
    """`validation` and `test` say how many passengers each has; both are shown as one unlabelled, shuffled pool."""
    import pandas as pd

    # read as text, so that every value stays as it is
    table = pd.read_csv(settings["sources"]["passengers"], dtype=str, keep_default_na=False)
    table = table.sample(frac=1, random_state=seed)
    first, second = settings["validation"], settings["validation"] + settings["test"]
    pool = pd.concat([table[:first].assign(split="validation"), table[first:second].assign(split="test")])
    pool = pool.sample(frac=1, random_state=seed)

    table[second:].to_csv(public / "train.csv", index=False)
    pool.drop(columns=["Survived", "split"]).to_csv(public / "test.csv", index=False)
    pool[["PassengerId"]].assign(Survived=0).to_csv(public / "sample_submission.csv", index=False)
    pool[["PassengerId", "Survived", "split"]].to_csv(private / "answers.csv", index=False)


def grade(submission, private, *, settings, split, seed):
    """Accuracy."""
    path, answers = submission.path("submission.csv"), private / "answers.csv"
    return grade_classes(path, answers, id="PassengerId", target="Survived", split=split, classes=("0", "1"))
