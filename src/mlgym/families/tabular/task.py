"""A table with planted structure: its data, the best predictor, and the grading. Hidden from the agent.

f is a sum of terms of variance 1 (before any shift) times the root of their shares. A number is f plus normal noise; of
two classes the second has the chance 1 / (1 + exp(-f / noise)). The best predictor knows all this, and the mean over
what a missing value may be: the ceiling is its score on the very rows that are graded.
"""

import csv
from pathlib import Path

import numpy as np
from kinds import skills, tables

COMPLETIONS = 200  # drawn for a row with missing values
BENT = {  # terms of a standard normal number, of mean 0 and variance 1
    "absolute": lambda z: (np.abs(z) - np.sqrt(2 / np.pi)) / np.sqrt(1 - 2 / np.pi),
    "wave": lambda z: np.sin(3 * z) / np.sqrt((1 - np.exp(-18)) / 2),
    "step up": lambda z: (z > 0.5) / 0.4615 - 0.6686,
    "step down": lambda z: (z > -1) / 0.3653 - 2.3030,
}


def prepare(public: Path, private: Path, *, settings: dict, seed: int) -> None:
    """Write train.csv, test.csv and sample_submission.csv; the answers, and what floor, starter and ceiling score."""
    rng = np.random.default_rng(settings["seed"])
    structure = Structure(settings, rng)
    sizes = settings["rows"]
    train = structure.draw(rng, sizes["train"], later=False)
    pool = structure.draw(rng, sizes["validation"] + sizes["test"], later=True)
    best = structure.best(pool, rng)
    name, target = settings["id"], settings["target"]
    header = [column["name"] for column in settings["columns"]]
    ids = [str(n) for n in range(1, len(train["y"]) + len(pool["y"]) + 1)]
    own, asked = ids[: sizes["train"]], ids[sizes["train"] :]
    splits = rng.permutation(["validation"] * sizes["validation"] + ["test"] * sizes["test"])
    said = [structure.said(part["y"]) for part in (train, pool)]
    _write(public / "train.csv", [name, *header, target], zip(own, *structure.columns(train), said[0], strict=True))
    _write(public / "test.csv", [name, *header], zip(asked, *structure.columns(pool), strict=True))
    typical = _typical(said[0], settings["classes"])
    _write(public / "sample_submission.csv", [name, target], ((each, typical) for each in asked))
    answers = private / "answers.csv"
    _write(answers, [name, target, "split"], zip(asked, said[1], splits, strict=True))
    _write(private / "best.csv", [name, target], zip(asked, structure.said(best), strict=True))
    with skills.started(Path(__file__).parent / "workspace", public, "fit.py") as folder:
        marks = {
            "floor": public / "sample_submission.csv",
            "starter": folder / "submission.csv",
            "ceiling": private / "best.csv",
        }
        main = "accuracy" if settings["classes"] else "r2"
        scale = {
            split: {mark: _scores(path, answers, settings, split)[main] for mark, path in marks.items()}
            for split in ("validation", "test")
        }
    skills.write(private, scale)


def grade(submission, private: Path, *, settings: dict, split: str, seed: int) -> dict[str, float]:
    """skill, and accuracy or r2 and rmse, of submission.csv on the rows of the split."""
    scores = _scores(submission.path("submission.csv"), private / "answers.csv", settings, split)
    return {"skill": skills.skill(private, split, scores["accuracy" if settings["classes"] else "r2"]), **scores}


