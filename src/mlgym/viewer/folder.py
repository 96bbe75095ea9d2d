"""The records of one episode, a few at a time; what cannot be read is said and does not stop the rest."""

import functools
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from pydantic import ValidationError

from mlgym.columns import Row
from mlgym.disk import content
from mlgym.errors import MlgymError
from mlgym.records import Action, Attempt, EpisodeSpec, Observation, Record, Result, Scores, Split, Step
from mlgym.rows import Records
from mlgym.task import Task, load_task
from mlgym.viewer.finding import regular
from mlgym.viewer.lines import Call, Fact
from mlgym.viewer.store import Store
from mlgym.viewer.visible import visible
from mlgym.viewer.writing import CALLS, STEPS

R = TypeVar("R", bound=Record)
LARGEST = 200_000  # bytes of a file of the starter that is looked at
UNREAD = "unread"  # the tool of a step that cannot be read


class Folder:
    """The episode of a key as its folder has it now; raises UsageError where there is none. `problems` has a sentence
    for each thing that could not be read.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.folder, self.key = store.folder(key), key
        self._store = store
        self.problems: list[str] = []

    @functools.cached_property
    def spec(self) -> EpisodeSpec:
        """What decides the episode; where it cannot be read, what the folders' names say."""
        found = self._record(EpisodeSpec, "spec.json")
        return found or EpisodeSpec(task=self.folder.parents[1].name, agent=self.folder.parent.name)

    @functools.cached_property
    def result(self) -> Result | None:
        """The end of the episode, None while there is none or none that can be read."""
        return self._record(Result, "result.json") if regular(f"{self.folder}/result.json") else None

    @functools.cached_property
    def task(self) -> Task | None:
        """The task where it is known here, in the version that the episode was made with or another."""
        try:
            task = load_task(self.spec.task, recorded=True)
        except (MlgymError, OSError, ValueError) as error:
            self.problem(f"The task {self.spec.task} is not known here: {error}")
            return None
        if task.version != self.spec.version and not self.spec.imported:
            self.problem(f"This was version {self.spec.version} of {task.name}; here is version {task.version}.")
        return task

    @functools.cached_property
    def records(self) -> Records:
        """The same records as tables and reports read them."""
        result = self.result.model_dump(mode="json") if self.result else {}
        run = self.key.partition("/")[0]
        anchors = self._store.run(self.key).anchors
        return Records(str(self.folder), run, anchors, spec=self.spec.model_dump(mode="json"), result=result)

    @property
    def state(self) -> str:
        """done, failed, running, waiting, cancelled, stopped or missing."""
        return self._store.state(self.key)

    def baseline(self, split: Split) -> Scores:
        """The scores of the starter: those that the result has, or before the end those that the task promises."""
        if self.result:
            return self.result.baseline.get(split) or {}
        task = self.task
        anchors = task.anchors if task and task.version == self.spec.version else None
        return {task.metric: anchors.baseline[split]} if task and anchors and split in anchors.baseline else {}

    @functools.cached_property
    def attempts(self) -> list[Attempt]:
        """The attempts in order: those of the result, or those graded so far."""
        if self.result:
            return list(self.result.attempts)
        paths = sorted((self.folder / "attempts").glob("[0-9]*.json"))
        return [each for path in paths if (each := self._record(Attempt, f"attempts/{path.name}"))]

    @functools.cached_property
    def facts(self) -> Sequence[Fact]:
        """The facts of all steps."""
        return self._store.lines(self.key, STEPS).now()

    @functools.cached_property
    def call_facts(self) -> Sequence[Call]:
        """The facts of all model calls."""
        return self._store.lines(self.key, CALLS).now()

    @property
    def size(self) -> int:
        """How long steps.jsonl is."""
        with suppress(OSError):
            return (self.folder / "steps.jsonl").stat().st_size
        return 0

    def steps(self, first: int, count: int) -> list[Step]:
        """So many steps from the number `first` on, counted from 1; one that cannot be read has the tool UNREAD."""
        first = max(1, first)
        lines = self._store.lines(self.key, STEPS).lines(first, count)
        return [self._step(line, n) for n, line in enumerate(lines, first)]

    def calls(self, first: int, count: int) -> list[Row]:
        """The records of so many model calls, counted from 1; one that cannot be read is empty."""
        first = max(1, first)
        lines = self._store.lines(self.key, CALLS).lines(first, count)
        return [self._call(line, n) for n, line in enumerate(lines, first)]

    def _call(self, line: bytes, n: int) -> Row:
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            self.problem(f"Line {n} of calls.jsonl cannot be read.")
            return {}

    def starter(self, path: str) -> str | None:
        """The text of a file as the agent found it; None where there was none, or the task is not known here."""
        task = self.task
        if not task or task.version != self.spec.version or path in task.without or ".." in path.split("/"):
            return None
        file = task.workspace / path
        try:
            if path.startswith("/") or not file.is_file() or file.stat().st_size > LARGEST:
                return None
            return file.read_text()
        except (OSError, ValueError):
            return None

    def problem(self, sentence: str) -> None:
        """Say once what could not be read."""
        if (said := visible(" ".join(sentence.split()))[:400]) not in self.problems:
            self.problems.append(said)

    def _step(self, line: bytes, n: int) -> Step:
        if step := parsed(Step, line):
            return step if step.n == n else step.changed(n=n)
        self.problem(f"Line {n} of steps.jsonl cannot be read.")
        return Step(n=n, action=Action(tool=UNREAD), observation=Observation(text="", status="error"))

    def _record(self, kind: type[R], name: str) -> R | None:
        try:
            found = parsed(kind, content(self.folder / name))
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
        told = json.dumps(json.loads(data), ensure_ascii=False).encode("utf-8", "replace")
        return kind.model_validate_json(told)
    except (ValueError, RecursionError):
        return None
