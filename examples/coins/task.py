"""A bent coin: its tosses, and how near a guess comes to its chance. Hidden from the agent."""

import random

from kinds import texts


def prepare(public, private, *, settings, seed):
    """Toss the coin."""
    rng = random.Random(seed)
    tosses = ("H" if rng.random() < settings["chance"] else "T" for _ in range(settings["tosses"]))
    (public / "tosses.txt").write_text("".join(tosses) + "\n")


def grade(submission, private, *, settings, split, seed):
    """The share of the way from one half to the true chance; the same on both splits."""
    [guess] = texts.numbers(submission.path("guess.txt"), 1, 0, 1)
    return {"skill": 1 - abs(guess - settings["chance"]) / abs(0.5 - settings["chance"])}
