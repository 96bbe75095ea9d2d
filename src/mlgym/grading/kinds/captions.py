"""Captions against hidden references: corpus BLEU-4 on words by sacrebleu, and CIDEr-D beside it.

The references are a csv with the columns id, caption and split, one line for each reference. Messages to the agent name
ids and what it wrote itself, never a reference, nor to which split an image belongs.
"""

import csv
import importlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from . import InvalidSubmission
from .tables import read_predictions

MAX_WORDS = 100  # of a caption; those of people have 5 to 50
MOST = 4  # the longest n-grams that CIDEr counts
SIGMA = 6.0  # CIDEr-D's allowance for a difference in length, in words

Weights = list[dict[tuple[str, ...], float]]  # of the n-grams of one caption, for each n


def grade_captions(submitted: Path, references: Path, *, split: str) -> dict[str, float]:
    """bleu (0 to 1) and cider (0 to 10) of the csv id,caption on the images of `split`; every image must be there."""
    known: dict[str, list[str]] = {}
    wanted = set()
    with references.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            known.setdefault(row["id"], []).append(row["caption"])
            if row["split"] == split:
                wanted.add(row["id"])
    found = read_predictions(submitted, list(known), id="id", target="caption")
    for key, text in found.items():
        if not text:
            raise InvalidSubmission(f"The caption of image {key} is empty.")
        if len(text.split()) > MAX_WORDS:
            raise InvalidSubmission(f"The caption of image {key} has more than {MAX_WORDS} words.")
    ids = sorted(wanted)
    captions, texts = [found[key] for key in ids], [known[key] for key in ids]
    return {"bleu": bleu(captions, texts), "cider": cider(captions, texts)}


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4, from 0 to 1, in lower case, words split as in WMT's 13a (punctuation counts); no smoothing."""
    streams = [[texts[n] if n < len(texts) else None for texts in references] for n in range(max(map(len, references)))]
    sacrebleu = importlib.import_module("sacrebleu")  # the grader's environment has it
    found = sacrebleu.corpus_bleu(captions, streams, smooth_method="none", tokenize="13a", lowercase=True)
    return float(found.score) / 100


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D, the mean over images, from 0 to 10.

    For each n, the clipped cosine of the n-gram counts of caption and reference, each n-gram weighted with the
    logarithm of how seldom it is among the images' references, times a penalty for another length; averaged over
    references and n, times 10. From Vedantam, Zitnick, Parikh: CIDEr, CVPR 2015, sections 4 and 6.
    """
    counted = [[_counts(text) for text in texts] for texts in references]
    images: Counter[tuple[str, ...]] = Counter()
    for texts in counted:
        images.update({gram for text in texts for grams in text for gram in grams})

    def weights(counts: list[Counter[tuple[str, ...]]]) -> Weights:
        seldom = math.log(len(captions))
        return [{gram: n * (seldom - math.log(max(images[gram], 1))) for gram, n in grams.items()} for grams in counts]

    total = 0.0
    for caption, texts in zip(captions, counted, strict=True):
        own = _counts(caption)
        mine = weights(own)
        for text in texts:
            difference = own[0].total() - text[0].total()
            penalty = math.exp(-(difference**2) / (2 * SIGMA**2))
            total += penalty * sum(map(_cosine, mine, weights(text))) / MOST / len(texts)
    return 10 * total / len(captions)


def _counts(text: str) -> list[Counter[tuple[str, ...]]]:
    """How often each n-gram of words is there, for each n; without punctuation, as is usual for CIDEr."""
    words = re.findall(r"[\w'-]+", text.lower())
    return [Counter(zip(*(words[start:] for start in range(n)), strict=False)) for n in range(1, MOST + 1)]


def _cosine(mine: dict[tuple[str, ...], float], other: dict[tuple[str, ...], float]) -> float:
    """The clipped cosine: what the caption has more often than the reference counts as often as there."""
    norm = math.hypot(*mine.values()) * math.hypot(*other.values())
    return sum(min(mine.get(gram, 0.0), weight) * weight for gram, weight in other.items()) / norm if norm else 0.0
