"""Changes of the tables that a task's own `prepare` has made: fewer rows to learn from, a column less."""

import csv
import random
from pathlib import Path


def apply(public: Path, *, rows: str = "", drop: str = "") -> None:
    """Leave the share `rows` of the rows of train.csv, and take a column out of train.csv and test.csv.

    The column is drawn, with the seed `drop`, from those of test.csv that sample_submission.csv has not.
    """
    tables = {name: _read(public / f"{name}.csv") for name in ("train", "test", "sample_submission")}
    head, *body = tables["train"]
    if rows:
        rng = random.Random(f"rows {rows}")
        kept = sorted(rng.sample(range(len(body)), max(10, round(float(rows) * len(body)))))
        tables["train"] = [head, *(body[n] for n in kept)]
    if drop:
        features = [name for name in tables["test"][0] if name in head and name not in tables["sample_submission"][0]]
        if len(features) < 2:
            raise ValueError("there is no column that could be left out")
        column = random.Random(f"drop {drop}").choice(sorted(features))
        for name in ("train", "test"):
            at = tables[name][0].index(column)
            tables[name] = [row[:at] + row[at + 1 :] for row in tables[name]]
    for name in ("train", "test"):
        with (public / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(tables[name])


def _read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))
