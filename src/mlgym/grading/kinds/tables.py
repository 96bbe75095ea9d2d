"""Splitting a table, and grading a csv of predictions against the hidden part; rows are matched by id.

The hidden table is a csv with the columns of the submission and one more, `split`. Messages to the agent name ids and
what it wrote itself, never an answer, nor to which split a row belongs.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from . import InvalidSubmission

Floats = NDArray[np.float64]
MAX_LINE = 10_000  # characters


def prepare(
    table: Path, public: Path, private: Path, *, id: str, target: str, validation: int, test: int, seed: int
) -> None:
    """Split a csv: train.csv, an unlabelled, shuffled test.csv of `validation` + `test` rows, the hidden answers.csv.

    Values stay as they are. Without a column `id` the rows are numbered. sample_submission.csv says the same for every
    row: the commonest value of the training rows.
    """
    import pandas as pd

    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    if id not in rows:
        rows.insert(0, id, [str(number) for number in range(1, len(rows) + 1)])
    rows = rows.sample(frac=1, random_state=seed)
    parts = [rows[:validation].assign(split="validation"), rows[validation : validation + test].assign(split="test")]
    train, pool = rows[validation + test :], pd.concat(parts).sample(frac=1, random_state=seed)
    train.to_csv(public / "train.csv", index=False)
    pool.drop(columns=[target, "split"]).to_csv(public / "test.csv", index=False)
    pool[[id]].assign(**{target: train[target].mode()[0]}).to_csv(public / "sample_submission.csv", index=False)
    pool[[id, target, "split"]].to_csv(private / "answers.csv", index=False)


def grade_numbers(submitted: Path, answers: Path, *, id: str, target: str, split: str) -> dict[str, float]:
    """r2 and rmse of the predicted numbers on the rows of `split`; every row of the pool must be there, a number."""
    truth, wanted = _answers(answers, id, target, split)
    found = read_predictions(submitted, list(truth), id=id, target=target)
    numbers = {key: _number(key, text) for key, text in found.items()}
    y = np.array([float(truth[key]) for key in wanted])
    predicted = np.array([numbers[key] for key in wanted])
    return {"r2": r2(y, predicted), "rmse": rmse(y, predicted)}


def grade_classes(
    submitted: Path, answers: Path, *, id: str, target: str, split: str, classes: Sequence[str]
) -> dict[str, float]:
    """accuracy of the predicted classes on the rows of `split`; every class of the pool must be one of `classes`."""
    truth, wanted = _answers(answers, id, target, split)
    found = read_predictions(submitted, list(truth), id=id, target=target)
    for key, text in found.items():
        if text not in classes:
            raise InvalidSubmission(f"The row of {id} {key} has {text[:40]!r}, which is not one of the classes.")
    return {"accuracy": sum(found[key] == truth[key] for key in wanted) / len(wanted)}


def read_predictions(path: Path, ids: Sequence[str], *, id: str, target: str) -> dict[str, str]:
    """The submitted text of each id; InvalidSubmission unless exactly `ids` are there, once each, in any order."""
    expected = set(ids)
    found: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(_lines(file, 2 * len(ids) + 100))
            header = [name.strip() for name in next(rows, [])]
            if header != [id, target]:
                raise InvalidSubmission(f"The first line must be {id},{target}, but it is {','.join(header)[:80]!r}.")
            for row in rows:
                if not row:
                    continue
                if len(row) != 2:
                    raise InvalidSubmission(f"Line {rows.line_num} has {len(row)} values instead of 2.")
                key, text = row[0].strip(), row[1].strip()
                if key not in expected:
                    raise InvalidSubmission(f"Line {rows.line_num} has an unknown {id}, {key[:40]!r}.")
                if key in found:
                    raise InvalidSubmission(f"The {id} {key} is there twice, again in line {rows.line_num}.")
                found[key] = text
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidSubmission("The file is not a csv in UTF-8.") from error
    if len(found) < len(expected):
        first = next(key for key in ids if key not in found)
        raise InvalidSubmission(f"{len(ids) - len(found)} of {len(ids)} rows are missing, first {id} {first}.")
    return found


def r2(y: Floats, predicted: Floats) -> float:
    """The share of the variance of `y` that is explained; 1 is perfect, 0 is as good as the mean."""
    return float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def rmse(y: Floats, predicted: Floats) -> float:
    """The root of the mean squared error, in the unit of `y`."""
    return float(np.sqrt(((y - predicted) ** 2).mean()))


def _number(key: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise InvalidSubmission(f"The prediction of {key} is {text[:40]!r}, which is not a number.") from None
    if not math.isfinite(number) or abs(number) > 1e100:  # beyond it the squares overflow
        raise InvalidSubmission(f"The prediction of {key} is {text[:40]}, which is not a usable number.")
    return number


def _answers(path: Path, id: str, target: str, split: str) -> tuple[dict[str, str], list[str]]:
    """The answer of each id in the pool, and the ids of the split."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row[id]: row[target] for row in rows}, [row[id] for row in rows if row["split"] == split]


def _lines(file: IO[str], most: int) -> Iterator[str]:
    """The lines, one at a time, so that neither a long file nor a long line is ever held whole."""
    for number in range(most + 1):
        line = file.readline(MAX_LINE)
        if not line:
            return
        if len(line) == MAX_LINE:
            raise InvalidSubmission(f"Line {number + 1} is longer than {MAX_LINE} characters.")
        if "\0" in line:
            raise InvalidSubmission(f"Line {number + 1} is not text.")
        yield line
    raise InvalidSubmission(f"The file has more than {most} lines.")
