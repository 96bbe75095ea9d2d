"""Texts ranked by the words of a question: BM25, of Robertson and Zaragoza, "The Probabilistic Relevance Framework:
BM25 and Beyond", Foundations and Trends in Information Retrieval 3(4), 2009.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 5_000  # characters of a query that count: an agent may send millions


def words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters of any script, and numbers with their fractions."""
    return re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", text.casefold())


def bm25(query: str, documents: Sequence[str], *, k1: float = 1.2, b: float = 0.75) -> list[float]:
    """The score of each document for the query, 0 where they share no word; a word counts once in the query.

    Σ over words w of ln(1 + (N − n + ½) / (n + ½)) · f (k1 + 1) / (f + k1 (1 − b + b l / L)): N documents, n of them
    with w, f times in this one, which is l words long, L on average. The 1 in the logarithm keeps it above 0 for words
    that most documents have. `k1` bounds what repetition adds; `b`, 0 to 1, is how much long documents are held back.
    """
    split = [words(text) for text in documents]
    counts = [Counter(each) for each in split]
    mean = sum(map(len, split)) / len(split) if split else 0.0
    scores = [0.0] * len(split)
    for word in dict.fromkeys(words(query[:LONGEST])):
        having = [place for place, count in enumerate(counts) if word in count]
        weight = math.log1p((len(split) - len(having) + 0.5) / (len(having) + 0.5))
        for place in having:
            often = counts[place][word]
            held = k1 * (1 - b + b * len(split[place]) / mean)
            scores[place] += weight * often * (k1 + 1) / (often + held)
    return scores
