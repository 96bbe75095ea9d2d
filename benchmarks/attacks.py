"""Every attack on every task of a suite and each backend, and each once without its defence: benchmarks/attacks.md.

    .venv/bin/python benchmarks/attacks.py [--backends bubblewrap,user,landlock,docker] [--suite tiny]

Where no Docker daemon answers, root's own is started for the time (tests/engines.py). It may be killed: run again, it
goes on where it was, as long as the code of the grading is the same. What is done is kept beside it in
attacks.jsonl, for another machine to go on. A backend that does not start here is left out and said.
"""

import argparse
import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from mlgym.assault import Attack, attacks
from mlgym.cache import cache_dir
from mlgym.errors import MlgymError
from mlgym.grading.forgeries import FORGERIES, fitting
from mlgym.grading.prepare import prepare
from mlgym.grading.starter import run_starter
from mlgym.sandbox import choose, scratch
from mlgym.sandbox.probe import probe
from mlgym.task import Task, load_tasks

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from engines import running, why_not

PAGE = Path(__file__).with_suffix(".md")
# One task of each kind, on which the attacks are seen to succeed without their defences.
PROOFS = (
    "house-price",
    "image-captioning-tiny",
    "mnli-tiny",
    "language-modeling-tiny",
    "mountain-car-tiny",
    "battle-of-sexes",
    "3sat-tiny",
)
SOURCE = Path(__file__).parent.parent / "src" / "mlgym"


def digests() -> dict[tuple[str, bool], str]:
    """Of what each attack depends on: itself, grading and tasks; without its defence what grades then."""
    here = SOURCE / "grading"
    paths = [
        *(path for path in here.glob("*.py") if path.name != "prepare.py"),
        *here.glob("kinds/*.py"),
        *(SOURCE / "tasks").rglob("*.*"),
    ]
    ours = b"".join(path.read_bytes() for path in sorted(paths) if path.is_file() and path.suffix != ".pyc")
    trial, *naive = ((here / "forgeries" / f"{name}.py").read_bytes() for name in ("trial", "without", "naive"))
    texts = {False: trial + ours, True: trial + ours + b"".join(naive)}
    keys = ((forgery, without) for forgery in FORGERIES for without in texts)
    return {(f.name, how): hashlib.sha256(repr(f).encode() + texts[how]).hexdigest()[:16] for f, how in keys}


class Record:
    """The attacks that were tried, one a line, of this code."""

    def __init__(self, path: Path) -> None:
        self.path, self.codes = path, digests()
        self.done: list[Attack] = []
        self.commits: set[str] = set()
        for line in path.read_text().splitlines() if path.exists() else []:
            about = json.loads(line)
            code, commit, one = about.pop("code"), about.pop("commit"), Attack(**about)
            if code == self.codes.get((one.attack, bool(one.without))):
                self.commits.add(commit)
                self.done.append(one)

    def add(self, one: Attack) -> None:
        """Keep one, and say it."""
        self.done.append(one)
        commit = git("rev-parse", "--short", "HEAD")
        self.commits.add(commit)
        with self.path.open("a") as file:
            code = self.codes[one.attack, bool(one.without)]
            file.write(json.dumps({**dataclasses.asdict(one), "code": code, "commit": commit}) + "\n")
        what = f"without {one.without}: " if one.without else ""
        print(f"{one.backend} {one.task}: {what}{one.attack}: {one.outcome}", flush=True)

    def names(self, task: Task, backend: str, without: bool) -> set[str]:
        """The attacks that were tried there."""
        mine = (one for one in self.done if (one.task, one.backend, bool(one.without)) == (task.name, backend, without))
        return {one.attack for one in mine}


def git(*words: str) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=SOURCE, capture_output=True, text=True, check=True).stdout.strip()


