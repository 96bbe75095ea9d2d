"""The best reply to the other player as it is told, or as its games show it, by policy iteration."""

import json
import os


def shares(lines):
    """The chances of 1 that games show: at first, and after each outcome."""
    seen, ones = [0] * 5, [0] * 5
    for line in lines:
        before = 0
        for pair in line.split():
            outcome = 2 * int(pair[0]) + int(pair[2])
            seen[before] += 1
            ones[before] += outcome % 2
            before = outcome + 1
    return [one / all if all else 0.5 for one, all in zip(ones, seen, strict=True)]


with open("data/game.json") as file:
    game = json.load(file)
if os.path.exists("data/games.txt"):
    with open("data/games.txt") as file:
        game["column"] = shares(file)
payoffs, column, discount = game["payoffs"], game["column"], game["discount"]
worth = [0.0] * 4  # of each outcome: its pay-off and all that follows
for _ in range(2000):
    moves = [[sum(p * worth[2 * move + c] for c, p in enumerate((1 - q, q))) for move in (0, 1)] for q in column]
    worth = [payoffs[n] + discount * max(moves[n + 1]) for n in range(4)]
with open("strategy.txt", "w") as file:
    print(*(int(one > zero) for zero, one in moves), file=file)
