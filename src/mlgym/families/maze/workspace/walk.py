"""Write route.txt: a route found by a search that always goes on from the place that looks best."""

import heapq

PAID = 0.1  # what the costs so far count
AHEAD = 2.0  # what the rows and columns up to G count

MOVES = {"U": (-1, 0), "D": (1, 0), "L": (0, -1), "R": (0, 1)}


def route(grid):
    """The letters of the first route that the search finds; each place is looked at once."""
    marks = {(row, column): mark for row, line in enumerate(grid) for column, mark in enumerate(line)}
    start, goal = (next(place for place, mark in marks.items() if mark == wanted) for wanted in "SG")
    left, seen = [(0.0, 0, "", start)], set()
    while left:
        _, paid, moves, place = heapq.heappop(left)
        if place == goal:
            return moves
        if place in seen:
            continue
        seen.add(place)
        for letter, (down, right) in MOVES.items():
            there = (place[0] + down, place[1] + right)
            if marks[there] != "#" and there not in seen:
                price = paid + (int(marks[there]) if marks[there].isdigit() else 0)
                far = abs(there[0] - goal[0]) + abs(there[1] - goal[1])
                heapq.heappush(left, (PAID * price + AHEAD * far, price, moves + letter, there))
    return ""


if __name__ == "__main__":
    with open("data/maze.txt") as file:
        lines = file.read().split()
    with open("route.txt", "w") as file:
        print(route(lines), file=file)
