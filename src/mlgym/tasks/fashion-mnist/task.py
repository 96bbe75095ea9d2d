"""Fashion-MNIST: 28x28 grey pictures of clothes in ten classes. Hidden from the agent."""

import gzip
from pathlib import Path

import numpy as np
from kinds import images

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def prepare(public, private, *, settings, seed):
    """Validation comes from the canonical training rows; `train`, `validation`, `test` say how many rows each has."""
    sources, rng = settings["sources"], np.random.default_rng(seed)
    rest = read(sources["train-images"], sources["train-labels"]).shuffled(rng)
    test = read(sources["test-images"], sources["test-labels"]).shuffled(rng).rows(slice(settings["test"]))
    cut = settings["validation"]
    train = rest.rows(slice(cut, cut + settings["train"]))
    images.publish(public, private, train, rest.rows(slice(cut)), test, CLASSES, rng)


def grade(submission, private, *, settings, split, seed):
    """Accuracy."""
    return images.grade(submission, private, split, len(CLASSES))


def read(pictures, labels):
    """Two gzipped files in the IDX format of MNIST: big-endian sizes after a magic number, then the bytes."""
    pictures, labels = (gzip.decompress(Path(path).read_bytes()) for path in (pictures, labels))
    labels = np.frombuffer(labels, np.uint8, offset=8)
    return images.Labelled(np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, 28, 28), labels)
