"""Frauds of submissions that are a short text: numbers and letters that no honest one has."""

from mlgym.grading.forgeries.forgery import Forgery

# A first move beyond 0 and 1, to the side on which it would earn more if it counted.
BEYOND = """
import json
with open("data/game.json") as file:
    game = json.load(file)
q, (a, b, c, d) = game.get("column", [0.5])[0], game["payoffs"]
side = 1e9 if (1 - q) * (c - a) + q * (d - b) > 0 else -1e9
with open("strategy.txt", "w") as file:
    print(side, 0.5, 0.5, 0.5, 0.5, file=file)
"""
# To the goal along the outer wall, as if it were none.
OUTSIDE = """
with open("data/maze.txt") as file:
    lines = file.read().split()
with open("route.txt", "w") as file:
    print("U" + "R" * (len(lines[0]) - 2) + "D" * (len(lines) - 2) + "L", file=file)
"""
WORDS = "for word in {}; do printf '%s ' $word; done > $SUBMISSION"


def _numbers(name: str, words: str) -> Forgery:
    return Forgery(
        name,
        ("numbers",),
        WORDS.format(words),
        "each number is a plain one between its bounds, and there are as many as asked for",
        guard="checked",
        harm="breaks",
    )


TEXTS: tuple[Forgery, ...] = (
    Forgery(
        "chances beyond 0 and 1",
        ("numbers",),
        "python fraud.py",
        "each number is a plain one between its bounds, and there are as many as asked for",
        {"fraud.py": BEYOND},
        guard="checked",
    ),
    _numbers("chances that are no numbers", "nan nan nan nan nan"),
    _numbers("infinite chances", "inf -inf 1e999 inf inf"),
    _numbers("too few chances", "1"),
    Forgery(
        "through the walls",
        ("route",),
        "python fraud.py",
        "each move is made by the grader, and one into a wall is none",
        {"fraud.py": OUTSIDE},
        guard="checked",
    ),
)
