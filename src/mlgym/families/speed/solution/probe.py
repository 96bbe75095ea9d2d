"""Few questions for each of the problems, of which a task has one."""

import itertools


def find(n):
    """By the best tree: about halves, but the only place that is left needs no question."""
    best, first = [0, 0], [0, 0]  # the questions for all of so many places, and the first one
    for m in range(2, n + 1):
        first.append(min(range(m), key=lambda at: best[at] + best[m - 1 - at]))
        best.append(m + best[first[m]] + best[m - 1 - first[m]])
    low, high = 0, n
    while high - low > 1:
        at = low + first[high - low]
        said = yield (at,)
        if said == 0:
            return [at]
        low, high = (at + 1, high) if said > 0 else (low, at)
    return [low]


def peak(n):
    """By halves: the side that rises."""
    low, high = 0, n
    while high - low > 1:
        at = (low + high) // 2
        low, high = (at, high) if (yield (at - 1, at)) else (low, at)
    return [low]


def order(n):
    """Merge insertion (Ford and Johnson 1959)."""
    return (yield from merge_insertion(list(range(n))))


def merge_insertion(things):
    """The things sorted: those that win of pairs first, then the others, in groups that make the most of each look."""
    if len(things) < 2:
        return things
    below = {}
    for one, other in zip(things[::2], things[1::2], strict=False):
        less, more = (one, other) if (yield (one, other)) else (other, one)
        below[more] = less
    winners = yield from merge_insertion(list(below))
    left = [below[winner] for winner in winners] + things[len(things) // 2 * 2 :]
    chain, done, size, power = [left[0], *winners], 1, 2, 2
    while done < len(left):
        for n in range(min(done + size, len(left)) - 1, done - 1, -1):
            high = chain.index(winners[n]) if n < len(winners) else len(chain)
            low = 0
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if (yield (left[n], chain[middle])) else (middle + 1, high)
            chain.insert(low, left[n])
        done += size
        power *= 2
        size = power - size
    return chain


def pool(n, bad):
    """Each group splits what is still possible as evenly as it can."""
    possible = list(itertools.combinations(range(n), bad))
    while len(possible) > 1:
        counts = {}
        for each in possible:
            for thing in each:
                counts[thing] = counts.get(thing, 0) + 1
        group, hit = [], set()
        for thing in sorted(counts, key=counts.get):
            more = {k for k, each in enumerate(possible) if thing in each} | hit
            if abs(2 * len(more) - len(possible)) <= abs(2 * len(hit) - len(possible)):
                group, hit = [*group, thing], more
        wanted = yield group
        possible = [each for k, each in enumerate(possible) if (k in hit) == bool(wanted)]
    return list(possible[0])


def extremes(n):
    """Pairs first: only the lower of two can be the lowest, only the higher the highest."""
    lows, highs = [], []
    for one, other in zip(range(0, n, 2), range(1, n, 2), strict=False):
        less, more = (one, other) if (yield (one, other)) else (other, one)
        lows.append(less)
        highs.append(more)
    if n % 2:
        lows.append(n - 1)
        highs.append(n - 1)
    low, high = lows[0], highs[0]
    for thing in lows[1:]:
        low = thing if (yield (thing, low)) else low
    for thing in highs[1:]:
        high = thing if (yield (high, thing)) else high
    return [low, high]
