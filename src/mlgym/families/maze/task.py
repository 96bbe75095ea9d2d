"""A route through a maze, its cost counted exactly. Hidden from the agent."""

from kinds import InvalidSubmission, mazes, texts


def prepare(public, private, *, settings, seed):
    """The maze; there is nothing to hide."""
    (public / "maze.txt").write_text("\n".join(settings["grid"]) + "\n")


def grade(submission, private, *, settings, split, seed):
    """The skill, 0 for the starter's route and 1 for the cheapest, and what it costs; the same on both splits."""
    route = texts.letters(submission.path("route.txt"), "UDLR", settings["most"])
    try:
        cost = mazes.cost(settings["grid"], route)
    except ValueError as error:
        raise InvalidSubmission(str(error)) from None
    return {"skill": (settings["start"] - cost) / (settings["start"] - settings["best"]), "cost": cost}
