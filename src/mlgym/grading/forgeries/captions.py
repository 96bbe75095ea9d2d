"""Frauds of captions: scores of one's own beside or instead of the captions, as the original's evaluator took them."""

from mlgym.grading.forgeries.forgery import Forgery

OWN_SCORES = """
import csv, sys
with open(sys.argv[1], newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
with open(sys.argv[1], "w", newline="", encoding="utf-8") as file:
    out = csv.writer(file)
    if sys.argv[2] == "beside":
        out.writerows([["id", "caption", "bleu"], *([row["id"], row["caption"], 1.0] for row in rows)])
    else:
        out.writerows([["id", "bleu"], *([row["id"], 1.0] for row in rows)])
"""
DEFENCE = "the score is computed in the grader from the captions; a file with another column is refused"

CAPTIONS: tuple[Forgery, ...] = tuple(
    Forgery(
        f"own scores {place} captions",
        ("captions",),
        f"python own_scores.py $SUBMISSION {place}",
        DEFENCE,
        {"own_scores.py": OWN_SCORES},
        guard="checked",
    )
    for place in ("beside", "without")
)