class Structure:
    """What is planted: the term of each column, its sign and weight, and the units in which columns are told."""

    def __init__(self, settings, rng):
        self.settings = settings
        self.terms = []  # weight, kind, columns
        self.levels = {}
        by_role = {}
        for n, column in enumerate(settings["columns"]):
            by_role.setdefault(column["role"], []).append(n)
        for role, share in settings["shares"].items():
            at = by_role[role]
            groups = list(zip(at[::2], at[1::2], strict=True)) if role == "crossed" else [(n,) for n in at]
            parts = rng.dirichlet([4.0] * len(groups)) * share
            for n, (group, part) in enumerate(zip(groups, parts, strict=True)):
                kind = list(BENT)[(n + settings["seed"]) % len(BENT)] if role == "bent" else role
                self.terms.append((rng.choice((-1, 1)) * np.sqrt(part), kind, group))
        for n in by_role["category"]:
            effects = rng.permutation(np.linspace(-1, 1, len(settings["columns"][n]["values"])))
            self.levels[n] = effects / effects.std()
        shifted = [n for role in ("square", "bent") for n in by_role.get(role, [])]
        self.shifts = {n: settings["shift"] * rng.choice((-1, 1)) for n in shifted[:3]}
        self.units = [(rng.uniform(-5, 60), rng.uniform(0.5, 20)) for _ in settings["columns"]]

    def draw(self, rng, rows, later):
        """So many rows: standard numbers z (or the numbers of values), what is missing, and y."""
        columns = self.settings["columns"]
        z = rng.normal(size=(rows, len(columns)))
        for n, effects in self.levels.items():
            z[:, n] = rng.integers(len(effects), size=rows)
        if later:
            for n, by in self.shifts.items():
                z[:, n] += by
        missing = rng.random(z.shape) < self.settings["missing"]
        missing[:, [n for n, column in enumerate(columns) if column["role"] in ("category", "leak")]] = False
        f, noise = self.f(z), self.settings["noise"]
        y = rng.random(rows) < _chance(f, noise) if self.settings["classes"] else f + rng.normal(size=rows) * noise**0.5
        for n, column in enumerate(columns):
            if column["role"] == "leak":
                copied = rng.permutation(y) if later else y
                z[:, n] = (copied - copied.mean()) / copied.std() + 0.15 * rng.normal(size=rows)
        return {"z": z, "missing": missing, "y": y}

    def f(self, z):
        """The sum of the terms for each row."""
        total = np.zeros(len(z))
        for weight, kind, group in self.terms:
            values = z[:, group[0]]
            if kind == "crossed":
                values = values * z[:, group[1]]
                values = np.sign(values) if self.settings["signs"] else values
            elif kind == "square":
                values = (values**2 - 1) / np.sqrt(2)
            elif kind == "category":
                values = self.levels[group[0]][values.astype(int)]
            elif kind in BENT:
                values = BENT[kind](values)
            total += weight * values
        return total

    def best(self, pool, rng):
        """The best prediction for each row: over all that its missing values may be."""
        used = sorted({n for _, _, group in self.terms for n in group})
        found = self._expected(pool["z"])
        for row in np.flatnonzero(pool["missing"][:, used].any(axis=1)):
            z = np.repeat(pool["z"][row][None], COMPLETIONS, axis=0)
            for n in np.flatnonzero(pool["missing"][row]):
                z[:, n] = rng.normal(size=COMPLETIONS) + self.shifts.get(n, 0)
            found[row] = self._expected(z).mean()
        return found > 0.5 if self.settings["classes"] else found

    def _expected(self, z):
        f = self.f(z)
        return _chance(f, self.settings["noise"]) if self.settings["classes"] else f

    def columns(self, part):
        """Each column as text, in its unit; empty where a value is missing."""
        for n, column in enumerate(self.settings["columns"]):
            z, missing = part["z"][:, n], part["missing"][:, n]
            if "values" in column:
                yield [column["values"][int(each)] for each in z]
            else:
                middle, unit = self.units[n]
                yield ["" if gone else f"{middle + unit * each:.3f}" for each, gone in zip(z, missing, strict=True)]

    def said(self, y):
        """The target as text."""
        classes = self.settings["classes"]
        return [classes[int(each)] for each in y] if classes else [f"{100 + 25 * each:.4f}" for each in y]


def _chance(f, noise):
    return 1 / (1 + np.exp(-f / noise))


def _typical(said, classes):
    return max(classes, key=said.count) if classes else f"{np.mean([float(each) for each in said]):.4f}"


def _scores(path, answers, settings, split):
    about = {"id": settings["id"], "target": settings["target"], "split": split}
    if settings["classes"]:
        return tables.grade_classes(path, answers, classes=settings["classes"], **about)
    return tables.grade_numbers(path, answers, **about)


def _write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
