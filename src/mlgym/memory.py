"""Notes that agents keep from episode to episode of a task: lines of a file, found again by the words in them.

The file is only ever appended to, by several processes at once too. What stands in it was written by agents: it is text
to be shown, and nothing is done with it.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mlgym.disk import append_line, guarded
from mlgym.ranking import bm25, words
from mlgym.records import Record, Text

RUN = "run"  # as a place of notes: the run's own folder


class Note(Record):
    """A note, and where it comes from: `episode` is that one's own id, `score` the best it had been shown by then."""

    text: Text
    tags: tuple[Text, ...] = ()
    score: float | None = None
    task: Text
    run: Text
    method: Text
    seed: int
    episode: str
    step: int


class Cut(Record):
    """That of an episode's notes before it only those of its first `after` steps count."""

    episode: str
    after: int


LINE: TypeAdapter[Note | Cut] = TypeAdapter(Note | Cut)


@dataclass(frozen=True)
class Memory:
    """The notes of a task in the file `path`, for one episode: `origin` has what its notes say of where they come from
    (task, run, method, seed, episode).
    """

    path: Path
    origin: dict[str, Any]

    def remember(self, text: str, tags: Sequence[str], *, step: int, score: float | None) -> Note:
        """Keep a note; raises StorageError where it cannot be written."""
        note = Note(text=text, tags=tuple(tags), step=step, score=score, **self.origin)
        self._append(note)
        return note

    def begin(self, steps: int) -> None:
        """Make the folder, and take back what this episode noted after so many steps: the others were never recorded
        and are taken anew. Raises StorageError.
        """
        with guarded(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if any(note.step > steps for note in self.own()):
            self._append(Cut(episode=self.origin["episode"], after=steps))

    def notes(self) -> list[Note]:
        """All notes of the task, oldest first; lines that are torn are passed over. Raises StorageError."""
        found: list[Note] = []
        with guarded(self.path.parent):
            lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        for line in lines:
            try:
                row = LINE.validate_json(line)
            except ValidationError:
                continue
            if isinstance(row, Note):
                found.append(row)
            else:
                found = [note for note in found if note.episode != row.episode or note.step <= row.after]
        return found

    def own(self) -> list[Note]:
        """The notes of this episode."""
        return [note for note in self.notes() if note.episode == self.origin["episode"]]

    def recall(self, query: str, most: int) -> list[Note]:
        """At most so many notes that share words with the query, the best match first; the latest for no words."""
        notes = self.notes()[::-1]
        if not words(query):
            return notes[:most]
        ranks = bm25(query, [" ".join([note.text, *note.tags]) for note in notes])
        order = sorted(range(len(notes)), key=lambda place: -ranks[place])  # stable: of equals the latest
        return [notes[place] for place in order[:most] if ranks[place] > 0]

    def _append(self, row: Note | Cut) -> None:
        with guarded(self.path.parent):
            held = (self.path.parent / ".lock").open("w")
        with held:
            fcntl.flock(held, fcntl.LOCK_EX)
            line = json.dumps(row.model_dump(mode="json")).encode()
            append_line(self.path, b"\n" * self._torn() + line)

    def _torn(self) -> bool:
        """Whether the last line has no end."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:  # not there, or empty
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"
        return False
