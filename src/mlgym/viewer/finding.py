"""Where runs and episodes lie under a folder. A folder is listed again only when it changed; no link is followed."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from mlgym.beside import ASIDE
from mlgym.status import CELLS

DEPTH = 4  # folders between the one that was given and a run
MOST = 50_000  # folders that are looked at under one that was given
UNSURE_S = 2.0  # a folder that changed so shortly before it was listed may have changed since without another time


class Folders:
    """The folders within folders."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, list[str]]] = {}
        self._episodes: set[str] = set()
        self.fresh: set[str] = set()  # those that were listed again since this was emptied
        self.full = False  # whether there are too many to look at

    def inner(self, path: str) -> list[str]:
        """The names of the folders in `path`, in order; none where it cannot be read."""
        try:
            changed = os.stat(path).st_mtime_ns  # noqa: PTH116 - many, and often
            known = self._known.get(path)
            if known and known[0] == changed:
                return known[1]
            sure = time.time_ns() - changed > UNSURE_S * 1e9
            with os.scandir(path) as found:
                names = sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
        except OSError:
            self._known.pop(path, None)
            return []
        if len(self._known) >= MOST:
            self.full = True
            return []
        self.fresh.add(path)
        self._known[path] = changed if sure else 0, names
        return names

    def runs(self, path: str, depth: int = DEPTH) -> Iterator[tuple[str, list[str], bool]]:
        """The runs at or below `path`, each with its episodes as TASK/METHOD/SEED, and whether those are all: where
        `path` is that of an episode they are not.
        """
        if regular(f"{path}/spec.json"):
            run, *names = path.rsplit("/", 3)
            yield run, ["/".join(names)], False
            return
        found = list(self._within(path))
        if found or regular(f"{path}/{CELLS}"):
            yield path, found, True
        elif depth:
            for name in self.inner(path):
                if not name.startswith(".") and name != ASIDE:
                    yield from self.runs(f"{path}/{name}", depth - 1)

    def _within(self, run: str) -> Iterator[str]:
        for task in self.inner(run):
            for method in self.inner(f"{run}/{task}") if task != ASIDE else ():
                for seed in self.inner(f"{run}/{task}/{method}"):
                    if self._begun(f"{run}/{task}/{method}/{seed}"):
                        yield f"{task}/{method}/{seed}"

    def _begun(self, folder: str) -> bool:
        if folder not in self._episodes and regular(f"{folder}/spec.json"):
            self._episodes.add(folder)
        return folder in self._episodes


def regular(path: str) -> bool:
    """Whether there is a file, and no link to one."""
    with suppress(OSError, ValueError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


def as_text(name: str) -> str:
    """A file's name, which may be any bytes, as text."""
    return os.fsencode(name).decode(errors="replace")


def title(run: str) -> str:
    """What a run is called: its folder's name, with the one above where that alone says little."""
    above, name = os.path.split(run)
    if kind(run) == "training" and name == "episodes":
        return os.path.basename(above)  # noqa: PTH119
    return f"{os.path.basename(above)}-{name}" if kind(run) == "generated" else name  # noqa: PTH119


def kind(run: str) -> str:
    """Where a run comes from by what lies around it: training, generated or run."""
    above = os.path.dirname(run)  # noqa: PTH120
    if regular(f"{above}/metrics.jsonl"):
        return "training"
    return "generated" if regular(f"{above}/plan.json") and os.path.basename(run).startswith("shard-") else "run"  # noqa: PTH119
