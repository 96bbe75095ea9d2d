"""Going on from a step of a recorded episode: a new episode that begins with the recorded steps.

The recorded one is only read. The steps, the model's calls and the attempts up to the step are copied into the new
folder, and what follows is what resuming an interrupted episode is.
"""

from pathlib import Path
from typing import Any

from mlgym.errors import UsageError
from mlgym.records import EpisodeSpec, Step
from mlgym.store import Episode, episodes
from mlgym.task import load_task

END = "end"


def onward(text: str, **changes: Any) -> EpisodeSpec:
    """The spec of an episode that goes on from EPISODE@STEP, with other values in some fields.

    EPISODE is its folder, or that of a run that holds it alone. Raises UsageError for what cannot be gone on from.
    """
    recorded, n = _found(text)
    steps, spec = recorded.steps(), recorded.spec
    if not 0 <= n <= len(steps):
        raise UsageError(f"The episode in {recorded.folder} has {len(steps)} steps, so there is no step {n}.")
    if n and _ended(steps[n - 1]):
        raise UsageError(f"Step {n} ended the episode in {recorded.folder}: choose one before it.")
    if spec.imported:
        raise UsageError(f"The episode in {recorded.folder} was imported, so its workspace cannot be made again here.")
    task = load_task(spec.task)
    if task.version != spec.version:
        raise UsageError(
            f"The episode in {recorded.folder} was made with version {spec.version} of {task.name}, here is version "
            f"{task.version}: it cannot be gone on from."
        )
    if spec.model and any(recorded.replies()) and not any(step.calls for step in steps):
        raise UsageError(
            f"The episode in {recorded.folder} does not say which calls of the model belong to which step (it was "
            "recorded by an older mlgym), so it cannot be gone on from."
        )
    return spec.changed(source=f"{recorded.folder.resolve()}@{n}", **changes)


def begin(store: Episode, spec: EpisodeSpec) -> None:
    """Copy what `spec.source` names into the folder of a new episode; one that has begun is left as it is."""
    if store.begun:
        return
    recorded, n = _found(spec.source)
    store.take(recorded, recorded.steps()[:n])


def copied(spec: EpisodeSpec) -> int:
    """How many of an episode's steps are another's."""
    return int(spec.source.rpartition("@")[2]) if spec.source else 0


def _found(text: str) -> tuple[Episode, int]:
    """The episode and the step that EPISODE@STEP names."""
    folder, at, step = text.rpartition("@")
    if not at or not (step.isascii() and step.isdigit()) or not folder:
        raise UsageError(f"--from takes EPISODE@STEP, an episode's folder and the number of a step, not '{text}'.")
    found = list(episodes(Path(folder)))
    if len(found) != 1:
        many = f"{len(found)} episodes; name the folder of one" if found else "no episode"
        raise UsageError(f"{folder} holds {many}.")
    return Episode.read(found[0]), int(step)


def _ended(step: Step) -> bool:
    return step.action.tool == END or step.observation.status == "end"
