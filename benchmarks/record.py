"""A table printed and, where asked, recorded in benchmarks/NAME.md with commit, date and machine."""

import datetime
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def record(
    name: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    write: bool,
    backend: str,
    notes: str = "",
    program: str = "",
) -> None:
    """Print the table of `rows` under `head`; `write` keeps it in the file of that name, with `notes` above it.

    `program` is what made it, benchmarks/NAME.py by default.
    """
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    print("\n".join(lines))
    if not write:
        return
    notes = f"{notes}\n\n" if notes else ""
    about = f"Commit {commit()}, {datetime.date.today()}, {backend}, {machine()}."
    program = program or f"benchmarks/{name}.py"
    text = f"# Measured: {name}\n\n`python {program} --write` writes this file.\n\n{about}\n\n{notes}"
    (ROOT / "benchmarks" / f"{name}.md").write_text(text + "\n".join(lines) + "\n")


def commit() -> str:
    """The commit that is measured."""
    run = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def machine() -> str:
    """Who measured, on what, and how busy it was."""
    user = "root" if os.getuid() == 0 else "an ordinary user"
    what = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{user}, {what}, load {os.getloadavg()[0]:.0f} when it ended"
