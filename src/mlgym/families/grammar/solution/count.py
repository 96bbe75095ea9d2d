"""A mixture of two tables, of the last sign and of a pair of signs, by expectation and maximization.

The pair is the one that gives a held-out part of the text the highest likelihood.
"""

import csv
import itertools

import numpy as np

ROUNDS = 150
PRIOR = 0.3  # added to each count

with open("data/text.txt") as file:
    text = file.read().split()
with open("data/sample_submission.csv", newline="") as file:
    header, *asked = csv.reader(file)
signs = sorted(set(text))
size, context = len(signs), len(asked[0][0].partition(">")[0].split())
tokens = np.array([signs.index(sign) for sign in text])


def counted(tokens):
    """How often each sign (last axis) follows each context."""
    found = np.zeros((size,) * (context + 1))
    np.add.at(found, tuple(tokens[n : len(tokens) - context + n] for n in range(context + 1)), 1)
    return found


def fitted(counts, pair):
    """The chances by the mixture that fits the counts; `pair` are places before the next sign."""
    where = np.indices((size,) * context)
    first, (near, far) = where[-1], (where[context - back] for back in pair)
    rng = np.random.default_rng(0)
    one, two, share = rng.dirichlet([9.0] * size, size), rng.dirichlet([9.0] * size, (size, size)), 0.5
    for _ in range(ROUNDS):
        a, b = share * one[first], (1 - share) * two[near, far]
        own = counts * a / (a + b)
        share = own.sum() / counts.sum()
        one, two = np.full_like(one, PRIOR), np.full_like(two, PRIOR)
        np.add.at(one, first, own)
        np.add.at(two, (near, far), counts - own)
        one, two = one / one.sum(axis=-1, keepdims=True), two / two.sum(axis=-1, keepdims=True)
    return share * one[first] + (1 - share) * two[near, far]


cut = len(tokens) * 4 // 5
some, rest = counted(tokens[:cut]), counted(tokens[cut:])
pairs = list(itertools.combinations(range(1, context + 1), 2))
pair = max(pairs, key=lambda each: (rest * np.log(fitted(some, each))).sum())
chances = fitted(counted(tokens), pair)
rows = []
for id, _ in asked:
    before, _, sign = id.partition(">")
    at = tuple(signs.index(each) for each in before.split())
    rows.append([id, f"{max(chances[at][signs.index(sign)], 1e-6):.8f}"])
with open("submission.csv", "w", newline="") as file:
    csv.writer(file).writerows([header, *rows])
