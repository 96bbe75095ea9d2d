"""What is exported: the episodes of runs, of the shards of bulk runs, and the trajectories of training, task by task.

An index of where each task's records lie is all that is kept of them; they are read when their task's turn comes.
"""

import functools
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_core import from_json

from mlgym.errors import MlgymError, UsageError
from mlgym.exporters.dialogue import Call
from mlgym.exporters.plain import plain
from mlgym.records import EpisodeSpec, Result, Step
from mlgym.store import Episode, lines
from mlgym.task import Task, load_task
from mlgym.trajectory import Trajectory

SHARD = "shard-"


@dataclass(frozen=True)
class Sample:
    """An episode or a trajectory, of which the other is None. `id` tells where it came from; `progress` and `noise`,
    its standard deviation, are of the final test score, None and 0 where they are not known.
    """

    id: str
    task: str
    seed: int
    agent: str
    model: str
    scored: bool
    progress: float | None
    noise: float
    spec: EpisodeSpec | None = None
    result: Result | None = None
    folder: Path | None = None
    trajectory: Trajectory | None = None
    home: Task | None = None

    @functools.cached_property
    def recorded(self) -> list[Step]:
        """The steps as they were recorded; none of a trajectory."""
        return Episode(self.folder).steps() if self.folder else []

    @functools.cached_property
    def steps(self) -> list[Step]:
        """The steps; those of an agent without a model as somebody would type them."""
        return self.recorded if self.model else [plain(step) for step in self.recorded]

    @functools.cached_property
    def calls(self) -> list[Call]:
        """What the model was asked; nothing of an agent without one."""
        return [Call.model_validate_json(line) for line in lines(self.folder / "calls.jsonl")] if self.folder else []


@dataclass
class Source:
    """Where the records of one task lie: task folders of runs with the runs' names, lines of files of trajectories."""

    folders: list[tuple[str, Path]] = field(default_factory=list)
    places: dict[Path, "array[int]"] = field(default_factory=dict)


def index(sources: Iterable[Path]) -> dict[str, Source]:
    """Where the records of each task lie, by its name. Raises UsageError for a path that holds none."""
    found: dict[str, Source] = {}
    for path in sources:
        before = sum(map(_size, found.values()))
        if path.is_file():
            _lines(path, found)
        else:
            for name, run in runs(path):
                for folder in _inner(run):
                    if any(_inner(folder)):
                        found.setdefault(_task(folder), Source()).folders.append((name, folder))
        if sum(map(_size, found.values())) == before:
            raise UsageError(
                f"There is no episode in {path}: give folders of runs, as 'mlgym run' and 'mlgym data generate' make "
                "them, or files of trajectories."
            )
    return dict(sorted(found.items()))


def runs(path: Path) -> Iterator[tuple[str, Path]]:
    """The runs in a folder: itself, or its shards; each with its name."""
    name = path.resolve().name
    shards = [inner for inner in _inner(path) if inner.name.startswith(SHARD)]
    yield from ((f"{name}/{shard.name}", shard) for shard in shards)
    if not shards:
        yield name, path


def samples(task: str, source: Source, trusted: bool = False) -> Iterator[Sample | tuple[str, str]]:
    """The samples of a task in a fixed order; for what cannot be read its id and why. `trusted` as for `home`."""
    for name, folder in source.folders:
        for way in _inner(folder):
            for seed in _inner(way):
                id = f"{name}/{folder.name}/{way.name}/{seed.name}"
                try:
                    if (seed / "spec.json").exists():
                        yield _episode(id, seed, trusted)
                except (MlgymError, OSError, ValueError) as error:
                    yield id, str(error).splitlines()[0]
    for path, places in source.places.items():
        with path.open("rb") as file:
            for number, place in enumerate(places):
                file.seek(place)
                id = f"{path.name}/{task}/{number}"
                try:
                    yield _trajectory(id, Trajectory.model_validate_json(file.readline()), trusted)
                except ValueError as error:
                    yield id, str(error).splitlines()[0]


@functools.lru_cache(maxsize=16)  # they come task by task, and what makes a task may take a while
def home(task: str, version: int | None, trusted: bool) -> Task | None:
    """The task of an episode, if that version of it is here (None: any); the code of a family of one's own is run if
    `trusted`.
    """
    try:
        found = load_task(task, recorded=not trusted)
    except MlgymError:
        return None
    return found if version in (None, found.version) else None


def _episode(id: str, folder: Path, trusted: bool) -> Sample:
    store = Episode.read(folder)
    spec, result = store.spec, store.result
    task = None if spec.imported else home(spec.task, spec.version, trusted)
    return Sample(
        id=id,
        task=Path(spec.task).name,
        seed=spec.seed,
        agent=spec.agent,
        model=spec.model,
        scored=result is not None and result.scored,
        progress=result.progress if result else None,
        noise=task.noise if task else 0.0,
        spec=spec,
        result=result,
        folder=folder,
        home=task,
    )


def _trajectory(id: str, found: Trajectory, trusted: bool) -> Sample:
    task = home(found.task, None, trusted)
    scored = found.reward is not None and found.status != "not_scored"
    about = (id, Path(found.task).name, found.seed, "policy", found.model, scored, found.progress, found.noise)
    return Sample(*about, trajectory=found, home=task)


def _task(folder: Path) -> str:
    """The name of the task whose episodes lie in a folder: long names are cut there."""
    for spec in folder.glob("*/*/spec.json"):
        try:
            return Path(str(from_json(spec.read_bytes())["task"])).name
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return folder.name


def _lines(path: Path, found: dict[str, Source]) -> None:
    """Where each trajectory of a file begins, by its task."""
    place = 0
    with path.open("rb") as file:
        for line in file:
            try:
                task = Path(str(from_json(line)["task"])).name
            except (ValueError, LookupError, TypeError) as error:
                raise UsageError(f"{path}, byte {place}: this line is no trajectory.") from error
            found.setdefault(task, Source()).places.setdefault(path, array("Q")).append(place)
            place += len(line)


def _size(source: Source) -> int:
    return len(source.folders) + sum(map(len, source.places.values()))


def _inner(path: Path) -> list[Path]:
    """The folders in a folder, in order."""
    try:
        with os.scandir(path) as entries:
            return [Path(entry.path) for entry in sorted(entries, key=lambda entry: entry.name) if entry.is_dir()]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
