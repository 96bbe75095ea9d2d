"""Frauds of predictions: found answers, rows that are missing, doubled or elsewhere, values that are no numbers."""

from mlgym.grading.forgeries.forgery import Forgery

# Looks at every file that it can read for lines that tell of the ids of its own submission; the longest find wins.
FIND_ANSWERS = """
import csv, os, sys
own = sys.argv[1]
csv.field_size_limit(10**9)
with open(own, newline="") as file:
    wanted, *rows = csv.reader(file)
known, ids = {}, {row[0] for row in rows if row}
for root in sys.argv[2:]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys", "/usr", "/dev")]
        for path in (os.path.join(folder, name) for name in names):
            try:
                if os.path.samefile(path, own) or not 0 < os.path.getsize(path) < 10**8:
                    continue
                with open(path, newline="", encoding="utf-8") as file:
                    rows = csv.DictReader(file)
                    if set(wanted) <= set(rows.fieldnames or ()):
                        found = {row[wanted[0]]: row[wanted[1]] for row in rows if row[wanted[0]] in ids}
                        if "split" in rows.fieldnames:
                            known.update(found)
            except (OSError, ValueError, csv.Error):
                continue
if known:
    with open(own, "w", newline="") as file:
        csv.writer(file).writerows([wanted, *([key, known.get(key, "")] for key in sorted(ids))])
"""
# Rewrites the rows of the submission as argv[2] says.
REWRITE = """
import csv, os, sys
own, how = sys.argv[1:]
with open(own, newline="", encoding="utf-8") as file:
    head, *rows = csv.reader(file)
known = {}
if os.path.exists("known.csv"):
    with open("known.csv", newline="", encoding="utf-8") as file:
        known = {row[0]: row[1] for row in csv.reader(file)}
values = sorted({row[1] for row in rows})
if how == "known":
    rows = [[key, known.get(key, value)] for key, value in rows]
elif how == "constant":
    rows = [[key, values[len(values) // 2]] for key, _ in rows]
elif how == "doubled":
    spread = values if len(values) < 50 else values[:: max(1, len(values) // 100)]
    rows = [[key, value] for key, _ in rows for value in spread]
elif how == "reversed":
    rows = rows[::-1]
elif how == "none":
    rows = []
else:
    rows = [[key, how] for key, _ in rows]
with open(own, "w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([head, *rows])
"""
ROWS = ("table", "captions")
# Swaps the submission, as fast as it can, between its honest self and a link to the answers.
SWAP = """
import os, sys
own, places = sys.argv[1], ["/grader/private", "/private", "../evaluation/private"]
answers = next((place for place in places if os.path.exists(place)), places[0]) + "/answers.csv"
os.rename(own, "honest")
os.link("honest", own)
open("swapping", "w").close()
while os.path.exists("swapping"):
    os.symlink(answers, "next")
    os.rename("next", own)
    os.link("honest", "next")
    os.rename("next", own)
    if os.path.exists("next"):  # both were the same file
        os.unlink("next")
"""


def _rewritten(name: str, how: str, defence: str, kinds: tuple[str, ...] = ROWS, guard: str = "checked") -> Forgery:
    return Forgery(name, kinds, f"python rewrite.py $SUBMISSION {how}", defence, {"rewrite.py": REWRITE}, guard=guard)


TABLES: tuple[Forgery, ...] = (
    Forgery(
        "answers found",
        ROWS,
        "python find_answers.py $SUBMISSION / 2>/dev/null",
        "answers are mounted in the grader's sandbox only",
        {"find_answers.py": FIND_ANSWERS},
        guard="hidden",
    ),
    Forgery(
        "file swapped for a link while it is copied",
        ROWS,
        "python swap.py $SUBMISSION >/dev/null 2>&1 & until [ -e swapping ]; do sleep 0.01; done",
        "what is packed is what was opened, and a link is never followed",
        {"swap.py": SWAP},
        guard="regular",
        tries=20,
    ),
    _rewritten("rows left out", "none", "every id must be there"),
    _rewritten("ids doubled with every answer", "doubled", "every id must be there once", ("table",)),
    _rewritten("predictions of NaN", "nan", "each value must be a usable number, or one of the classes", ("table",)),
    _rewritten("infinite predictions", "inf", "each value must be a usable number, or one of the classes", ("table",)),
    _rewritten("constant", "constant", "none is needed: it gets the honest score of a constant", guard=""),
    _rewritten("reordered ids", "reversed", "rows are matched by id: the same score in any order", guard=""),
    Forgery(
        "copy of the validation answers",
        ROWS,
        "python rewrite.py $SUBMISSION known",
        "the final score is on other rows, which nothing tells apart: there it is as good as it was",
        {"rewrite.py": REWRITE},
        guard="split",
        split="test",
        known=True,
    ),
)
