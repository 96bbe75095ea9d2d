"""Finds the lowest and the highest: of each block, then of all blocks."""

BLOCK = 8  # things in a block


def extremes(n):
    """A generator: `yield (i, j)` is a question, its value 1 where i is lower; returned are the lowest and highest."""
    lows, highs = [], []
    for start in range(0, n, BLOCK):
        block = list(range(start, min(start + BLOCK, n)))
        low = high = block[0]
        for thing in block[1:]:
            if (yield (thing, low)):
                low = thing
            elif len(block) == 2 or (yield (high, thing)):
                high = thing
        lows.append(low)
        highs.append(high)
    low, high = lows[0], highs[0]
    for thing in lows[1:]:
        low = thing if (yield (thing, low)) else low
    for thing in highs[1:]:
        high = thing if (yield (high, thing)) else high
    return [low, high]
