"""Hidden from the agent: the opponent of a repeated game of two moves, and its pay-offs. Change both."""

import numpy as np
from kinds import games

PAYOFFS = [[1, -1], [-1, 1]]  # the row player's, by its move and the opponent's: here it wins by matching


def opponent(rng, rows, columns):
    """Its next moves from all earlier ones (axes: game, round): 0 or 1 at first, later mostly the row player's last."""
    drawn = rng.random(len(rows))  # always the same amount of luck, whatever the row player did
    if rows.shape[1] == 0:
        return (drawn < 0.5).astype(int)
    return np.where(drawn < 0.7, rows[:, -1], 1 - rows[:, -1])


def prepare(public, private, *, settings, seed):
    """There is no data, only the opponent's luck."""
    games.prepare(private)


def grade(submission, private, *, settings, split, seed):
    """The row player's mean pay-off a round."""
    return games.grade(games.matrix(PAYOFFS, opponent), submission, private, split, seed)
