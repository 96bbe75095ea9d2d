"""Finds the peak: climbs by jumps while they lead upward, then goes on place by place."""

JUMP = 4  # places in a jump


def peak(n):
    """A generator: `yield (i, j)` is a question, its value 1 where i is lower; returned is the place, as a list."""
    low, high = 0, n  # from low to high - 1
    while high - low > 1:
        step = min(JUMP, high - low - 1) if high == n else 1
        at = low + step
        if (yield (at - 1, at)):
            low = at
        else:
            high = at
    return [low]
