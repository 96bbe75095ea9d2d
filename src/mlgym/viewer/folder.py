"""The records of one episode's folder, a few at a time; what cannot be read is said and does not stop the rest."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from mlgym.columns import Row
from mlgym.errors import MlgymError
from mlgym.records import Action, Attempt, EpisodeSpec, Observation, Record, Result, Step
from mlgym.rows import Records
from mlgym.task import Task, load_task
from mlgym.viewer.visible import visible

Offsets = Callable[[Path], Sequence[int]]
Anchors = Callable[[str, str, int], Row]
R = TypeVar("R", bound=Record)
UNREAD = "unread"  # the tool of a step that cannot be read


class Folder:
    """One episode as its folder has it now. `problems` has a sentence for each thing that could not be read."""

    def __init__(self, folder: Path, key: str, anchors: Anchors, offsets: Offsets | None = None) -> None:
        self.folder, self.key, self.problems = folder, key, list[str]()
        self.anchors, self._offsets = anchors, offsets or newlines

    @functools.cached_property
    def spec(self) -> EpisodeSpec:
        """What decides the episode; where it cannot be read, what the folders' names say."""
        found = self._record(EpisodeSpec, "spec.json")
        return found or EpisodeSpec(task=self.folder.parents[1].name, agent=self.folder.parent.name)

    @functools.cached_property
    def result(self) -> Result | None:
        """The end of the episode, None while there is none or none that can be read."""
        return self._record(Result, "result.json") if (self.folder / "result.json").exists() else None

    @functools.cached_property
    def task(self) -> Task | None:
        """The task where it is known here, in the version that the episode was made with or another."""
        try:
            return load_task(self.spec.task, recorded=True)
        except (MlgymError, OSError, ValueError) as error:
            self.problem(f"The task {self.spec.task} is not known here: {error}")
            return None

    @functools.cached_property
    def records(self) -> Records:
        """The same records as tables and reports read them."""
        result = self.result.model_dump(mode="json") if self.result else {}
        run = self.key.partition("/")[0]
        return Records(str(self.folder), run, self.anchors, spec=self.spec.model_dump(mode="json"), result=result)

    @functools.cached_property
    def attempts(self) -> list[Attempt]:
        """The attempts in order: those of the result, or those graded so far."""
        if self.result:
            return list(self.result.attempts)
        paths = sorted((self.folder / "attempts").glob("[0-9]*.json"))
        return [each for path in paths if (each := self._record(Attempt, f"attempts/{path.name}"))]

    def count(self, name: str) -> int:
        """How many lines a JSONL file of the folder has."""
        return len(self._offsets(self.folder / name)) - 1

    def lines(self, name: str, first: int, count: int) -> list[bytes]:
        """So many lines of a JSONL file from the line `first` on, counted from 0."""
        offsets = self._offsets(self.folder / name)
        first = max(0, first)
        last = min(first + count, len(offsets) - 1)
        if last <= first:
            return []
        with (self.folder / name).open("rb") as file:
            file.seek(offsets[first])
            return file.read(offsets[last] - offsets[first]).split(b"\n")[:-1]

    def steps(self, first: int, count: int) -> list[Step]:
        """So many steps from the number `first` on; one that cannot be read has the tool UNREAD."""
        return [
            self._line(line, "steps.jsonl", n)
            for n, line in enumerate(self.lines("steps.jsonl", first - 1, count), max(1, first))
        ]

    def problem(self, sentence: str) -> None:
        """Say once what could not be read."""
        if (said := visible(" ".join(sentence.split()))[:400]) not in self.problems:
            self.problems.append(said)

    def _line(self, line: bytes, name: str, n: int) -> Step:
        if step := parsed(Step, line):
            return step
        self.problem(f"Line {n} of {name} cannot be read.")
        return Step(n=n, action=Action(tool=UNREAD), observation=Observation(text="", status="error"))

    def _record(self, kind: type[R], name: str) -> R | None:
        try:
            found = parsed(kind, (self.folder / name).read_bytes())
        except OSError as error:
            self.problem(f"{name} cannot be read: {error.strerror}.")
            return None
        if found is None:
            self.problem(f"{name} cannot be read.")
        return found


def parsed(kind: type[R], data: bytes) -> R | None:
    """The record that these bytes are, None where they are none."""
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        pass
    try:  # as Python reads JSON: lone surrogates, which are replaced
        return kind.model_validate_json(json.dumps(_mended(json.loads(data))))
    except (ValueError, RecursionError):
        return None


def _mended(value: object) -> object:
    """`value` without lone surrogates."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def newlines(path: Path) -> Sequence[int]:
    """Where the whole lines of a file begin, and where the last of them ends."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return [0]
    return [0, *(np.flatnonzero(data == 10) + 1).tolist()]
