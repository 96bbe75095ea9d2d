"""Repeated games: a drawn game of two moves against a drawn player that remembers up to two rounds.

Up to a difficulty of 0.25 the other's chance of 1 depends on the last move of the one who plays against it, up to 0.5
on the last two, up to 0.75 on its own last one too. Above that it is not told: there are games to learn it from, fewer
the more difficult.
"""

import random
import types
from pathlib import Path

ROUNDS, GAMES = 10, 1000
COIN = [[0.5] * 8] * ROUNDS


def _loaded(path):
    """A module from its file, which leaves nothing beside it."""
    module = types.ModuleType(path.stem)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


replies = _loaded(Path(__file__).resolve().parents[2] / "grading" / "kinds" / "replies.py")


def generate(seed, difficulty):
    """The overrides of task.toml."""
    rng = random.Random(f"games {seed} {difficulty}")
    logged = round(150 + 400 * (1 - difficulty)) if difficulty > 0.75 else 0
    while True:
        payoffs, chances = [rng.randrange(100) for _ in range(4)], _chances(rng, difficulty)
        games = played(rng, chances, logged)
        table = replies.best(payoffs, chances, ROUNDS)
        coin, best = (replies.moments(payoffs, chances, each) for each in (COIN, table))
        if best[0] - coin[0] >= 10 and (not games or _enough(payoffs, chances, games, coin[0], best[0])):
            break
    noise = round((max(coin[1], best[1]) / GAMES) ** 0.5 / (best[0] - coin[0]), 6)
    settings = {
        "payoffs": payoffs,
        "chances": chances,
        "start": coin[0],
        "best": best[0],
        "salt": f"{rng.randrange(2**128):032x}",
        "games": GAMES,
        **({"logged": games} if games else {}),
    }
    return {
        "instruction": _instruction(settings),
        "settings": settings,
        "anchors": {"noise": {"validation": noise, "test": noise}},
    }


def _chances(rng, difficulty):
    near = 1 + round(3 * difficulty)
    drawn = [rng.choice((tenths, 10 - tenths)) / 10 for tenths in (rng.randrange(near) for _ in range(8))]
    if difficulty <= 0.25:
        return [drawn[state // 4] for state in range(8)]
    return [drawn[state // 2] for state in range(8)] if difficulty <= 0.5 else drawn


def played(rng, chances, games):
    """Games in which the row player tosses a coin, as lines of outcomes such as 0/1."""
    lines = []
    for _ in range(games):
        state, words = 0, []
        for _ in range(ROUNDS):
            row, column = int(rng.random() < 0.5), int(rng.random() < chances[state])
            words.append(f"{row}/{column}")
            state = replies.after(state, row, column)
        lines.append(" ".join(words))
    return lines


def _enough(payoffs, chances, lines, start, best):
    """Whether the best reply to the player that the games show is nearly the best to the true one."""
    seen, ones = [0] * 8, [0] * 8
    for line in lines:
        state = 0
        for word in line.split():
            seen[state] += 1
            ones[state] += int(word[2])
            state = replies.after(state, int(word[0]), int(word[2]))
    guess = [one / count if count else 0.5 for one, count in zip(ones, seen, strict=True)]
    found = replies.moments(payoffs, chances, replies.best(payoffs, guess, ROUNDS))[0]
    return (found - start) / (best - start) > 0.99


def _instruction(settings):
    pairs = ("0/0", "0/1", "1/0", "1/1")
    earned = ", ".join(f"{pair}: {payoff}" for pair, payoff in zip(pairs, settings["payoffs"], strict=True))
    if "logged" in settings:
        other = f"data/games.txt has {len(settings['logged'])} of its games against a coin, one a line."
    else:
        other = "data/opponent.json has these chances: the one at [4 * last + 2 * last_but_one + own]."
    return (
        "Write a player of a repeated game of two moves. A game has 10 rounds; in each, both play 0 or 1 at once, and "
        f"you get (your move/the other's):\n{earned}\n"
        "The other plays 1 with a chance that depends on your last move, your last but one and its own last move only "
        f"(0 for what was not played yet). {other}\n\n"
        "strategy.py must define row_strategy(history), which returns your next move. history is the list of the "
        "earlier rounds of the same game as tuples (your move, the other's). Many games are played side by side, so "
        "keep no state between calls. Any other answer than 0 or 1 is invalid. Only strategy.py is graded: it may use "
        "the standard library, and no other file. `python write.py` writes the starter.\n\n"
        f"The score, skill, is 0 for a coin and 1 for what the best reply earns on average, over {GAMES} games: higher "
        "is better.\n"
    )
