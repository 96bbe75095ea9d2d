"""Coins: the chance of heads of a bent coin, from some of its tosses."""

import random


def generate(seed, difficulty):
    """What differs from task.toml: the coin, how often it was tossed, and the words."""
    rng = random.Random(f"coins {seed} {difficulty}")
    chance = 0.5 + rng.choice((-1, 1)) * rng.uniform(0.1, 0.4) * (1 - 0.6 * difficulty)
    tosses = round(2000 - 1800 * difficulty) + rng.randrange(100)
    return {
        "title": f"A coin tossed {tosses} times",
        "instruction": (
            f"data/tosses.txt has {tosses} tosses of a coin, H or T. Write its chance of heads into guess.txt. "
            "The score, skill, is 0 for the guess 0.5 and 1 for the true chance: higher is better."
        ),
        "settings": {"seed": rng.randrange(2**32), "chance": round(chance, 4), "tosses": tosses},
    }
