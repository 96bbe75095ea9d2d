"""The row player: change `row_strategy`; its name, its argument and its answer must stay."""

import random


def row_strategy(history):
    """Return 0 or 1. `history` is the list of the earlier rounds of this game: (your move, the other's)."""
    chance = 0.5 if not history else (0.5, 0.5)[history[-1][1]]
    return int(random.random() < chance)
