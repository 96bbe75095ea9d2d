"""Mazes with costs: a drawn tree of passages, and some walls less, so that there are several ways.

The more difficult, the larger, and the more ways there are; the maze is in the instruction up to a difficulty of 0.3.
"""

import random
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEARER = 1.2  # so many times the cheapest is the least that the starter's route costs


def _loaded(path):
    """A module from its file, which leaves nothing beside it."""
    module = types.ModuleType(path.stem)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


mazes = _loaded(HERE.parents[1] / "grading" / "kinds" / "mazes.py")
walk = _loaded(HERE / "workspace" / "walk.py")


def generate(seed, difficulty):
    """The overrides of task.toml."""
    rng = random.Random(f"maze {seed} {difficulty}")
    while True:
        grid = _drawn(rng, 3 + round(9 * difficulty), 0.15 + 0.25 * difficulty)
        start, best = mazes.cost(grid, walk.route(grid)), mazes.shortest(grid)
        if start >= DEARER * best:
            break
    settings = {"grid": grid, "start": start, "best": best, "most": 4 * len(grid) ** 2}
    return {"instruction": _instruction(settings, difficulty <= 0.3), "settings": settings}


def _drawn(rng, rooms, less):
    """The lines of a maze with rooms * rooms rooms; a share `less` of the walls between rooms is left out at last."""
    size = 2 * rooms + 1
    lines = [["#"] * size for _ in range(size)]
    stack = [(1, 1)]
    lines[1][1] = " "
    while stack:
        row, column = stack[-1]
        near = [(row + 2 * down, column + 2 * right) for down, right in mazes.MOVES.values()]
        closed = [(r, c) for r, c in near if 0 < r < size and 0 < c < size and lines[r][c] == "#"]
        if not closed:
            stack.pop()
            continue
        there = rng.choice(closed)
        lines[(row + there[0]) // 2][(column + there[1]) // 2] = lines[there[0]][there[1]] = " "
        stack.append(there)
    for row in range(1, size - 1):
        for column in range(1, size - 1):
            if (row + column) % 2 and lines[row][column] == "#" and rng.random() < less:
                lines[row][column] = " "
    lines = [["#" if mark == "#" else str(rng.randint(1, 9)) for mark in line] for line in lines]
    lines[1][1], lines[-2][-2] = "S", "G"
    return ["".join(line) for line in lines]


def _instruction(settings, told):
    grid = settings["grid"]
    lines = "\n".join(grid) if told else f"It has {len(grid)} lines."
    return (
        "Find a cheap route through the maze of data/maze.txt, from S to G. # is a wall, a digit is what it costs to "
        f"enter.\n{lines}\n"
        "Write the moves into route.txt, as letters U, D, L, R (up, down, left, right). `python walk.py` writes one "
        "that is dearer than need be.\n"
        f"The score, skill, is 0 for that one (it costs {settings['start']}) and 1 for the cheapest there is: higher "
        f"is better. A route through a wall, to another place than G, or of more than {settings['most']} moves is "
        "invalid.\n"
    )
