"""The row player: change `row_strategy`; its name, its argument and its answer must stay."""

import random

FIELDS = 6
SOLDIERS = 120
MAX_DRAWS = 6  # a random field is reinforced 1 to MAX_DRAWS times …
SMALLEST, LARGEST = 10, 30  # … by that many soldiers each time


def row_strategy(history):
    """Return 6 whole numbers, none negative, with a sum of at most 120: the soldiers sent to each field.

    `history` is the list of the earlier rounds of this game: (row's six numbers, opponent's six numbers).
    """
    soldiers = [0] * FIELDS
    for _ in range(random.randint(1, MAX_DRAWS)):
        soldiers[random.randrange(FIELDS)] += random.randint(SMALLEST, LARGEST)
    left = max(SOLDIERS - sum(soldiers), 0)
    for field in range(FIELDS):
        if soldiers[field] == 0:
            soldiers[field] = random.randint(0, left)
            left -= soldiers[field]
    return scaled(soldiers)


def scaled(soldiers):
    """The same shares of exactly SOLDIERS soldiers; a random field takes what the rounding leaves."""
    total = max(sum(soldiers), 1)
    shares = [SOLDIERS * number // total for number in soldiers]
    shares[random.randrange(FIELDS)] += SOLDIERS - sum(shares)
    return shares
