"""A small language: its chances, a text of it, and the grading by the exact cross-entropy. Hidden from the agent.

The next sign is drawn from table one, of the last sign, with a fixed chance, else from table two, of two signs before
it. The ceiling is the entropy of the true chances, weighted by the stationary distribution of the contexts: the entropy
rate, were all contexts counted (Shannon 1948, theorem 5).
"""

import csv
import itertools
from pathlib import Path

import numpy as np
from kinds import InvalidSubmission, skills, tables

SUM = 1e-3  # how far the chances after a context may be from one together
LEAST = 0.02  # of each table a part is spread evenly: every sign can always come
ROUNDS = 2000


def prepare(public: Path, private: Path, *, settings: dict, seed: int) -> None:
    """Write text.txt and sample_submission.csv; the true chances, and the scores of floor, starter and ceiling."""
    rng = np.random.default_rng(settings["seed"])
    signs, context = settings["signs"], settings["context"]
    chances = _chances(rng, settings)
    tokens = _text(rng, chances, settings["tokens"])
    lines = (" ".join(signs[n] for n in tokens[at : at + 50]) for at in range(0, len(tokens), 50))
    (public / "text.txt").write_text("\n".join(lines) + "\n")
    contexts = list(itertools.product(range(len(signs)), repeat=context))
    weights = _stationary(chances)
    splits = rng.permutation([("validation", "test")[n % 2] for n in range(len(contexts))])
    rows = []
    for each, split in zip(contexts, splits, strict=True):
        before = " ".join(signs[n] for n in each)
        rows += [
            [f"{before}>{sign}", f"{chances[each][n]:.8f}", split, f"{weights[each]:.8g}"]
            for n, sign in enumerate(signs)
        ]
    answers = private / "answers.csv"
    _write(answers, ["id", "chance", "split", "weight"], rows)
    _write(public / "sample_submission.csv", ["id", "chance"], ([row[0], f"{1 / len(signs):.6f}"] for row in rows))
    with skills.started(Path(__file__).parent / "workspace", public, "count.py") as folder:
        marks = {"floor": public / "sample_submission.csv", "starter": folder / "submission.csv"}
        scale = {
            split: {mark: cross_entropy(path, answers, split) for mark, path in marks.items()}
            | {"ceiling": cross_entropy(None, answers, split)}
            for split in ("validation", "test")
        }
    skills.write(private, scale)


def grade(submission, private: Path, *, settings: dict, split: str, seed: int) -> dict[str, float]:
    """skill, cross_entropy and the entropy that it can come down to (nats), over the contexts of the split."""
    found = cross_entropy(submission.path("submission.csv"), private / "answers.csv", split)
    entropy = cross_entropy(None, private / "answers.csv", split)
    return {"skill": skills.skill(private, split, found), "cross_entropy": found, "entropy": entropy}


def cross_entropy(path: Path | None, answers: Path, split: str) -> float:
    """Of the submitted chances (without a path: the true ones themselves) with the true ones; InvalidSubmission."""
    with answers.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    true = np.array([float(row["chance"]) for row in rows])
    contexts = [row["id"].partition(">")[0] for row in rows]
    said = true
    if path is not None:
        found = tables.read_predictions(path, [row["id"] for row in rows], id="id", target="chance")
        said = np.array([_chance(row["id"], found[row["id"]]) for row in rows])
    _, at = np.unique(contexts, return_inverse=True)
    sums = np.bincount(at, said)
    if (wrong := np.abs(sums - 1) > SUM).any():
        where = contexts[int(np.flatnonzero(wrong[at])[0])]
        raise InvalidSubmission(f"The chances after {where!r} sum to {sums[wrong][0]:.6g} and not to one.")
    weights = np.array([float(row["weight"]) * (row["split"] == split) for row in rows])
    size = weights.sum() / (len(rows) / len(sums))
    return float(-(weights * true * np.log(said / sums[at])).sum() / size)


def _chance(id: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1 + SUM:
        raise InvalidSubmission(f"The chance of {id!r} is {text[:40]!r}, which is no number above 0 and at most 1.")
    return number


def _chances(rng, settings):
    """The chance of each next sign (the last axis) after each context (an axis a sign, the earliest first)."""
    size, context = len(settings["signs"]), settings["context"]
    one, two = (
        (1 - LEAST) * rng.dirichlet([settings["even"]] * size, shape) + LEAST / size for shape in (size, (size, size))
    )
    where = np.indices((size,) * context)
    near, far = (where[context - back] for back in settings["used"])
    return settings["last"] * one[where[-1]] + (1 - settings["last"]) * two[near, far]


def _text(rng, chances, count):
    """So many signs in a row."""
    context, limits = chances.ndim - 1, chances.cumsum(axis=-1)
    tokens = list(rng.integers(chances.shape[-1], size=context))
    for luck in rng.random(count + 100):
        tokens.append(min(int((limits[tuple(tokens[-context:])] < luck).sum()), chances.shape[-1] - 1))
    return tokens[-count:]


def _stationary(chances):
    """How often each context comes in the long run."""
    found = np.full(chances.shape[:-1], 1 / chances[..., 0].size)
    for _ in range(ROUNDS):
        after = (found[..., None] * chances).sum(axis=0)
        if np.abs(after - found).max() < 1e-13:
            break
        found = after
    return found


def _write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
