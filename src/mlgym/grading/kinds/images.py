"""Image classification: arrays of pictures for the agent, a table of classes from it.

The agent gets numpy files: pictures are uint8, (N, H, W) grey or (N, H, W, 3) colour, labels uint8, (N,). Validation
and test are one unlabelled pool, shuffled; a row's id is its place in the pool.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .tables import grade_classes

Bytes = NDArray[np.uint8]


class Labelled(NamedTuple):
    """Pictures with the number of each one's class."""

    images: Bytes
    labels: Bytes

    def rows(self, which: Any) -> "Labelled":
        """Only these rows, by mask, slice or indices."""
        return Labelled(self.images[which], self.labels[which])

    def shuffled(self, rng: np.random.Generator) -> "Labelled":
        """The same rows in a random order."""
        return self.rows(rng.permutation(len(self.labels)))


def publish(
    public: Path,
    private: Path,
    train: Labelled,
    validation: Labelled,
    test: Labelled,
    classes: Sequence[str],
    rng: np.random.Generator,
) -> None:
    """Write train_images.npy, train_labels.npy, test_images.npy (the pool), classes.txt and a sample submission.

    The answers go to private/answers.csv, with the split of each row.
    """
    splits = np.repeat(["validation", "test"], [len(validation.labels), len(test.labels)])
    order = rng.permutation(len(splits))
    labels = np.concatenate([validation.labels, test.labels])[order]
    np.save(public / "train_images.npy", train.images)
    np.save(public / "train_labels.npy", train.labels)
    np.save(public / "test_images.npy", np.concatenate([validation.images, test.images])[order])
    (public / "classes.txt").write_text("".join(f"{number} {name}\n" for number, name in enumerate(classes)))
    _write(public / "sample_submission.csv", ["id", "label"], ((i, 0) for i in range(len(order))))
    answers = zip(labels.tolist(), splits[order].tolist(), strict=True)
    _write(private / "answers.csv", ["id", "label", "split"], ((i, *row) for i, row in enumerate(answers)))


def grade(submission: Any, private: Path, split: str, classes: int) -> dict[str, float]:
    """`accuracy` of submission.csv (id,label) on the rows of the split; a label is the number of a class."""
    names = [str(number) for number in range(classes)]
    path, answers = submission.path("submission.csv"), private / "answers.csv"
    return grade_classes(path, answers, id="id", target="label", split=split, classes=names)


def _write(path: Path, header: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(header)
        out.writerows(rows)
