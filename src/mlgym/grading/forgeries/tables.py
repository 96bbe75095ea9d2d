"""Frauds of predictions: they look for the answers."""

from mlgym.grading.forgeries.forgery import Forgery

FIND_ANSWERS = """
import csv, os, sys
own = sys.argv[1]
with open(own, newline="") as file:
    wanted = next(csv.reader(file))
for root in sys.argv[2:]:
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names if name.endswith(".csv")):
            try:
                with open(path, newline="") as file:
                    rows = list(csv.DictReader(file))
            except (OSError, ValueError, csv.Error):
                continue
            if rows and {*wanted, "split"} <= set(rows[0]):
                with open(own, "w", newline="") as file:
                    out = csv.writer(file)
                    out.writerows([wanted, *([row[name] for name in wanted] for row in rows)])
"""

TABLES: tuple[Forgery, ...] = (
    Forgery(
        "answers found",
        ("table", "captions"),
        "python find_answers.py $SUBMISSION ${ROOT:-/} 2>/dev/null",
        "answers are mounted in the grader's sandbox only",
        {"find_answers.py": FIND_ANSWERS},
    ),
)
