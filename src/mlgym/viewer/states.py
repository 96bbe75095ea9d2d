"""The states of an episode's workspace: which files stand in it after each step, and how that is known."""

import re
import stat
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlgym.store import Episode
from mlgym.viewer.folder import Folder

How = Literal["recorded", "attempt", "edit", "starter"]
LARGEST, LINES = 2_000_000, 5_000  # bytes of a file that is shown, and lines
GONE = ""  # the key of a file that is no more


@dataclass(frozen=True)
class Version:
    """A file as the step `since` left it, and how that is known; `key` differs where the content does."""

    since: int
    how: How
    key: str
    content: bytes | tuple[Path, ...] = field(default=(), compare=False, repr=False)

    def read(self) -> bytes | None:
        """The content, None where it is not known, was let go, or is too large to be shown."""
        if isinstance(self.content, bytes):
            return self.content
        size, path = self._stored
        return path.read_bytes() if path and size <= LARGEST else None

    @property
    def size(self) -> int | None:
        """The bytes of the content, None where that is not known."""
        if isinstance(self.content, bytes):
            return len(self.content)
        size, path = self._stored
        return size if path else None

    @property
    def _stored(self) -> tuple[int, Path | None]:
        """The first place that has the content, and how long it is."""
        for path in self.content if isinstance(self.content, tuple) else ():
            with suppress(OSError):
                about = path.lstat()
                if stat.S_ISREG(about.st_mode):
                    return about.st_size, path
        return 0, None


State = dict[str, Version]


class History:
    """The states of an episode's workspace. `exact`: recorded at each step, whatever changed the files."""

    def __init__(self, start: State, *, exact: bool) -> None:
        self.start, self.exact = start, exact
        self._numbers, self._states, self._notes = list[int](), list[tuple[State, State]](), dict[int, str]()

    def add(self, n: int, before: State, after: State, note: str) -> None:
        """What step `n` made of what it found, and what is not sure of it."""
        self._numbers.append(n)
        self._states.append((before, after))
        self._notes[n] = note

    def after(self, n: int) -> State:
        """What stood there after a step."""
        return {**self.start, **self._states[self._place(n)][1]}

    def before(self, n: int) -> State:
        """What a step found, once its checkpoints were gone back to."""
        place = self._place(n)
        return {**self.start, **self._states[place][0 if self._numbers[place] == n else 1]}

    def note(self, n: int) -> str:
        """What is not sure of the state after a step."""
        return self._notes[self._numbers[self._place(n)]]

    def steps(self, first: int, last: int) -> Iterable[int]:
        """Those steps of a range that may have changed something."""
        return (n for n in self._numbers if max(1, first) <= n <= last)

    def _place(self, n: int) -> int:
        return max(0, bisect_right(self._numbers, n) - 1)


def there(state: State, name: str) -> Version | None:
    """A file of a state, None where there is none."""
    version = state.get(name)
    return None if version is None or version.key == GONE else version


def text_of(version: Version | None) -> str | None:
    """The text of a file, empty where there is none; None where it is not known or no text."""
    data = b"" if version is None else version.read()
    return None if data is None or b"\0" in data else data.decode(errors="replace").removesuffix("\n")


def stored(of: Folder, digest: str) -> tuple[Path, ...]:
    """Where an episode has a file of that sha256; nowhere for another word, which could name what a link leads to."""
    return (Episode(of.folder).file(digest),) if re.fullmatch("[0-9a-f]{64}", digest) else ()


def starter(of: Folder) -> dict[str, Path]:
    """The files of the task that the agent found, where they are here."""
    task = of.task
    if task is None or task.version != of.spec.version:
        return {}
    found = {}
    for path in sorted(task.workspace.rglob("*")):
        name = path.relative_to(task.workspace).as_posix()
        if name not in task.without and "__pycache__" not in name and path.is_file():
            found[name] = path
    return found
