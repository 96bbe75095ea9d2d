"""Colonel Blotto: the hidden opponent spreads its soldiers at random."""

import numpy as np
from kinds import games

FIELDS, SOLDIERS = 6, 120


def opponent(rng, rows, columns):
    """Six uniform numbers from 0 to 120, scaled to 120 and truncated; one random field takes the remainder."""
    drawn = rng.integers(0, SOLDIERS + 1, (len(rows), FIELDS))
    lucky = rng.integers(0, FIELDS, len(rows))
    spread = drawn * SOLDIERS // np.maximum(drawn.sum(axis=1, keepdims=True), 1)
    spread[np.arange(len(rows)), lucky] += SOLDIERS - spread.sum(axis=1)
    return spread


def prepare(public, private, *, settings, seed):
    """There is no data, only the opponent's luck."""
    games.prepare(private)


GAME = games.Game(
    opponent,
    payoff=lambda row, column: np.sign((row > column).sum(axis=1) - (row < column).sum(axis=1)),
    valid=lambda row: (row >= 0).all(axis=1) & (row <= SOLDIERS).all(axis=1) & (row.sum(axis=1) <= SOLDIERS),
    rule="6 whole numbers, none negative, with a sum of at most 120",
    width=FIELDS,
)


def grade(submission, private, *, settings, split, seed):
    """The row player's mean pay-off a round."""
    return games.grade(GAME, submission, private, split, seed)
