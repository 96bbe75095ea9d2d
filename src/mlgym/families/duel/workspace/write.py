"""Write strategy.txt: the chance of playing 1 at first, and after each outcome (your move, the other's)."""

FIRST = 0.5
AFTER_00 = 0.5
AFTER_01 = 0.5
AFTER_10 = 0.5
AFTER_11 = 0.5

with open("strategy.txt", "w") as file:
    print(FIRST, AFTER_00, AFTER_01, AFTER_10, AFTER_11, file=file)
