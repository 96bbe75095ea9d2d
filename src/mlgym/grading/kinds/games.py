"""Repeated games of two players: the submission's row player against a hidden opponent, many games at once.

A game has ROUNDS rounds; both players see the earlier rounds and move at once. What the opponent draws depends on the
split and the seed only, never on the row player: every submission meets the same luck. The salt, made once when the
task is prepared, keeps that luck unknown to somebody who has read this file.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import InvalidSubmission

ROUNDS = 10
GAMES = 10_000
SPLITS = {"validation": 0, "test": 1}

Moves = NDArray[Any]  # whole numbers; the first axis is the game


@dataclass(frozen=True)
class Game:
    """The rules of one game.

    `opponent(rng, rows, columns)` gives the next moves from all earlier ones (axes: game, round); it must draw the
    same amount whatever they are. `payoff(row, column)` is the row player's, `valid(row)` the judge of its moves, both
    by game; `rule` says in words what a move is. A move is `width` numbers, or one if that is 0.
    """

    opponent: Callable[[np.random.Generator, Moves, Moves], Moves]
    payoff: Callable[[Moves, Moves], NDArray[Any]]
    valid: Callable[[Moves], NDArray[np.bool_]]
    rule: str
    width: int = 0


def matrix(payoffs: list[list[float]], opponent: Callable[[np.random.Generator, Moves, Moves], Moves]) -> Game:
    """A game of two moves each, with the row player's pay-offs by its move and the opponent's."""
    table = np.array(payoffs)
    return Game(opponent, lambda row, column: table[row, column], lambda row: (row == 0) | (row == 1), "0 or 1")


def prepare(private: Path, salt: str = "") -> None:
    """Make the salt, or take one in hex, of a task that is to be the same each time it is made."""
    (private / "salt").write_text(salt or secrets.token_hex(16))


def grade(game: Game, submission: Any, private: Path, split: str, seed: int, games: int = GAMES) -> dict[str, float]:
    """`score`: what `row_strategy` of strategy.py earns a round, averaged over rounds and games."""
    salt = int((private / "salt").read_text(), 16)
    rng = np.random.default_rng([salt, SPLITS[split], seed])
    player = submission.player("strategy", seed=2 * seed + SPLITS[split])
    tail = (game.width,) if game.width else ()
    history = np.zeros((games, ROUNDS, 2, *tail), np.uint8)
    total = 0.0
    for n in range(ROUNDS):
        past = history[:, :n]
        column = game.opponent(rng, past[:, :, 0], past[:, :, 1])
        answer = player.each("row_strategy", past, game.width)
        row = np.frombuffer(answer.data, answer.descr).reshape(answer.shape)
        valid = game.valid(row)
        if not valid.all():
            bad = row[np.argmin(valid)].tolist()
            raise InvalidSubmission(f"row_strategy returned {bad} in round {n + 1}; a move is {game.rule}.")
        total += float(game.payoff(row, column).mean())
        history[:, n, 0], history[:, n, 1] = row, column
    return {"score": total / ROUNDS}
