"""Games of a fixed number of rounds against a player with chances, and the best reply to it, exactly.

What the column player does depends on the row player's last two moves and on its own last one: its chance of playing 1
is `chances[4 * last + 2 * last_but_one + own]`, with 0 for what was not played yet. Pay-offs are the row player's for
0/0, 0/1, 1/0, 1/1 (its move, the other's). Nothing is imported but the standard library: families load this file too.
"""

from collections.abc import Sequence

STATES = range(8)
Table = Sequence[Sequence[float]]  # the row player's chance of playing 1 by round and state


def after(state: int, row: int, column: int) -> int:
    """The state that follows."""
    return 4 * row + 2 * (state // 4) + column


def best(payoffs: Sequence[float], chances: Sequence[float], rounds: int) -> list[list[float]]:
    """The best reply, by going back from the last round (Bellman 1957)."""
    worth, table = [0.0] * 8, list[list[float]]()
    for _ in range(rounds):
        both = [[_earned(payoffs, chances, worth, state, row) for row in (0, 1)] for state in STATES]
        worth = [max(pair) for pair in both]
        table.insert(0, [float(one > zero) for zero, one in both])
    return table


def moments(payoffs: Sequence[float], chances: Sequence[float], table: Table) -> tuple[float, float]:
    """Mean and variance of what the row player of the table earns a round, over games."""
    first, second = [0.0] * 8, [0.0] * 8  # of all that is still to come, from a state on
    for line in reversed(table):
        now = [_outcomes(line[state], chances[state]) for state in STATES]
        ends = [[after(state, n // 2, n % 2) for n in range(4)] for state in STATES]
        second = [
            sum(p * (payoffs[n] ** 2 + 2 * payoffs[n] * first[e] + second[e]) for n, (p, e) in enumerate(both))
            for both in (list(zip(*pair, strict=True)) for pair in zip(now, ends, strict=True))
        ]
        first = [
            sum(p * (payoffs[n] + first[e]) for n, (p, e) in enumerate(zip(*pair, strict=True)))
            for pair in zip(now, ends, strict=True)
        ]
    mean = first[0] / len(table)
    return mean, second[0] / len(table) ** 2 - mean**2


def _earned(payoffs: Sequence[float], chances: Sequence[float], worth: Sequence[float], state: int, row: int) -> float:
    q = chances[state]
    return sum(p * (payoffs[2 * row + c] + worth[after(state, row, c)]) for c, p in enumerate((1 - q, q)))


def _outcomes(row: float, column: float) -> list[float]:
    return [(1 - row) * (1 - column), (1 - row) * column, row * (1 - column), row * column]
