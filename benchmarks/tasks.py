"""Check a suite and write what was measured into docs/tasks.md, between its two marks.

.venv/bin/python benchmarks/tasks.py [SUITE or TASK ...]        default: mini
"""

import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from mlgym.check import Examination
from mlgym.examine import check
from mlgym.report.console import number
from mlgym.sandbox import choose
from mlgym.task import load_task, load_tasks

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tasks.md"
MARKS = re.compile("(<!-- measured -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = """| task | metric | baseline, test | spread | better solution | published baseline, full | published best, full | baseline run | memory | grading | ok |
|---|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501


def row(examination: Examination) -> str:
    """A task's line of the table."""
    task, base, anchors = examination.task, examination.baseline, examination.task.anchors
    score = base.scores["test"][task.metric] if base and "test" in base.scores else None
    whole = load_task(task.folder.name).anchors
    published = whole.published if whole else {}
    cells = [
        f"[{task.name}](tasks/{task.folder.name}.md)" + (f" ({examination.data})" if examination.data else ""),
        task.metric + (" ↑" if task.direction == "maximize" else " ↓"),
        number(score),
        number(anchors.noise.get("test") if anchors else None),
        number(anchors.best if anchors else None),
        number(published.get("baseline")),
        number(published.get("best")),
        *([f"{base.seconds:.1f} s", f"{base.mb:.0f} MB", f"{base.grading_s:.1f} s"] if base else ["–"] * 3),
        "yes" if examination.ok else "no",
    ]
    return f"| {' | '.join(cells)} |\n"


def main(names: list[str]) -> int:
    """Check, print, write; 1 where something is amiss."""
    done = check(load_tasks(names or ["mini"]), "auto")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    cores = len(os.sched_getaffinity(0))
    seconds = sum(spent for _, spent in done)
    about = (
        f"Commit {commit.stdout.strip()}, {datetime.date.today()}, {choose('auto').name}, {cores} cores, no GPU, "
        f"Python {platform.python_version()}; {len(done)} tasks checked in {seconds / 60:.1f} minutes.\n\n"
    )
    text = MARKS.sub(
        lambda found: found[1] + about + HEAD + "".join(row(one) for one, _ in done) + found[2], PAGE.read_text()
    )
    PAGE.write_text(text)
    return 0 if all(one.ok for one, _ in done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
