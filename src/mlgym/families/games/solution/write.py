"""Write strategy.py: the best reply to the other player as it is told, or as its games show it, from the last round."""

import json
import os

ROUNDS = 10


def shares(lines):
    """The chances that games show."""
    seen, ones = [0] * 8, [0] * 8
    for line in lines:
        state = 0
        for word in line.split():
            row, column = int(word[0]), int(word[2])
            seen[state] += 1
            ones[state] += column
            state = 4 * row + 2 * (state // 4) + column
    return [one / count if count else 0.5 for one, count in zip(ones, seen, strict=True)]


with open("data/payoffs.json") as file:
    payoffs = json.load(file)
if os.path.exists("data/games.txt"):
    with open("data/games.txt") as file:
        chances = shares(file)
else:
    with open("data/opponent.json") as file:
        chances = json.load(file)

worth, table = [0.0] * 8, []
for _ in range(ROUNDS):
    both = [
        [
            sum(
                p * (payoffs[2 * row + column] + worth[4 * row + 2 * (state // 4) + column])
                for column, p in enumerate((1 - chances[state], chances[state]))
            )
            for row in (0, 1)
        ]
        for state in range(8)
    ]
    worth = [max(pair) for pair in both]
    table.insert(0, [int(one > zero) for zero, one in both])

PLAYER = f'''"""The best reply, by round and by what was played last."""

TABLE = {table}


def row_strategy(history):
    """The move of the table."""
    state = 0
    for row, column in history[-2:]:
        state = 4 * row + 2 * (state // 4) + column
    return TABLE[len(history)][state]
'''
with open("strategy.py", "w") as file:
    file.write(PLAYER)
