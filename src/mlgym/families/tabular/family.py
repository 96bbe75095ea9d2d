"""Tables: a number or one of two classes to predict, with a planted structure whose best predictor is known.

The target is a sum of terms of independent columns and of noise. Easy terms are linear in the first three columns. The
difficulty moves weight from squares and categories to steps, waves, absolute values and products (above 0.5 only their
signs), and brings columns that say nothing, missing values, a shift of some columns in the test rows and, from 0.4 on,
a trap: a column that follows the target in the training rows only.
"""

import random

ROWS = {"train": 1500, "validation": 800, "test": 800}
ROWS_OF_CLASSES = {"train": 2500, "validation": 1000, "test": 1000}  # a class tells less than a number
LUCK = 0.03  # in skill: how far two equally good sayings of the classes lie apart on so many rows
# what a row is, the target, two classes, numbers, categories with their values
THEMES = (
    (
        "field", "yield_kg", ("poor", "rich"),
        "rain_mm sun_hours slope_deg clay_pct ph nitrogen potash depth_cm wind sowing_day seed_rate organic_pct "
        "frost_days humus salt_ppm stones",
        {"crop": "rye oats barley spelt", "aspect": "north south flat"},
    ),
    (
        "kiln firing", "strength_mpa", ("brittle", "sound"),
        "peak_temp soak_min ramp_rate draft load_kg silica flux moisture grain_um glaze_mm cooling_rate gas_flow "
        "stack_pos humidity age_days feldspar",
        {"clay_body": "stoneware porcelain terracotta raku", "shelf": "top middle bottom"},
    ),
    (
        "patient", "recovery_days", ("slow", "fast"),
        "age pulse systolic glucose ferritin weight_kg height_cm sleep_h steps albumin calcium potassium bilirubin "
        "sodium platelets oxygen",
        {"ward": "east west north south", "blood_type": "a b o"},
    ),
    (
        "web page", "seconds_read", ("skipped", "read"),
        "words images links_out links_in age_h font_px contrast headings ads load_ms colour_depth lists quotes "
        "comments shares video_s",
        {"section": "sport politics food travel", "device": "phone tablet desk"},
    ),
    (
        "star", "luminosity", ("quiet", "active"),
        "parallax colour_bv iron carbon spin radial_v proper_ra proper_dec radius gravity lithium dust infrared "
        "ultraviolet distance variability",
        {"field": "bulge disc halo cluster", "camera": "red green blue"},
    ),
    (
        "lorry trip", "fuel_l", ("late", "punctual"),
        "distance_km climb_m payload_t tyre_bar headwind stops idle_min lane_changes age_y engine_kw temp_c night_pct "
        "toll_gates braking wet_pct queue_min",
        {"road": "motorway country town mixed", "gearbox": "manual auto hybrid"},
    ),
)  # fmt: skip


def generate(seed, difficulty):
    """What differs from task.toml: the columns and what each is for, how noisy all is, and the words."""
    rng = random.Random(f"tabular {seed} {difficulty}")
    row, target, classes, numbers, categories = rng.choice(THEMES)
    classes = list(classes) if rng.random() < 0.5 else []
    names = numbers.split()
    rng.shuffle(names)
    counts = {
        "easy": 3, "square": 1 + (difficulty < 0.7), "bent": round(3 * difficulty),
        "crossed": 2 * round(2 * difficulty), "nothing": round(4 * difficulty),
    }  # fmt: skip
    roles = [role for role, count in counts.items() for _ in range(count)]
    columns = [{"name": name, "role": role} for name, role in zip(names, roles, strict=False)]
    for name in rng.sample(sorted(categories), 2 if difficulty < 0.5 else 1):
        columns.append({"name": name, "role": "category", "values": categories[name].split()})
    if difficulty >= 0.4:
        columns.append(
            {"name": rng.choice(("audit_code", "ledger_ref", "batch_score", "review_index")), "role": "leak"}
        )
    rest = columns[3:]
    near = [next(each for each in rest if each["role"] == role) for role in ("square", "category")]  # the starter's too
    rest = [each for each in rest if each not in near]
    rng.shuffle(near)
    rng.shuffle(rest)
    columns = columns[:3] + near + rest
    hard = 0.6 * difficulty
    shares = {"easy": 0.3, "square": 0.4 - hard / 2, "category": 0.3 - hard / 2, "bent": hard / 2, "crossed": hard / 2}
    idle = sum(share for role, share in shares.items() if not counts.get(role, 1))
    shares = {role: share for role, share in shares.items() if counts.get(role, 1)}
    shares["square"] += idle
    settings = {
        "seed": rng.randrange(2**32), "id": "row", "target": target, "classes": classes, "columns": columns,
        "shares": shares, "rows": ROWS_OF_CLASSES if classes else ROWS,
        "noise": round(0.08 + 0.2 * difficulty * rng.uniform(0.8, 1), 3),
        "signs": difficulty > 0.5,
        "missing": round(0.1 * difficulty, 2), "shift": round((0.4 if classes else 0.8) * difficulty, 2),
    }  # fmt: skip
    found = {
        "title": f"A table: {'whether' if classes else 'how much'} ({row}, {target})",
        "instruction": _instruction(rng, row, settings),
        "settings": settings,
    }
    return found | ({"anchors": {"noise": {"validation": LUCK, "test": LUCK}}} if classes else {})


def _instruction(rng, row, settings):
    classes, target = settings["classes"], settings["target"]
    rows = settings["rows"]
    train, pool = rows["train"], rows["validation"] + rows["test"]
    names = ", ".join(column["name"] for column in settings["columns"])
    goal = (
        f"say for each {row} which of two classes its {target} is, {classes[0]} or {classes[1]}"
        if classes
        else f"predict the number {target} of each {row}"
    )
    opening = rng.choice(("From what was recorded, {}.", "Here is a table of records: {}.", "The job is to {}."))
    hints = [
        "Empty fields are unknown values." if settings["missing"] else "No value is missing.",
        "The rows to predict were recorded later than the others, so some columns may be distributed otherwise."
        if settings["shift"]
        else "All rows come from one source.",
    ]
    rng.shuffle(hints)
    metric = "the share of right classes (accuracy)" if classes else "the explained share of the variance (r2)"
    return f"""
{opening.format(goal)}

- data/train.csv: {train} rows with the columns {settings["id"]}, {names} and {target}. {" ".join(hints)}
- data/test.csv: {pool} other rows without {target}; some count for validation, the others for the final test.
- data/sample_submission.csv: the form of a submission.
- fit.py: a linear fit of the first columns. `python fit.py` writes submission.csv.

Write submission.csv with the header {settings["id"]},{target} and one line for each row of data/test.csv. From {metric}
comes skill, the score: 0 for fit.py as it is, 1 for one who knows how the data came about; higher is better.
"""
