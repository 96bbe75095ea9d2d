"""Hidden from the agent: makes the two numbers, and grades a guess."""

import json

from kinds import InvalidSubmission


def prepare(public, private, *, settings, seed):
    """Put the answers where only the grader sees them; this task shows no data."""
    answers = {split: settings[split] for split in ("validation", "test")}
    (private / "answers.json").write_text(json.dumps(answers))


def grade(submission, private, *, settings, split, seed):
    """1 / (1 + distance) of the guess."""
    try:
        guess = float(submission.path("guess.txt").read_text())
    except ValueError as error:
        raise InvalidSubmission("guess.txt does not hold a number.") from error
    answer = json.loads((private / "answers.json").read_text())[split]
    return {"closeness": 1 / (1 + abs(guess - answer))}
