"""Time series with a planted trend, seasons and memory: their data, the best forecast, and the grading. Hidden.

Series i at time t is level_i + trend t + size_i (seasons at t) + u, with u(t) = a u(t-1) + b u(t-2) + noise. The best
forecast of what comes after the last value knows all of this but the noise to come: u goes on by its memory alone.
"""

import csv
from pathlib import Path

import numpy as np
from kinds import skills, tables

BEFORE = 100  # steps for the memory to settle


def prepare(public: Path, private: Path, *, settings: dict, seed: int) -> None:
    """Write history.csv and sample_submission.csv; the answers, and the scores of floor, starter and ceiling."""
    rng = np.random.default_rng(settings["seed"])
    length, ahead, count, measure = settings["length"], settings["ahead"], settings["series"], settings["measure"]
    known, memory = _regular(rng, settings), _memory(rng, settings)
    scale = rng.uniform(5, 50)
    values = scale * (known + memory)
    went_on = _went_on(memory[:length], settings["memory"], ahead)
    best = scale * (known[length:] + went_on)
    history = values[:length].copy()
    wrong = rng.random(history.shape) < settings["outliers"]
    history[wrong] += 8 * scale * rng.choice((-1, 1), size=int(wrong.sum()))
    missing = rng.random(history.shape) < settings["missing"]
    missing[-2:] = wrong[-2:] = False  # what the best forecast goes on from is known to all
    history[-2:] = values[length - 2 : length]

    names = [f"c{n:02d}" for n in range(count)]
    shown = np.where(missing, "", np.char.mod("%.3f", history))
    _write(public / "history.csv", [settings["step"], *names], ([t, *row] for t, row in enumerate(shown)))
    ids = [f"{name}@{length + t}" for name in names for t in range(ahead)]
    header = ["id", measure]
    means = np.nanmean(np.where(missing, np.nan, history), axis=0)
    splits = rng.permutation(["validation", "test"] * (count // 2))
    told = {"floor": np.repeat(means[None], ahead, axis=0), "answers": values[length:], "ceiling": best}
    said = {name: np.char.mod("%.4f", numbers.T.ravel()) for name, numbers in told.items()}
    _write(public / "sample_submission.csv", header, zip(ids, said["floor"], strict=True))
    answers = private / "answers.csv"
    _write(answers, [*header, "split"], zip(ids, said["answers"], np.repeat(splits, ahead), strict=True))
    _write(private / "best.csv", header, zip(ids, said["ceiling"], strict=True))
    with skills.started(Path(__file__).parent / "workspace", public, "forecast.py") as folder:
        marks = {
            "floor": public / "sample_submission.csv",
            "starter": folder / "submission.csv",
            "ceiling": private / "best.csv",
        }
        scores = {
            split: {mark: _scores(path, answers, measure, split)["rmse"] for mark, path in marks.items()}
            for split in ("validation", "test")
        }
    skills.write(private, scores)


def grade(submission, private: Path, *, settings: dict, split: str, seed: int) -> dict[str, float]:
    """skill, rmse and r2 of submission.csv on the series of the split."""
    scores = _scores(submission.path("submission.csv"), private / "answers.csv", settings["measure"], split)
    return {"skill": skills.skill(private, split, scores["rmse"]), **scores}


def _regular(rng, settings):
    """Level, trend and seasons of each series (time, series); the season's standard deviation is 1 in the mean."""
    times = np.arange(settings["length"] + settings["ahead"])
    season = np.zeros(len(times))
    for period in settings["periods"]:
        shape = rng.normal(size=period)
        season += ((shape - shape.mean()) / shape.std())[times % period]
    season /= np.sqrt(len(settings["periods"]))
    levels, sizes = rng.normal(0, 3, settings["series"]), rng.uniform(0.6, 1.4, settings["series"])
    return levels + (settings["trend"] * times)[:, None] + season[:, None] * sizes


def _memory(rng, settings):
    """The part with a memory (time, series)."""
    a, b = settings["memory"]
    steps = settings["length"] + settings["ahead"]
    noise = settings["noise"] * rng.normal(size=(BEFORE + steps, settings["series"]))
    for t in range(2, len(noise)):
        noise[t] += a * noise[t - 1] + b * noise[t - 2]
    return noise[BEFORE:]


def _went_on(memory, coefficients, ahead):
    """The expected memory after its last value."""
    a, b = coefficients
    found = list(memory[-2:])
    for _ in range(ahead):
        found.append(a * found[-1] + b * found[-2])
    return np.array(found[2:])


def _scores(path, answers, measure, split):
    return tables.grade_numbers(path, answers, id="id", target=measure, split=split)


def _write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
