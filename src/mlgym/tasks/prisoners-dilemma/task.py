"""Prisoner's dilemma: the hidden opponent draws one of eleven rules anew at every move."""

import numpy as np
from kinds import games


def opponent(rng, rows, columns):
    """One of eleven rules for each game, drawn uniformly at every move; 0 cooperates."""
    rule, coin, luck = rng.integers(0, 11, len(rows)), rng.integers(0, 2, len(rows)), rng.random(len(rows))
    always, never = np.zeros(len(rows), int), np.ones(len(rows), int)
    if rows.shape[1] == 0:
        firsts = [never, always, always, never, coin, always, always, always, never, coin, always]
        return np.choose(rule, firsts)
    row, own = rows[:, -1], columns[:, -1]
    twice = (row & rows[:, -2]) if rows.shape[1] > 1 else always
    noisy_copier = np.select([luck < 1 / 3, luck < 1 / 2, luck < 0.9], [always, never, own], 1 - row)
    grim = rows.max(axis=1)
    pavlov = row ^ own
    forgiving = row & (1 - twice)
    return np.choose(rule, [noisy_copier, row, always, never, coin, grim, pavlov, twice, row, coin, forgiving])


def prepare(public, private, *, settings, seed):
    """There is no data, only the opponent's luck."""
    games.prepare(private)


def grade(submission, private, *, settings, split, seed):
    """The row player's mean pay-off a round."""
    return games.grade(games.matrix([[3, 0], [5, 1]], opponent), submission, private, split, seed)
