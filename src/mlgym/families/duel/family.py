"""Duels: a drawn game of two moves against a drawn player with a memory of one round.

Up to a difficulty of 0.25 the other's chance of 1 is the same after every outcome; up to 0.5 it depends on the last
move of the one who plays against it, up to 0.75 on the whole outcome. Above that it is not told: there are games to
learn it from, fewer the more difficult. The chances come nearer to one half, and games grow longer.
"""

import random
import types
from pathlib import Path


def _loaded(path):
    """A module from its file, which leaves nothing beside it."""
    module = types.ModuleType(path.stem)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


duels = _loaded(Path(__file__).resolve().parents[2] / "grading" / "kinds" / "duels.py")
ROUNDS = 10  # of a game in the logs


def generate(seed, difficulty):
    """The overrides of task.toml."""
    rng = random.Random(f"duel {seed} {difficulty}")
    discount = (500 + rng.randrange(201) + round(200 * difficulty)) / 1000
    games = round(60 + 400 * (1 - difficulty)) if difficulty > 0.75 else 0
    while True:
        payoffs = [rng.randrange(10) for _ in range(4)]
        column = _column(rng, difficulty)
        seen = {"games": games, "seed": rng.randrange(2**32)} if games else {}
        if _worth(payoffs, column, discount, difficulty) and _shown(payoffs, column, discount, seen):
            break
    settings = {"payoffs": payoffs, "column": column, "discount": discount, "rounds": ROUNDS, **seen}
    return {"instruction": _instruction(settings), "settings": settings}


def _column(rng, difficulty):
    """The other player: chances in tenths, the farther from one half the easier."""
    near = 1 + round(3 * difficulty)

    def chance():
        tenths = rng.randrange(near)
        return rng.choice((tenths, 10 - tenths)) / 10

    if difficulty <= 0.25:
        return [chance()] * 5
    if difficulty <= 0.5:
        after = [chance(), chance()]
        return [chance(), after[0], after[0], after[1], after[1]]
    return [chance() for _ in range(5)]


def _worth(payoffs, column, discount, difficulty):
    """Whether a coin is clearly worse than the best reply and, where there is something to remember, so is one move."""
    top = duels.value(payoffs, duels.best(payoffs, column, discount), column, discount)
    coin = duels.value(payoffs, duels.MIXED, column, discount)
    if top - coin < 1:
        return False
    single = max(duels.skill(payoffs, (move,) * 5, column, discount) for move in (0.0, 1.0))
    return difficulty <= 0.25 or single < 0.9


def _shown(payoffs, column, discount, seen):
    """Whether the best reply to the player that the logs show is a best reply to the true one."""
    if not seen:
        return True
    guess = duels.estimated(duels.logs(column, seen["games"], ROUNDS, seen["seed"]))
    return duels.skill(payoffs, duels.best(payoffs, guess, discount), column, discount) > 0.999


def _instruction(settings):
    pairs = [f"{row}/{column}" for row, column in duels.OUTCOMES]
    earned = ", ".join(f"{pair}: {payoff}" for pair, payoff in zip(pairs, settings["payoffs"], strict=True))
    first, *after = settings["column"]
    if "games" in settings:
        other = (
            f"The other plays 1 with five fixed chances: at first, and after each outcome. data/games.txt has "
            f"{settings['games']} of its games against a coin, one a line."
        )
    elif len(set(settings["column"])) == 1:
        other = f"The other plays 1 with chance {first:g}, whatever happened."
    else:
        chances = ", ".join(f"{chance:g} after {pair}" for chance, pair in zip(after, pairs, strict=True))
        other = f"The other plays 1 with chance {first:g} at first, {chances}."
    return (
        "Play a repeated game. Each round both play 0 or 1 at once, and you get (your move/the other's):\n"
        f"{earned}\n"
        f"After each round it goes on with chance {settings['discount']:g}.\n"
        f"{other}\n"
        f"Write five numbers from 0 to 1 into strategy.txt: your chance of 1 at first, and after {', '.join(pairs)}.\n"
        "The score, skill, is 0 for a coin at every move and 1 for the best reply: higher is better.\n"
    )
