"""Procedures to make faster, where each look, comparison or test costs one: questions are counted, no clock is read.

One of five problems: find a place, climb to a peak, sort, find the bad things of a pool, find the lowest and highest.
The difficulty chooses among harder problems and more things: searches first, then sorting and pools.
"""

import random

STORIES = {
    "find": (
        ("In a core of {n} layers one layer is sought. Looking at a layer tells", "whether the sought one is above it"),
        ("On a shelf of {n} boxes in order is the one sought. Opening a box tells", "whether it stands before that"),
        ("One of {n} versions brought in a fault. A build of a version tells", "whether the fault came earlier"),
    ),
    "peak": (
        ("A trail of {n} posts goes up to a summit and down again. A levelling of two posts tells", "which is lower"),
        ("A dial of {n} notches makes a sound louder, then softer. Listening to two tells", "which one is softer"),
    ),
    "order": (
        ("{n} runners are to be ranked. A race of two tells", "who is faster"),
        ("{n} stones are to be laid in the order of their weights. The scales tell of two", "which is lighter"),
        ("{n} wines are to be ranked. A taster says of two", "which comes first"),
        ("{n} essays are to be ranked. A reader says of two", "which is the better one"),
        ("{n} letters are to be put in the order of their dates. An archivist tells of two", "which was written first"),
        ("{n} ropes are to be sorted. Laid side by side, two tell", "which is shorter"),
    ),
    "pool": (
        ("Among {n} samples {bad} hold a germ. A test of a mixture of samples tells", "whether there is one in it"),
        ("Of {n} lamps in a chain {bad} are broken. A test of a group tells", "whether there is a broken one in it"),
        ("Of {n} switches {bad} set off the alarm. Turning on several tells", "whether one of them does"),
        ("Of {n} changes {bad} broke the build. A build with some of them tells", "whether a bad one is among them"),
    ),
    "extremes": (
        ("Of {n} fish the shortest and the longest are sought. Laying two side by side tells", "which is shorter"),
        ("Of {n} bids, sealed, the lowest and the highest are sought. A clerk says of two", "which is lower"),
    ),
}  # fmt: skip
FORMS = {
    "find": ("(i,)", "-1, 0 or 1: what is sought lies before, at or after place i", "the place, as a list of one"),
    "peak": ("(i, j)", "1 where i is the lower one and else 0 (no two are alike)", "the peak, as a list of one"),
    "order": ("(i, j)", "1 where i comes before j and else 0", "all of them, from the first to the last"),
    "pool": ("a list of some of them", "1 where there is one among them and else 0", "the list of those sought"),
    "extremes": ("(i, j)", "1 where i is the lower one and else 0", "the lowest and the highest, in this order"),
}  # fmt: skip


def generate(seed, difficulty):
    """What differs from task.toml: the problem, its size, the starter's folder and the words."""
    rng = random.Random(f"speed {seed} {difficulty}")
    easy, hard = ("find", "extremes", "peak"), ("order", "pool")
    problem = rng.choice(hard if rng.random() < (difficulty - 0.2) / 0.6 else easy)
    bad = 2 if difficulty > 0.6 else 1
    count = rng.randrange(100, 221) if problem in ("find", "peak") else rng.randrange(20, 101)  # cases of each split
    given = {
        "find": [rng.randrange(40, 140) + round(160 * difficulty)],
        "peak": [rng.randrange(40, 140) + round(160 * difficulty)],
        "order": [rng.randrange(12, 22) + round(10 * difficulty)],
        "pool": [rng.randrange(22, 46) + 20 * (bad == 1), bad],
        "extremes": [2 * rng.randrange(14, 80)],
    }[problem]
    return {
        "title": f"Fewer questions: {problem} among {given[0]}",
        "start": f"workspace-{problem}",
        "instruction": _instruction(rng, problem, given, count),
        "settings": {"problem": problem, "given": given, "count": count, "seed": rng.randrange(2**32)},
    }


def _instruction(rng, problem, given, count):
    scene, tells = rng.choice(STORIES[problem])
    asked, answer, result = FORMS[problem]
    scene = scene.format(n=given[0], bad={1: "one", 2: "two"}[given[1]] if given[1:] else "")
    arguments = ", ".join(map(str, given))
    return f"""
{scene} {tells}. Each such question costs one. The procedure in probe.py always finds out, but asks too much.

`{problem}` of probe.py is a generator, called with ({arguments}): all are numbered from 0. `yield {asked}` asks a
question; what yield gives back is {answer}. At the end it returns {result}.

Only the questions count, not the time; but all {count} hidden cases must come out right. From the mean number of
questions q comes skill, the score: it is linear in log(1 + q), 0 for probe.py as it is and 1 for a bound that nobody
goes below; higher is better. validate and the final test have different cases. Only probe.py is graded. It may import
what Python has, but no other file.
"""