def fill(record: Record, tasks: Iterable[Task], backend: str) -> list[str]:
    """Try all that was not tried yet on a backend; what could not be tried, in words."""
    failed: list[str] = []
    for task in tasks:
        modes = ["", "all"] if backend == "bubblewrap" and task.name in PROOFS else [""]
        left = {
            mode: {f.name for f in fitting(task.kind) if f.guard or not mode} - record.names(task, backend, bool(mode))
            for mode in modes
        }
        if not any(left.values()):
            continue
        try:
            with scratch(cache_dir() / "scratch") as place:
                honest = run_starter(prepare(task, say=print), choose(backend), place / "baseline").files
                for mode in modes:
                    done = record.names(task, backend, bool(mode))
                    for one in attacks(task, backend, mode, honest=honest, done=done):
                        record.add(one)
        except MlgymError as error:
            failed.append(f"{backend}, {task.name}: {error}")
            print(failed[-1], flush=True)
    return failed


def short(outcome: str) -> str:
    """A cell's word: refused, or the honest score."""
    return "refused" if outcome.startswith("no valid score") else "honest"


def page(record: Record, tasks: list[Task], failed: list[str]) -> str:
    """The tables."""
    real = [one for one in record.done if not one.without]
    proofs = {
        (one.attack, task.kind): one for task in tasks for one in record.done if one.without and one.task == task.name
    }
    backends = list(dict.fromkeys(one.backend for one in real))
    count = len(real)
    paid = sum(one.succeeded for one in proofs.values())
    lines = [
        "# Attacks",
        "",
        "`.venv/bin/python benchmarks/attacks.py` writes this file: every attack of `mlgym check --attacks` on every"
        " task of the suite `tiny`, on each backend. *refused*: no valid score, with a reason; *honest*: the honest"
        " score of honest files. The last column is the defence without which the attack succeeds, with the kinds of"
        " grader on which it was seen to.",
        "",
        f"Commit {', '.join(sorted(record.commits))}, {datetime.date.today()}, {len(os.sched_getaffinity(0))} cores,"
        f" Python {platform.python_version()}, root (landlock: an ordinary user). {count} attacks,"
        f" {sum(one.succeeded for one in real)} succeeded; {paid} of {len(proofs)} succeeded without their defence.",
        "",
        *(f"Not tried: {line}" for line in failed),
    ]
    for backend in backends:
        cells = {(one.attack, one.task): one for one in real if one.backend == backend}
        mine = [task for task in tasks if any(key[1] == task.name for key in cells)]
        lines += ["", f"## {backend}", ""]
        lines += [f"| attack | {' | '.join(task.name for task in mine)} | succeeds without |"]
        lines += ["|---" * (len(mine) + 2) + "|"]
        for forgery in FORGERIES:
            row = []
            for task in mine:
                one = cells.get((forgery.name, task.name))
                fits = not forgery.kinds or task.kind in forgery.kinds
                row.append(("**SUCCEEDED**" if one.succeeded else short(one.outcome)) if one else "?" if fits else "")
            seen = [kind for (name, kind), one in proofs.items() if name == forgery.name and one.succeeded]
            unseen = [kind for (name, kind), one in proofs.items() if name == forgery.name and not one.succeeded]
            said = f"{forgery.guard}: {', '.join(seen)}" if forgery.guard else "an honest file"
            row.append(said + (f"; not seen: {', '.join(unseen)}" if unseen else ""))
            lines.append(f"| {forgery.name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Try, print, write; 1 where an attack succeeded, or one was not seen to without its defence."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backends", default="bubblewrap,user,landlock,docker")
    parser.add_argument("--suite", default="tiny")
    parser.add_argument("--page", action="store_true", help="only write what was tried so far")
    asked = parser.parse_args()
    record, tasks = Record(PAGE.with_suffix(".jsonl")), load_tasks([asked.suite])
    failed: list[str] = []
    with contextlib.ExitStack() as engines:
        for name in [] if asked.page else asked.backends.split(","):
            if name in ("docker", "podman") and not probe(name).works and not why_not(name):
                engines.enter_context(running(name))
                probe.cache_clear()
            tried = probe(name)
            failed += fill(record, tasks, name) if tried.works else [f"{name}: {tried.why}"]
    PAGE.write_text(page(record, tasks, failed))
    print(PAGE.read_text())
    return int(any(one.succeeded is not bool(one.without) for one in record.done))


if __name__ == "__main__":
    sys.exit(main())
