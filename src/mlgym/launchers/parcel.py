"""An episode's folder sent from one machine to another, as an archive that is read like a stranger's."""

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mlgym.beside import CANCELLED
from mlgym.cache import cache_dir
from mlgym.disk import copy_whole, guarded
from mlgym.errors import InUse
from mlgym.records import EpisodeSpec
from mlgym.sandbox.scratch import scratch
from mlgym.sandbox.tar import SubmissionRefused, read_tar, write_tar
from mlgym.store import Episode

MAX_BYTES, MAX_FILES = 4_000_000_000, 100_000
LOCK, RESULT = "lock", "result.json"
STAY = (LOCK, CANCELLED)  # not sent: each machine has its own
ORDER = ("attempts/files", "attempts", "", "steps.jsonl", RESULT)  # as an episode writes them


def packed(folder: Path) -> bytes:
    """An episode's folder as it is now, also while it runs: of each step in it the calls and attempts are there too."""
    with scratch(cache_dir() / "scratch") as place:
        for name in sorted(_names(folder), key=_turn, reverse=True):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(folder / name, place / name)
            except FileNotFoundError:
                continue  # let go for space just now
        return write_tar(place)


def laid(data: bytes, folder: Path, spec: EpisodeSpec) -> None:
    """Make the folder of `spec` what was packed elsewhere, each file whole and the result last.

    A kill in between leaves what a kill of the episode would. Raises SubmissionRefused for anything but such a folder,
    InUse where the episode is run by another process here, StorageError for a full disk.
    """
    with scratch(cache_dir() / "scratch") as place:
        digests = read_tar(data, place, MAX_BYTES, MAX_FILES, max_depth=8)
        _check(place, digests, spec)
        with guarded(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / LOCK).open("w")
        with lock:
            if not free(lock):
                raise InUse(f"Another process is running the episode in {folder}; wait for it or stop it.")
            new = sorted(digests, key=_turn)
            with guarded(folder):
                (folder / RESULT).unlink(missing_ok=True)
            for name in new:
                if name == RESULT:
                    _trim(folder, new)
                with guarded(folder):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                copy_whole(place / name, folder / name)
            _trim(folder, new)


def free(lock: IO[str]) -> bool:
    """Whether an episode's lock was to be had; it is held then until the file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _check(place: Path, digests: dict[str, str], spec: EpisodeSpec) -> None:
    """Whether it can be that episode's folder."""
    if any(name in digests for name in STAY) or "spec.json" not in digests or Episode(place).spec != spec:
        raise SubmissionRefused("it is not the folder of the episode that was asked for")
    for name, digest in digests.items():
        parent, _, stem = name.rpartition("/")
        if parent == "attempts/files" and stem != digest:
            raise SubmissionRefused(f"the file {name} is not what its name says")


def _turn(name: str) -> int:
    """When a file has its turn to be written."""
    parent = name.rpartition("/")[0]
    return ORDER.index(name if name in ORDER else parent if parent in ORDER else "")


def _names(folder: Path) -> Iterator[str]:
    """The files of an episode's folder that are sent; what is half-written is not."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name not in STAY and ".part" not in path.name and path.is_file() and not path.is_symlink():
            yield name


def _trim(folder: Path, kept: list[str]) -> None:
    """Remove the files that are not among those kept."""
    with guarded(folder):
        for name in set(_names(folder)) - set(kept):
            (folder / name).unlink(missing_ok=True)
