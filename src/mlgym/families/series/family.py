"""Time series: several of one kind to forecast, of a trend, a season and noise with a memory, all planted.

Each series has its own level and size of the season; trend, season and memory are common to all, so that they can be
learned from all together. The difficulty makes the noise and its memory stronger, and adds missing values, values that
were recorded wrongly and, from 0.5 on, a second season.
"""

import random

# what a series belongs to, what is measured, a step of time
STORIES = (
    ("shop", "sales", "day"), ("river gauge", "level_cm", "hour"), ("server", "requests", "minute"),
    ("bus line", "riders", "day"), ("turbine", "power_kw", "hour"), ("clinic", "visits", "week"),
    ("orchard", "picked_kg", "day"), ("well", "depth_m", "month"), ("bakery", "loaves", "day"),
    ("beehive", "weight_kg", "day"), ("toll gate", "cars", "hour"), ("greenhouse", "humidity", "hour"),
)  # fmt: skip


def generate(seed, difficulty):
    """What differs from task.toml: how the series come about, and the words."""
    rng = random.Random(f"series {seed} {difficulty}")
    what, measure, step = rng.choice(STORIES)
    periods = [rng.randrange(5, 13)]
    if difficulty >= 0.5:
        periods.append(rng.choice([period for period in range(3, 16) if period % periods[0] and periods[0] % period]))
    settings = {
        "seed": rng.randrange(2**32), "series": 2 * rng.randrange(20, 36), "length": rng.randrange(100, 141),
        "ahead": rng.randrange(6, 13), "periods": periods,
        "step": step, "measure": measure,
        "noise": round(0.15 + 0.35 * difficulty * rng.uniform(0.8, 1), 3),  # where the season's deviation is 1
        "memory": [round(rng.uniform(0.1, 0.3) + 0.5 * difficulty, 2), round(-0.4 * difficulty * rng.random(), 2)],
        "trend": round(rng.choice((-1, 1)) * rng.uniform(0.04, 0.08), 3),  # a step
        "missing": round(0.08 * difficulty, 2), "outliers": round(0.02 * difficulty, 3),
    }  # fmt: skip
    return {
        "title": f"Time series: {measure} of {settings['series']} {what}s",
        "instruction": _instruction(rng, what, settings),
        "settings": settings,
    }


def _instruction(rng, what, settings):
    measure, step, count, ahead = (settings[key] for key in ("measure", "step", "series", "ahead"))
    length = settings["length"]
    opening = rng.choice(
        (
            f"Forecast {measure} of {count} {what}s for the next {ahead} {step}s.",
            f"There are records of {measure} for {count} {what}s; say how the next {ahead} {step}s go on.",
            f"What will {measure} be in the {ahead} {step}s to come? You have the past of {count} {what}s.",
        )
    )
    flaws = [
        "some values are missing (empty)" if settings["missing"] else "",
        "some were recorded wrongly" if settings["outliers"] else "",
    ]
    told = "; " * any(flaws) + " and ".join(filter(None, flaws))
    return f"""
{opening} All {what}s have the same rhythm and the same drift, each in its own size and at its own level.

- data/history.csv: a line for each {step}: its number, from 0, and {measure} of each {what}{told}.
- data/sample_submission.csv: the form of a submission, with the mean of the past of each.
- forecast.py: the mean of the last values of each. `python forecast.py` writes submission.csv.

Write submission.csv with the header id,{measure}; the id of {what} c03 at {step} {length} is c03@{length}. Half of the
{what}s count for validation, the others for the final test. From the root of the mean squared error (rmse) comes
skill, the score: 0 for forecast.py as it is, 1 for one who knows how the series came about; higher is better.
"""
