"""Write strategy.py: a player with three chances of playing 1."""

FIRST = 0.5  # in the first round
AFTER_0 = 0.5  # after the other's 0
AFTER_1 = 0.5  # after the other's 1

PLAYER = '''"""The row player: change `row_strategy`; its name, its argument and its answer must stay."""

import random


def row_strategy(history):
    """Return 0 or 1. `history` is the list of the earlier rounds of this game: (your move, the other's)."""
    chance = {first} if not history else ({zero}, {one})[history[-1][1]]
    return int(random.random() < chance)
'''

with open("strategy.py", "w") as file:
    file.write(PLAYER.format(first=FIRST, zero=AFTER_0, one=AFTER_1))
