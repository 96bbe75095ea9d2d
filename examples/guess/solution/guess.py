GUESS = 42

with open("guess.txt", "w") as out:
    out.write(str(GUESS))
