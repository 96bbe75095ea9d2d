"""One stored episode on the terminal: its steps and end, what a step or its best attempt changed, its files."""

import difflib
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

from mlgym.errors import UsageError
from mlgym.records import Attempt, Changes
from mlgym.report.console import chosen_attempt, live, results, safe
from mlgym.store import Episode, states
from mlgym.task import load_task

LONGEST = 200_000  # bytes of a file whose difference is shown
NOTHING = "/dev/null"


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
    if not text:
        print("The best attempt is the starter's own code.")
        return
    if Console().is_terminal:
        print("\nThe best attempt against the starter:")
    _print(text)


def step(folder: Path, n: int, *, diff: bool) -> None:
    """One step, unless only the difference is asked for, and what it changed of the workspace's sources.

    Raises UsageError where there is no such step, and no difference that was recorded.
    """
    store = Episode.read(folder)
    steps, changes = store.steps(), store.changes()
    if not 1 <= n <= len(steps):
        raise UsageError(f"The episode in {folder} has {len(steps)} steps, so there is no step {n}.")
    if not diff:
        Console(highlight=False).print(live(store.spec, steps[n - 1], None, False), end="")
    if not changes:
        if diff:
            raise UsageError(f"The episode in {folder} was recorded without what each step changed; see 'mlgym view'.")
        return
    text = "\n".join(_made(store, changes, n))
    if text or diff:
        _print(text or f"Step {n} changed no sources.")


def _made(store: Episode, changes: list[Changes], n: int) -> Iterator[str]:
    """The difference that a step made, file by file."""
    for record, before, _ in states(changes, lambda _, digest: digest):
        for name, digest in sorted(record.files.items()) if record.n == n else ():
            old, new = (_lines(store, each) for each in (before.get(name, ""), digest))
            if old is None or new is None:
                yield f"{safe(name)} has changed; what was in it was not kept."
                continue
            names = (
                f"before/{safe(name)}" if before.get(name) else NOTHING,
                f"step {n}/{safe(name)}" if digest else NOTHING,
            )
            yield from difflib.unified_diff(old, new, *names, lineterm="")


def _lines(store: Episode, digest: str) -> list[str] | None:
    """The lines of a stored file, none where there was no file; None where it was not kept."""
    if not digest:
        return []
    try:
        return safe(store.file(digest).read_text(errors="replace")).splitlines()
    except FileNotFoundError:
        return None


def _print(text: str) -> None:
    """A difference, in colours on a terminal."""
    out = Console()
    if out.is_terminal:
        out.print(Syntax(text, "diff", theme="ansi_dark", background_color="default"))
    else:
        print(text)


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
