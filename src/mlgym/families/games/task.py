"""A repeated game against a player with drawn chances. Hidden from the agent."""

import json

import numpy as np
from kinds import games


def opponent(chances):
    """The column player: its chance of 1 by the row player's last two moves and its own last one."""

    def play(rng, rows, columns):
        luck, nothing = rng.random(len(rows)), np.zeros(len(rows), int)
        last, before, own = (
            side[:, -back].astype(int) if side.shape[1] >= back else nothing
            for side, back in ((rows, 1), (rows, 2), (columns, 1))
        )
        return (luck < np.array(chances)[4 * last + 2 * before + own]).astype(int)

    return play


def prepare(public, private, *, settings, seed):
    """What is known of the other player: its chances, or games of it."""
    games.prepare(private, settings["salt"])
    if "logged" in settings:
        (public / "games.txt").write_text("\n".join(settings["logged"]) + "\n")
    else:
        (public / "opponent.json").write_text(json.dumps(settings["chances"]) + "\n")
    (public / "payoffs.json").write_text(json.dumps(settings["payoffs"]) + "\n")


def grade(submission, private, *, settings, split, seed):
    """The skill, 0 for a coin and 1 for the best reply, and the mean pay-off a round."""
    payoffs = settings["payoffs"]
    game = games.matrix([payoffs[:2], payoffs[2:]], opponent(settings["chances"]))
    score = games.grade(game, submission, private, split, seed, settings["games"])["score"]
    return {"skill": (score - settings["start"]) / (settings["best"] - settings["start"]), "payoff": score}
