"""The baseline: guesses a fixed number."""

GUESS = 10

with open("guess.txt", "w") as out:
    out.write(str(GUESS))
