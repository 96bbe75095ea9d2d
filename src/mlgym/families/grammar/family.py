"""Small languages: give the chances of the next sign after each short context, from a text in the language.

The next sign is drawn by a table of the last sign or by a table of two earlier ones. Up to a difficulty of 0.5 these
are the last two, above it one of them is the third from the end, above 0.75 the fourth. The more difficult, the shorter
the text and the less the last sign alone says.
"""

import random

STORIES = (
    ("a bird", "song", "notes", "ti tu ra ree chi kwa doo wit pip zu"),
    ("a loom", "pattern", "threads", "red blue gold grey teal rust lime plum sand jade"),
    ("a lock", "log", "codes", "A1 B7 C4 D9 E2 F6 G5 H8 K3 M0"),
    ("a lost tribe", "chronicle", "syllables", "ka mo ti ra su ne lo vi pa dhu"),
    ("a kitchen", "list of orders", "dishes", "soup rice fish cake stew bean plum loaf herb mint"),
    ("a signal tower", "record", "signs", "dot dash bar ring star wave hook fork leaf sun"),
    ("a dance", "notation", "steps", "hop turn step bow spin slide clap leap kick sway"),
    ("a machine", "trace", "states", "idle load spin heat cool scan wait lift drop send"),
)


def generate(seed, difficulty):
    """What differs from task.toml: the signs, what the chances lean on, how long the text is, and the words."""
    rng = random.Random(f"grammar {seed} {difficulty}")
    who, text, called, signs = rng.choice(STORIES)
    far = 2 if difficulty <= 0.5 else 3 if difficulty <= 0.75 else 4
    used = [rng.randrange(1, far), far]  # how many places before the next sign
    size = rng.randrange(5, 8 if far < 4 else 7)
    settings = {
        "seed": rng.randrange(2**32), "signs": rng.sample(signs.split(), size), "context": used[-1],
        "used": used, "tokens": round(32_000 - 12_000 * difficulty), "last": round(0.5 - 0.2 * difficulty, 3),
        "even": round(0.3 + 0.3 * difficulty, 3),
    }  # fmt: skip
    return {
        "title": f"The {text} of {who}: {len(settings['signs'])} {called}",
        "instruction": _instruction(rng, who, text, called, settings),
        "settings": settings,
    }


def _instruction(rng, who, text, called, settings):
    signs, context = settings["signs"], settings["context"]
    before, asked = " ".join(rng.choice(signs) for _ in range(context)), rng.choice(signs)
    example = f"{before}>{asked}"
    opening = rng.choice(
        (
            f"Learn the language of {who}: it has the {called} {', '.join(signs)}.",
            f"The {text} of {who} is made of {len(signs)} {called} ({', '.join(signs)}), by chance but by rule.",
            f"What comes next in the {text} of {who}? It has the {called} {', '.join(signs)}.",
        )
    )
    return f"""
{opening} Each is drawn by chances that depend on those at most {context} places before it.

- data/text.txt: {settings["tokens"]} {called} in a row, 50 to the line.
- data/sample_submission.csv: the form of a submission, with all chances the same.
- count.py: counts what follows the last of the {called}. `python count.py` writes submission.csv.

Write submission.csv with the header id,chance: the id {example} asks for the chance of {asked} after
{before}. The {len(signs)} chances after a context must be above 0 and sum to one. From the cross-entropy with the true
chances (nats, lower is better), each context weighted by how often it comes, comes skill, the score: 0 for count.py as
it is, 1 for the true chances. Half of the contexts count for validation, the others for the final test.
"""
