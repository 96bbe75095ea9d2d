"""What each step changes of the workspace's sources, recorded while an episode runs, whatever changed them.

After each step the program inside is asked for what is new. The agent's clocks do not run meanwhile, and it learns
nothing of it; a look that fails fails nothing else. A state that is gone back to is known, and is not looked at.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from mlgym.env import ResearchEnv
from mlgym.errors import SandboxError
from mlgym.records import LARGE, Changes
from mlgym.sandbox.shell import Look
from mlgym.store import Episode

ENDS = "py pyi ipynb sh toml yaml yml json cfg ini md txt sql c cc cpp cu h hpp rs go java js ts r R jl"
# What counts as a source beside the baseline's files: names that end so, but in these folders and in hidden ones.
CHOICE: dict[str, Any] = {
    "ends": tuple(ENDS.split()),
    "without": ("data", "__pycache__", "node_modules", "site-packages"),
    "depth": 5,
    "largest": 200_000,  # bytes of one
    "files": 200,
    "bytes": 4_000_000,  # of all together
    "entries": 20_000,  # names that are read in one look
    "places": 300,  # folders
    "seconds": 0.5,
}
KNOWN = 400  # files whose contents are followed; more than one look has, for some of them may be passed over
KEPT, BLOCK = 50_000_000, 4096  # bytes of all contents of an episode, and what a small one takes of a disk


class Watch:
    """The sources as they stand: `known` maps path -> sha256, or LARGE."""

    def __init__(self, store: Episode, research: ResearchEnv) -> None:
        self.known: dict[str, str] = {}
        self._store, self._research = store, research
        self._saved: dict[str, dict[str, str]] = {}
        self._start: dict[str, bytes] = {}
        self._looks, self._kept, self._on, self._whole = 0, 0, False, True
        self._choice = {**CHOICE, "names": tuple(research.task.baseline.files)}

    def begin(self, steps: int) -> None:
        """Look at what the agent finds, after the reset; go on from what was recorded of so many steps."""
        recorded = {changes.n: changes for changes in self._store.changes()}
        look = self._look()
        if 0 not in recorded and (steps or not look):  # begun by an mlgym that did not look
            return
        self._on = True
        self._start = {_digest(data): data for data in look.files.values()} if look else {}
        if 0 not in recorded and look:
            found = {path: _digest(data) for path, data in look.files.items()}
            recorded[0] = Changes(n=0, files=found, whole=look.whole)
            self._store.add_changes(recorded[0], {})
        for _, changes in sorted(recorded.items()):
            self._follow(changes.marks)
            self._apply(changes)
        digests = {digest for changes in recorded.values() for digest in changes.files.values() if digest}
        self._kept = sum(max(path.stat().st_size, BLOCK) for path in map(self._store.file, digests) if path.exists())

    def record(self, n: int, marks: tuple[str, ...]) -> None:
        """Look at what step `n` has changed, and store it."""
        if not self._on:
            return
        self._follow(marks)
        look = self._look()
        files, contents, whole = self._changed(look) if look else ({}, {}, False)
        if files or marks or whole != self._whole:
            changes = Changes(n=n, files=files, whole=whole, marks=marks)
            self._store.add_changes(changes, contents)
            self._apply(changes)

    def _look(self) -> Look | None:
        """What is new in the sandbox since the last look, None where it cannot be looked at."""
        since, self._looks = self._looks, self._looks + 1
        try:
            return self._research.session.shell.look(since, self._looks, list(self.known), self._choice)
        except (SandboxError, OSError):
            return None

    def _changed(self, look: Look) -> tuple[dict[str, str], dict[str, bytes], bool]:
        """What differs from what is known, the contents to store (of a file of the starter also what it was), and
        whether that is all.
        """
        files, contents = dict.fromkeys(look.gone, ""), dict[str, bytes]()
        room = KNOWN - len(self.known) + len(files)
        files |= {path: LARGE for path in look.large if self.known.get(path) != LARGE}
        for path, data in look.files.items():
            digest = _digest(data)
            room -= path not in self.known
            if self.known.get(path) != digest and (room >= 0 or path in self.known):
                files[path], contents[digest] = digest, data
        for path in files:
            digest = self.known.get(path, "")
            if digest in self._start:
                contents[digest] = self._start[digest]
        if room < 0:
            self._looks += 1  # that all is told again
        contents = {digest: data for digest, data in contents.items() if self._fits(digest, data)}
        return files, contents, look.whole and room >= 0

    def _fits(self, digest: str, data: bytes) -> bool:
        """Whether there is room for a content that is not stored yet."""
        if self._store.file(digest).exists():
            return False
        self._kept += max(len(data), BLOCK)
        return self._kept <= KEPT

    def _apply(self, changes: Changes) -> None:
        self._whole = changes.whole
        self.known = {path: digest for path, digest in {**self.known, **changes.files}.items() if digest}

    def _follow(self, marks: Iterable[str]) -> None:
        """Go where marks go: a state that is gone back to is what it was when it was saved."""
        for mark in marks:
            if mark[:1] == "+":
                self._saved[mark[1:]] = self.known
            else:  # the next look tells all: what it told before stands there no more
                self.known, self._looks = self._saved.get(mark[1:], self.known), self._looks + 1


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
