"""Counts what follows the last signs in data/text.txt and writes the chances as submission.csv."""

import csv
from collections import Counter

ORDER = 1  # how many of the last signs are looked at
SMOOTHING = 20.0  # counts added for what was never seen, spread by the shorter contexts

with open("data/text.txt") as file:
    text = file.read().split()
with open("data/sample_submission.csv", newline="") as file:
    header, *asked = csv.reader(file)
signs = sorted(set(text))
order = min(ORDER, len(asked[0][0].partition(">")[0].split()))
counts, totals = Counter(), Counter()
for length in range(order + 1):
    for at in range(length, len(text)):
        before = tuple(text[at - length : at])
        counts[before, text[at]] += 1
        totals[before] += 1


def chance(before, sign):
    """The share of the sign after these, moved towards that after one sign less."""
    less = chance(before[1:], sign) if before else 1 / len(signs)
    return (counts[before, sign] + SMOOTHING * less) / (totals[before] + SMOOTHING)


rows = []
for id, _ in asked:
    before, _, sign = id.partition(">")
    context = tuple(before.split())
    rows.append([id, f"{max(chance(context[len(context) - order :], sign), 1e-6):.8f}"])
with open("submission.csv", "w", newline="") as file:
    csv.writer(file).writerows([header, *rows])
