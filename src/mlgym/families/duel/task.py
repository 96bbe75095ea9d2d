"""A duel: five numbers, valued exactly by the Markov chain of the two players. Hidden from the agent."""

import json

from kinds import duels, texts


def prepare(public, private, *, settings, seed):
    """game.json has what is known of the game; where the other player is not told, games.txt has games of it."""
    known = ("payoffs", "discount", *(() if "games" in settings else ("column",)))
    (public / "game.json").write_text(json.dumps({key: settings[key] for key in known}) + "\n")
    if "games" in settings:
        games = duels.logs(settings["column"], settings["games"], settings["rounds"], settings["seed"])
        words = [[f"{outcome // 2}/{outcome % 2}" for outcome in outcomes] for outcomes in games]
        (public / "games.txt").write_text("".join(" ".join(line) + "\n" for line in words))


def grade(submission, private, *, settings, split, seed):
    """The skill, 0 for a coin and 1 for the best reply, and the pay-off a round; the same on both splits."""
    row = texts.numbers(submission.path("strategy.txt"), 5, 0, 1)
    about = (settings["payoffs"], row, settings["column"], settings["discount"])
    return {"skill": duels.skill(*about), "payoff": duels.value(*about)}
