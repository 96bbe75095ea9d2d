"""Heuristics for SAT: a drawn law of formulas, of which each is solved by a plain solver; its decisions count.

The more difficult, the more variables, and the nearer to as many clauses as make a formula hard.
"""

import random

# Of a clause of three literals the threshold is 4.27 per variable, of two it is 1: a mixture is near the sum of shares.
HARD = 4.2


def generate(seed, difficulty):
    """The overrides of task.toml."""
    rng = random.Random(f"sat {seed} {difficulty}")
    variables = 18 + round(18 * difficulty) + rng.randrange(5)
    pairs, near = round(rng.uniform(0, 0.2), 3), rng.choice((0, round(rng.uniform(0.3, 0.7), 3)))
    ratio = HARD * (1 - 0.75 * pairs) * (0.9 + 0.1 * difficulty)
    settings = {
        "variables": variables,
        "clauses": round(variables * ratio),
        "pairs": pairs,
        "negative": round(rng.uniform(0.4, 0.6), 3),
        "groups": rng.choice((2, 3)),
        "near": near,
        "formulas": 12,
        "least": 4,
        "most": 200,
        "seed": rng.randrange(2**31),
    }
    return {"instruction": _instruction(settings), "settings": settings}


def _instruction(settings):
    groups = (
        f", {100 * settings['near']:.1f} % of them within one of {settings['groups']} groups of variables"
        if settings["near"]
        else ""
    )
    return (
        "Write a better decision heuristic for a solver of formulas.\n\n"
        "The solver (data/solver.py: read it, it is short) decides whether a formula can be satisfied. Whenever "
        "nothing more follows, it asks heuristic_fn of heuristic.py which variable to decide next, and which value "
        "to try first; heuristic.py has the starter and says what the arguments hold. What counts is how often it "
        "asks.\n\n"
        f"Each formula has {settings['variables']} variables and {settings['clauses']} clauses{groups}; a clause has "
        f"two literals ({100 * settings['pairs']:.1f} %) or three, and {100 * settings['negative']:.1f} % of the "
        "literals are negative. data/formulas.jsonl has samples, one a line; `python count.py` counts the decisions of "
        "heuristic.py on them. validate and the final test use two other sets.\n\n"
        "The score, skill, is on the logarithmic scale on which the starter has 0 and a good heuristic 1: higher is "
        "better. A heuristic that raises, returns anything but a variable that is not assigned yet and True or False, "
        "or changes the solver or its data makes the submission invalid, and so does more than 5 seconds a formula. "
        "Only heuristic.py is graded: it may use the standard library, and no other file.\n"
    )
