"""What is stored of one episode, read once for all checks."""

import functools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlgym import outcome
from mlgym.errors import MlgymError
from mlgym.records import Attempt, EpisodeSpec, Isolation, Result, Step
from mlgym.store import Episode
from mlgym.task import Anchors, Task, load_task

GENERATED = "generated"
END = "end"


@dataclass(frozen=True)
class Seen:
    """An episode's records. `task` is None where that version of it is not here; `elsewhere` says so then."""

    store: Episode
    spec: EpisodeSpec
    result: Result | None
    steps: list[Step]
    attempts: list[Attempt]
    task: Task | None
    elsewhere: str

    @property
    def anchors(self) -> Anchors | None:
        """The task's anchors, where they belong to the data of this episode."""
        generated = self.result and self.result.data == GENERATED
        return self.task.anchors if self.task and not generated else None

    @property
    def final(self) -> Attempt | None:
        """The attempt that ended the episode."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.kind != "validate"), None)

    @cached_property
    def chosen(self) -> list[Attempt]:
        """The attempts that count: the one with the best validation, and the final one."""
        best = outcome.selected(self.attempts, self.task) if self.task else None
        return [attempt for attempt in self.attempts if attempt in (best, self.final)]

    @property
    def isolations(self) -> set[Isolation]:
        """How what was graded was kept apart: of the result and of each attempt that says so. An agent outside any
        sandbox makes that nothing, however its attempts were graded.
        """
        if self.spec.unsafe:
            return {"none"}
        found = {attempt.provenance.isolation for attempt in self.attempts if attempt.provenance}
        return found | ({self.result.isolation} if self.result else set())


@functools.lru_cache(maxsize=16)  # what makes a task may take a while, and a run has many episodes of it
def _found(task: str) -> Task:
    return load_task(task, recorded=True)


def read(folder: Path) -> Seen:
    """The episode in a folder; raises UsageError or ValueError for records that cannot be read."""
    store = Episode.read(folder)
    spec, elsewhere = store.spec, ""
    task: Task | None = None
    try:
        task = _found(spec.task)
    except MlgymError as error:
        elsewhere = f"its task is not here ({str(error).rstrip('.')})"
    if spec.imported:
        elsewhere, task = "it was imported, and graded elsewhere without its files being kept", None
    elif task and task.version != spec.version:
        elsewhere = f"it was made with version {spec.version} of {task.name}, here is version {task.version}"
        task = None
    return Seen(store, spec, store.result, store.steps(), store.attempts(), task, elsewhere)
