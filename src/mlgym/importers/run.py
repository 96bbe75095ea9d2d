"""`import_runs`: the recorded runs below a folder, read into a run's folder.

Episodes are laid out in a folder beside and moved into their place whole, a batch at a time and after a sync, so that
neither a kill nor a power cut leaves a part of one; what is there already is left alone.
"""

import fcntl
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from mlgym.disk import guarded, settle, settle_all
from mlgym.errors import MlgymError, UsageError
from mlgym.importers.episode import Converted, convert, spec_of
from mlgym.importers.lock import lock as write_lock
from mlgym.importers.reading import Unreadable, folders
from mlgym.importers.recorded import named, read
from mlgym.importers.tasks import TASKS
from mlgym.store import Episode, episode_folder

BATCH = 64
STAGED = ".importing"  # a folder of the run, too shallow to be found as episodes
Status = Literal["imported", "there", "left out", "unreadable", "refused"]


@dataclass(frozen=True)
class Imported:
    """What became of a recorded run: `why` says more, `folder` is where the episode lies."""

    source: Path
    status: Status
    why: str = ""
    folder: Path | None = None
    steps: int = 0
    scores: int = 0


def import_runs(folder: Path, run: Path, *, leave_out_forged: bool = False) -> Generator[Imported, None, None]:
    """Read every recorded run of the original below `folder` into `run`; what is there already is not read again.

    Runs that cannot be read are told and do not stop the rest; with `leave_out_forged` neither do those whose scores
    the checks hold for forged, which are left out. Raises UsageError where there is no recorded run, and StorageError.
    """
    sources = [path for path in folders(folder.absolute()) if named(path.name)]
    if not sources:
        raise UsageError(
            f"There is no recorded run in {folder}: their folders are named …-MODEL__TASK__…_run_N and hold "
            "TASK.traj and results.json."
        )
    with guarded(run):
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / f"{STAGED}.lock").open("w")
    try:
        _locked(lock, run)
        write_lock(run)
        stage = _Stage(run)
        for source in sources:
            yield from stage.take(source, leave_out_forged)
        yield from stage.settle()
        shutil.rmtree(run / STAGED)
    finally:
        lock.close()


def _locked(lock: IO[str], run: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(f"Another process is importing into {run}; wait for it or stop it.") from error


class _Stage:
    """Episodes written and not yet in their place."""

    def __init__(self, run: Path) -> None:
        self.run, self.place = run, run / STAGED
        self.waiting: dict[Path, tuple[Path, Imported]] = {}
        with guarded(run):
            if self.place.exists():
                shutil.rmtree(self.place)  # a killed import's
            self.place.mkdir()

    def take(self, source: Path, leave_out_forged: bool) -> Iterator[Imported]:
        """Read one recorded run; tells what became of it now or, of what waits, with the batch."""
        try:
            done = self._read(source, leave_out_forged)
        except Unreadable as error:
            done = Imported(source, "unreadable", str(error))
        except (MlgymError, OSError, ValueError, RecursionError) as error:
            done = Imported(source, "unreadable", f"cannot be used ({(str(error) or type(error).__name__)[:200]})")
        if isinstance(done, Imported):
            yield done
        elif done is not None:
            self._write(source, *done)
            if len(self.waiting) >= BATCH:
                yield from self.settle()

    def _read(self, source: Path, leave_out_forged: bool) -> Imported | tuple[Converted, Path]:
        name = named(source.name)
        assert name is not None
        theirs = TASKS.get(name.task)
        if theirs is None:
            return Imported(source, "refused", f"is of the task {name.task}, which has no match here")
        target = episode_folder(self.run, spec_of(source.name, name, theirs))
        if target in self.waiting or target.exists():
            if _holds(target, source.name):
                return Imported(source, "there", folder=target)
            return Imported(source, "refused", f"belongs in {target}, where another episode is")
        made = convert(read(source, name), theirs)
        forged = [each.text for each in made.suspicions if each.forged]
        if forged and leave_out_forged:
            return Imported(source, "left out", "; ".join(forged))
        return made, target

    def _write(self, source: Path, made: Converted, target: Path) -> None:
        part = self.place / str(len(self.waiting))
        with guarded(self.run):
            (part / "attempts" / "files").mkdir(parents=True)
            for path, data in made.files.items():
                (part / path).write_bytes(data)
        why = "; ".join(each.text for each in made.suspicions)
        scores = sum(attempt.valid for attempt in made.attempts)
        self.waiting[target] = part, Imported(source, "imported", why, target, made.result.steps, scores)

    def settle(self) -> Iterator[Imported]:
        """Have the batch on the disk, then move each episode into its place."""
        told: list[Imported] = []
        with guarded(self.run):
            settle_all(self.place)
            for target, (part, done) in self.waiting.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                part.rename(target)
                told.append(done)
            for parent in {target.parent for target in self.waiting}:
                settle(parent)
        self.waiting = {}
        yield from told


def _holds(folder: Path, imported: str) -> bool:
    """Whether the episode in a folder is that very recorded run, complete."""
    return (folder / "result.json").exists() and Episode.read(folder).spec.imported == imported
