"""A repeated game of two moves against a player with a memory of one round, valued exactly.

An outcome is the row player's move and the column player's: 0/0, 0/1, 1/0, 1/1, numbered 0 to 3. A player is five
chances of playing 1: at first, and after each outcome, as the row player sees it. After each round the game goes on
with the chance `discount`. A value is the row player's expected pay-off a round, (1 - discount) times the sum of
discount^t times that of round t, computed from the Markov chain of the outcomes (Press and Dyson 2012, PNAS 109(26)).
Nothing is imported but the standard library: families load this file too.
"""

import itertools
import random
from collections.abc import Sequence

Player = Sequence[float]
OUTCOMES = ((0, 0), (0, 1), (1, 0), (1, 1))
MIXED = (0.5,) * 5


def value(payoffs: Sequence[float], row: Player, column: Player, discount: float) -> float:
    """What `row` earns a round against `column`; `payoffs` are those of the four outcomes."""
    chain = [_next(row[after], column[after]) for after in range(1, 5)]
    left = [[float(n == m) - discount * chain[n][m] for m in range(4)] + [payoffs[n]] for n in range(4)]
    worth = _solved(left)
    return (1 - discount) * sum(p * w for p, w in zip(_next(row[0], column[0]), worth, strict=True))


def best(payoffs: Sequence[float], column: Player, discount: float) -> tuple[float, ...]:
    """The best reply: of such a game one is among the 32 players without chance (Puterman 1994, theorem 6.2.10)."""
    return max(
        itertools.product((0.0, 1.0), repeat=5), key=lambda row: round(value(payoffs, row, column, discount), 12)
    )


def skill(payoffs: Sequence[float], row: Player, column: Player, discount: float) -> float:
    """The value on a scale on which a coin for every move is 0 and the best reply 1."""
    coin = value(payoffs, MIXED, column, discount)
    top = value(payoffs, best(payoffs, column, discount), column, discount)
    return (value(payoffs, row, column, discount) - coin) / (top - coin)


def logs(column: Player, games: int, rounds: int, seed: int) -> list[list[int]]:
    """The outcomes of games in which the row player tosses a coin."""
    rng, found = random.Random(seed), []
    for _ in range(games):
        outcomes: list[int] = []
        for _ in range(rounds):
            chance = column[outcomes[-1] + 1] if outcomes else column[0]
            outcomes.append(2 * int(rng.random() < 0.5) + int(rng.random() < chance))
        found.append(outcomes)
    return found


def estimated(found: Sequence[Sequence[int]]) -> list[float]:
    """The column player that such games show: shares of 1, with one half where a situation never came."""
    seen, ones = [0.0] * 5, [0.0] * 5
    for outcomes in found:
        for before, outcome in zip([-1, *outcomes], outcomes, strict=False):
            seen[before + 1] += 1
            ones[before + 1] += outcome % 2
    return [ones[n] / seen[n] if seen[n] else 0.5 for n in range(5)]


def _next(row: float, column: float) -> list[float]:
    """The chances of the four outcomes of a round in which the players play 1 with these chances."""
    return [(1 - row) * (1 - column), (1 - row) * column, row * (1 - column), row * column]


def _solved(rows: list[list[float]]) -> list[float]:
    """Gauss and Jordan; the matrix is dominated by its diagonal, as 1 - discount * chances is: no pivot is sought."""
    for n, pivot in enumerate(rows):
        rows[n] = pivot = [x / pivot[n] for x in pivot]
        for m, other in enumerate(rows):
            if m != n:
                rows[m] = [x - other[n] * y for x, y in zip(other, pivot, strict=True)]
    return [row[-1] for row in rows]
