"""How the grader calls your model: texts come as rows of bytes, answers are the numbers of the labels. Leave it so."""

import numpy as np
from submission.model import predict

LABELS = ["entailment", "neutral", "contradiction"]


def predict_packed(premises: np.ndarray, hypotheses: np.ndarray) -> np.ndarray:
    """The number of the label of each pair; each row of the two arrays is a text in UTF-8, filled up with zeros."""
    texts = [[row.tobytes().rstrip(b"\0").decode() for row in array] for array in (premises, hypotheses)]
    return np.array([LABELS.index(label) for label in predict(*texts)], np.int64)
