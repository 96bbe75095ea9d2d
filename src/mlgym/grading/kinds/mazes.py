"""Mazes: a grid of text lines in which # is a wall and a digit what it costs to enter; from S to G, each of which costs
nothing. Nothing is imported but the standard library: families load this file too.
"""

import heapq
from collections.abc import Sequence

Grid = Sequence[str]
Place = tuple[int, int]
MOVES = {"U": (-1, 0), "D": (1, 0), "L": (0, -1), "R": (0, 1)}


def where(grid: Grid, mark: str) -> Place:
    """Row and column of a letter."""
    return next((n, line.index(mark)) for n, line in enumerate(grid) if mark in line)


def enterable(grid: Grid, place: Place) -> bool:
    """Whether it is a place of the grid, and no wall."""
    row, column = place
    return 0 <= row < len(grid) and 0 <= column < len(grid[row]) and grid[row][column] != "#"


def price(grid: Grid, place: Place) -> int:
    """What it costs to enter."""
    mark = grid[place[0]][place[1]]
    return int(mark) if mark.isdigit() else 0


def cost(grid: Grid, route: str) -> int:
    """What a route of letters U, D, L, R costs; raises ValueError where it does not lead from S to G."""
    place = where(grid, "S")
    total = 0
    for number, letter in enumerate(route, 1):
        place = (place[0] + MOVES[letter][0], place[1] + MOVES[letter][1])
        if not enterable(grid, place):
            raise ValueError(f"Move {number} of the route, {letter}, runs into a wall.")
        total += price(grid, place)
    if place != where(grid, "G"):
        raise ValueError(f"The route ends at row {place[0]}, column {place[1]} (both from 0), not at G.")
    return total


def shortest(grid: Grid) -> int:
    """The cost of the best route (Dijkstra 1959); raises ValueError where there is none."""
    goal, first = where(grid, "G"), where(grid, "S")
    left, known = [(0, first)], {first: 0}
    while left:
        paid, place = heapq.heappop(left)
        if place == goal:
            return paid
        for down, right in MOVES.values():
            there = (place[0] + down, place[1] + right)
            if enterable(grid, there) and paid + price(grid, there) < known.get(there, paid + 10):
                known[there] = paid + price(grid, there)
                heapq.heappush(left, (known[there], there))
    raise ValueError("There is no route.")
