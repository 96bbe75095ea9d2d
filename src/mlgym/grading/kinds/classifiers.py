"""Classifiers of pairs of texts: a saved model that is run in the player, or a table of predictions.

The hidden pairs are a csv with the columns id, premise, hypothesis, label and split. The submission is a folder
`submission/` with either predictions.csv (id,label) or packed.py, whose function predict_packed gets the texts as bytes
and returns the numbers of the labels. The model is asked about all pairs of the pool, in an order that only the grader
knows: it learns neither which count, nor does a list of answers in the order of the pool pass as a model.
"""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import InvalidSubmission
from .tables import grade_classes

FOLDER, TABLE, CODE = "submission", "predictions.csv", "packed.py"
BATCH = 256  # pairs for one call

_predicted: dict[tuple[str, int], NDArray[np.int64]] = {}  # of submissions graded before, for the other split


def grade_pairs(submission: Any, pairs: Path, *, labels: Sequence[str], split: str, seed: int) -> dict[str, float]:
    """accuracy on the pairs of `split`."""
    table, code = (submission.folder / FOLDER / name for name in (TABLE, CODE))
    if table.is_file() and code.is_file():
        raise InvalidSubmission(
            f"{FOLDER}/ holds both {TABLE} and a model ({CODE}): keep the one that is to be graded."
        )
    if table.is_file():
        return grade_classes(table, pairs, id="id", target="label", split=split, classes=labels)
    if not code.is_file():
        raise InvalidSubmission(f"{FOLDER}/ holds neither a model ({CODE}) nor {TABLE}.")
    with pairs.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    key = (_content(submission.folder), seed)
    if key not in _predicted:
        _predicted[key] = predict(submission, rows, labels, seed)
    right = [labels[n] == row["label"] for n, row in zip(_predicted[key], rows, strict=True) if row["split"] == split]
    return {"accuracy": sum(right) / len(right)}


def predict(submission: Any, rows: Sequence[dict[str, str]], labels: Sequence[str], seed: int) -> NDArray[np.int64]:
    """The number of the label that the submitted model gives to each pair; InvalidSubmission for anything else."""
    order = np.random.default_rng().permutation(len(rows))
    player = submission.player(f"{FOLDER}.{CODE.removesuffix('.py')}", seed)
    found = np.zeros(len(rows), np.int64)
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        texts = [packed([rows[n][name] for n in some]) for name in ("premise", "hypothesis")]
        (answer,) = player.batch("predict_packed", texts, [("<i8", (len(some),))])
        numbers = np.frombuffer(answer.data, answer.descr)
        if ((numbers < 0) | (numbers >= len(labels))).any():
            raise InvalidSubmission(f"The model answered with a number that is no label's: 0 to {len(labels) - 1} are.")
        found[some] = numbers
    return found


def packed(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as UTF-8 in the rows of an array, filled up with zeros."""
    rows = [text.encode() for text in texts]
    width = max(map(len, rows))
    return np.frombuffer(b"".join(row.ljust(width, b"\0") for row in rows), np.uint8).reshape(len(rows), width)


def _content(folder: Path) -> str:
    """A digest of all files of the submission."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found.update(f"{path.relative_to(folder)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()
