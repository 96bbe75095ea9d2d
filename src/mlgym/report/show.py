"""One stored episode on the terminal: its steps and end, its best attempt's difference from the starter, its files."""

import difflib
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

from mlgym.errors import UsageError
from mlgym.records import Attempt
from mlgym.report.console import chosen_attempt, live, results, safe
from mlgym.store import Episode
from mlgym.task import load_task

LONGEST = 200_000  # bytes of a file whose difference is shown


def episode(folder: Path, *, steps_too: bool) -> None:
    """How the episode in `folder` ended, after its steps where asked."""
    out = Console(highlight=False)
    store = Episode.read(folder)
    spec, result, steps = store.spec, store.result, store.steps()
    out.print(safe(str(folder)), style="bold", markup=False)
    for step in steps if steps_too else ():
        out.print(live(spec, step, None, False), end="")
    if result is None:
        out.print(f"{len(steps)} steps so far, not ended: the command that began it goes on with it.")
        return
    out.print(results([(spec, result)]))
    for note in filter(None, (result.source and f"It went on from {result.source}.", result.why, *result.notes)):
        out.print(safe(note), style="yellow", markup=False)


def difference(folder: Path) -> None:
    """The sources of the best attempt against the starter; raises UsageError where there is none."""
    store, attempt = _best(folder)
    text = _unified(load_task(store.spec.task, recorded=True).workspace, store, attempt)
    out = Console()
    if not text:
        out.print("The best attempt is the starter's own code.")
        return
    if not out.is_terminal:
        print(text)
        return
    out.print("\nThe best attempt against the starter:")
    out.print(Syntax(text, "diff", theme="ansi_dark", background_color="default"))


def files(folder: Path, into: Path) -> None:
    """Lay the best attempt's files into the new folder `into`; raises UsageError where it exists."""
    store, attempt = _best(folder)
    if into.exists():
        raise UsageError(f"{into} is there already; --files makes a new folder.")
    into.mkdir(parents=True)
    store.checkout({**attempt.code, **attempt.files}, into)
    print(f"The files of attempt {attempt.n} lie in {into}.")


def _best(folder: Path) -> tuple[Episode, Attempt]:
    store = Episode.read(folder)
    result = store.result
    if result is None:
        raise UsageError(f"The episode in {folder} has not ended; the command that began it goes on with it.")
    if result.imported:
        raise UsageError(f"The episode in {folder} was imported: the original kept no files of its attempts.")
    attempt = chosen_attempt(result)
    if attempt is None:
        raise UsageError(f"The episode in {folder} has no valid attempt.")
    return store, attempt


def _unified(starter: Path, store: Episode, attempt: Attempt) -> str:
    out: list[str] = []
    for name, digest in sorted({**attempt.code, **attempt.files}.items()):
        old, new = starter / name, store.file(digest)
        if not new.exists() or new.stat().st_size > LONGEST or (not old.exists() and name not in attempt.code):
            continue
        before = old.read_text(errors="replace").splitlines() if old.exists() else []
        after = safe(new.read_text(errors="replace")).splitlines()
        shown = safe(name).replace("\n", " ")
        out += difflib.unified_diff(before, after, f"starter/{shown}", f"attempt {attempt.n}/{shown}", lineterm="")
    return "\n".join(out)
