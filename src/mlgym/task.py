"""A task is a folder: `task.toml`, a hidden `task.py`, the visible `workspace/` and perhaps a hidden `solution/`.

The hidden module is never imported here; it runs in the grader's environment only.
"""

import difflib
import functools
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from mlgym import made as families
from mlgym import mutations
from mlgym.errors import TaskError, UsageError
from mlgym.metrics import noise, progress
from mlgym.mistakes import mistake
from mlgym.records import Limits, Made, Record, Scores, Source, Split, merged

SHIPPED = Path(__file__).resolve().parent / "tasks"
NO_CODE = "There is no code to start from: the baseline is known by its score only. Write your own."
GIVEN = ("name", "folder", "variant", "made", "changes")  # by the folder, not by task.toml
PACKAGES, SUITES = SHIPPED / "packages.toml", SHIPPED / "suites.toml"


def _pinned(pin: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?==[\w.!+]+(\s*;.+)?", pin):
        raise ValueError("must be a pinned package such as numpy==2.4.6")
    return pin


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith(("/", "~")) or "\\" in path:
        raise ValueError("must be a path inside the workspace")
    return path


Pin = Annotated[str, AfterValidator(_pinned)]
Inside = Annotated[str, AfterValidator(_inside)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Submission(Record):
    """The files that are graded: paths or globs in the workspace; `max_mb` is of all together, in 10^6 bytes."""

    paths: tuple[Inside, ...] = Field(min_length=1)
    max_mb: Annotated[float, Field(gt=0, le=2000)] = 200
    max_files: int = Field(default=1000, ge=1)


class Baseline(Record):
    """The starter: `files` make it up; `command`, run in the workspace, makes its submission (empty: it lies there)."""

    command: str = ""
    files: tuple[Inside, ...] = ()


class TaskLimits(Record):
    """Bounds: steps; command seconds in all (`seconds`) and for each command; seconds of a grading, and of each call of
    the submission's code in it (`call_s`); MB of memory. An episode gets `processors` for itself, or below 1 a share of
    one, and so many `gpus` with `gpu_memory` GB free on each.
    """

    steps: int = Field(default=50, ge=1)
    seconds: Positive | None = None
    command_s: Positive = 1800
    grade_s: Positive = 60
    call_s: Positive = 30
    memory_mb: int = Field(default=8192, ge=64)
    processors: Positive = 2
    gpus: int = Field(default=0, ge=0)
    gpu_memory: float = Field(default=0, ge=0, allow_inf_nan=False)


class Anchors(Record):
    """The fixed scores that make progress: measured baseline and its noise (one standard deviation) for each split.

    `best` is the best test score known; `floor`, where it is given, what the best constant answer scores on each split.
    `published` are figures of others, and `source` says where all these are from.
    """

    scale: Literal["identity", "log"] = "identity"
    baseline: dict[Split, float]
    noise: dict[Split, float] = Field(default_factory=dict)
    best: float | None = None
    floor: dict[Split, float] = Field(default_factory=dict)
    published: dict[str, float] = Field(default_factory=dict)
    source: str = ""


class Suite(Record):
    """A named, versioned list of tasks; `about` says in a line what it is for."""

    version: int = Field(ge=1)
    about: str
    tasks: tuple[str, ...] = Field(min_length=1)


class Task(Record):
    """A task as its `task.toml` gives it; `settings` go to `prepare` and `grade`, `folder` holds the rest.

    `data` names the data set where it is not the task's own; with `stand_in` the task's `prepare` can do without its
    sources. `start` is the folder of the files that the agent finds, less those that `without` names (nor does it then
    learn the baseline's command). With `timed` the score is a time: two gradings of the same files differ by the noise;
    with `rounded` it is made of numbers of the submission's own code, which are rounded otherwise each time.
    `network` are hosts that it would like to reach; it does where the user allows it. `made` is a made task's place
    in its family; `changes` are those that its name asks for (see `mutations`).
    """

    name: str
    folder: Path
    variant: str = ""
    made: Made | None = None
    changes: dict[str, str] = Field(default_factory=dict)
    version: int = Field(ge=1)
    title: str = Field(min_length=1)
    kind: str = Field(min_length=1)
    canary: str = Field(min_length=20)
    metric: str = Field(min_length=1)
    direction: Literal["maximize", "minimize"]
    instruction: str = Field(min_length=1)
    packages: tuple[Pin, ...]
    grader_packages: tuple[Pin, ...]
    submission: Submission
    baseline: Baseline = Baseline()
    limits: TaskLimits = TaskLimits()
    anchors: Anchors | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    data: str = ""
    stand_in: bool = False
    start: Inside = "workspace"
    network: tuple[str, ...] = ()
    without: tuple[Inside, ...] = ()
    timed: bool = False
    rounded: bool = False

    @property
    def evaluation(self) -> bool:
        """Whether it is one of the benchmark's own, on which nothing should be trained."""
        return self.folder.parent == SHIPPED

    @property
    def shipped(self) -> bool:
        """Whether it comes with mlgym, made or not: then its name means the same everywhere."""
        return self.folder.parent in (SHIPPED, families.FAMILIES)

    @property
    def reference(self) -> str:
        """What `load_task` finds this very task by, from any folder: a shipped name, or an absolute path."""
        return self.name if self.shipped else str(self.folder.with_name(self.name))

    @property
    def told(self) -> str:
        """The instruction as the agent reads it: without the lines that list a file which `without` keeps from it."""
        lines = self.instruction.strip().splitlines()
        kept = [line for line in lines if not line.startswith(tuple(f"- {name}" for name in self.without))]
        return "\n".join([*kept, "", NO_CODE] if self.without else kept)

    @property
    def workspace(self) -> Path:
        """The folder of the starter, of which the agent finds the files that `without` does not name."""
        plain = self.folder / self.start
        seed = self.changes.get("corrupt")
        return mutations.corrupted(plain, self.baseline.files, seed) if seed else plain

    @property
    def code(self) -> Path:
        """The hidden module."""
        return self.folder / "task.py"

    def progress(self, scores: Scores | None, split: Split) -> float | None:
        """The progress of `scores` on a split (0 = baseline, 1 = best known); None where no best is known."""
        anchors = self.anchors
        if anchors is None:
            return None
        return progress(
            None if scores is None else scores.get(self.metric),
            baseline=anchors.baseline[split],
            baseline_test=anchors.baseline["test"],
            best=anchors.best,
            direction=self.direction,
            scale=anchors.scale,
        )

    @property
    def noise(self) -> float:
        """One standard deviation of test progress from one run of the same thing to the next; 0.0 where not known."""
        anchors = self.anchors
        if anchors is None or anchors.best is None:
            return 0.0
        return noise(
            anchors.noise.get("test", 0.0),
            baseline_test=anchors.baseline["test"],
            best=anchors.best,
            scale=anchors.scale,
        )

    @property
    def episode_limits(self) -> Limits:
        """The bounds of an episode that the task asks for."""
        return Limits(steps=self.limits.steps, seconds=self.limits.seconds, command_s=self.limits.command_s)

    @property
    def solution(self) -> Path | None:
        """The folder of the hidden better solution, if the task has one."""
        folder = self.folder / "solution"
        return folder if folder.is_dir() else None


def load_task(task: str | Path, *, recorded: bool = False) -> Task:
    """The task of that name or in that folder; `NAME-VARIANT` is the folder NAME with its table [variant.VARIANT], and
    `NAME-sSEED-dDIFFICULTY` a task of the family NAME; changes such as `~budget=0.3` may follow any name.

    A variant with the key `over` is laid over that other variant. A name that is `recorded` stands in somebody's
    records: the code of a family that does not ship with mlgym is not run for it. Raises UsageError for an unknown name
    and TaskError, with file and key, for a folder that is wrong.
    """
    base, changes = mutations.parse(str(task))
    if changes:
        data = json.loads(load_task(base, recorded=recorded).model_dump_json())
        return Task.model_validate_json(json.dumps(mutations.applied(data, changes)))
    if found := families.find(str(task)):
        return _made(*found, recorded)
    folder, variant = _found(str(task))
    if (folder / families.MAKER).is_file():
        raise UsageError(f"{folder} is a family: its tasks are named such as {folder.name}-s17-d0.4.")
    data = _read(folder / "task.toml")
    variants = data.pop("variant", {})
    if not isinstance(variants, dict) or not all(isinstance(each, dict) for each in variants.values()):
        raise TaskError(f"{folder / 'task.toml'}: variant must hold tables such as [variant.mini].")
    layers: list[dict[str, Any]] = []
    name = variant
    while name:
        if name not in variants or len(layers) > len(variants):
            known = f"it has {', '.join(sorted(variants))}" if variants else "it has none"
            raise UsageError(f"The task '{folder.name}' has no variant {name!r}; {known}.")
        layers.append({key: value for key, value in variants[name].items() if key != "over"})
        name = str(variants[name].get("over", ""))
    for layer in reversed(layers):
        data = merged(data, layer)
    return _checked(folder, variant, data)


def place(task: str) -> Path:
    """The folder that a name means, of which nothing is read or run; raises UsageError for an unknown name."""
    base, _ = mutations.parse(task)
    found = families.find(base)
    return found[0] if found else _found(base)[0]


def list_tasks() -> list[Task]:
    """The shipped tasks and their variants, by name."""
    return [load_task(name) for name in _names()]


def suites() -> dict[str, Suite]:
    """The shipped suites by name."""
    return {name: Suite.model_validate_json(json.dumps(about)) for name, about in _read(SUITES).items()}


def load_tasks(names: Iterable[str | Path]) -> list[Task]:
    """The tasks that these names mean, each once and in order; a suite's name means all of its tasks."""
    known = suites()
    found = (name for given in names for name in (known[str(given)].tasks if str(given) in known else [given]))
    return [load_task(name) for name in dict.fromkeys(map(str, found))]


def for_training(tasks: Iterable[Task], include_eval: bool = False) -> list[Task]:
    """The tasks, if nothing speaks against training on them or making data of them.

    Raises UsageError where one is of the benchmark's own, unless `include_eval`.
    """
    tasks = list(tasks)
    if not include_eval and (kept := [task.name for task in tasks if task.evaluation]):
        raise UsageError(
            f"The task '{kept[0]}' is for evaluation: what is trained on it cannot be compared on it. Take made tasks "
            "(the suite train), or say --include-eval."
        )
    return tasks


def _made(folder: Path, made: Made, recorded: bool) -> Task:
    """The task of a family, whose code is run; refused for a name out of records where the family is not shipped."""
    if recorded and folder.parent != families.FAMILIES:
        raise UsageError(f"The family in {folder} does not ship with mlgym: its code is not run to read a record.")
    data = merged(_read(folder / "task.toml"), families.overrides(folder, made))
    return _checked(folder, "", data, made)


def _names() -> list[str]:
    folders = [path.parent for path in SHIPPED.glob("*/task.toml")]
    return sorted(
        name for folder in folders for name in (folder.name, *(f"{folder.name}-{v}" for v in _variants(folder)))
    )


def _variants(folder: Path) -> Iterable[str]:
    variants = _read(folder / "task.toml").get("variant", {})
    return variants if isinstance(variants, dict) else ()


def _found(task: str) -> tuple[Path, str]:
    """The folder and the variant that a name or path means; a shipped name comes before a folder of that name here."""
    try:
        here = Path(task).expanduser()
    except RuntimeError:  # the home of a user that there is not
        here = Path(task)
    places = [here] if here.name != task else [SHIPPED / task, here]
    for place in places:
        if (place / "task.toml").is_file():
            return place.resolve(), ""
        base, _, variant = place.name.rpartition("-")
        while base:  # a variant's name may hold hyphens too
            if (place.with_name(base) / "task.toml").is_file():
                return place.with_name(base).resolve(), variant
            base, _, more = base.rpartition("-")
            variant = f"{more}-{variant}"
    if here.is_dir():
        raise TaskError(f"{here} is not a task: it has no task.toml.")
    close = difflib.get_close_matches(task, [*_names(), *suites()], n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    if (families.FAMILIES / task / families.MAKER).is_file():
        hint = f"it is a family, of which {task}-s17-d0.4 is a task; "
    raise UsageError(f"There is no task '{task}'; {hint}`mlgym tasks` lists them, and a folder may be given too.")


def _read(path: Path) -> dict[str, Any]:
    try:
        about = path.stat()
        return dict(_parsed(path, about.st_mtime_ns, about.st_size))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TaskError(f"{path}: {error}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read: {error}.") from error


@functools.lru_cache(maxsize=100)
def _parsed(path: Path, changed: int, size: int) -> dict[str, Any]:
    """The file as it is now, told apart by when it was changed."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _checked(folder: Path, variant: str, data: dict[str, Any], made: Made | None = None) -> Task:
    file = folder / "task.toml"
    for key in GIVEN:
        if key in data:
            raise TaskError(f"{file}: unknown key '{key}'; the folder gives the name.")
    name = f"{folder.name}-{variant}" if variant else folder.name
    if made:
        name = families.task_id(made.family, made.seed, made.difficulty)
    given = {"name": name, "variant": variant, "folder": str(folder), "made": made and made.model_dump()}
    data = _with_packages(file, {"grader_packages": data.get("packages", []), **data, **given})
    try:
        task = Task.model_validate_json(json.dumps(data, default=str, allow_nan=False))
    except ValidationError as error:
        raise TaskError(f"{file}: {mistake(error, Task, GIVEN)}.") from error
    except ValueError as error:
        raise TaskError(f"{file}: nan and inf are no values here.") from error
    if not task.code.is_file():
        raise TaskError(f"{folder} has no task.py, the hidden module with prepare() and grade().")
    if not task.workspace.is_dir():
        raise TaskError(f"{folder} has no folder {task.start}, which holds what the agent finds.")
    for number, path in enumerate(task.baseline.files):
        if not (task.workspace / path).is_file():
            raise TaskError(f"{file}: baseline.files[{number}]: there is no file {path} in {task.workspace}.")
    return task


def _with_packages(file: Path, data: dict[str, Any]) -> dict[str, Any]:
    """The data with the pins of each named set of packages in the place of its name."""
    named = {key: data[key] for key in ("packages", "grader_packages") if isinstance(data.get(key), str)}
    sets = _read(PACKAGES) if named else {}
    for key, name in named.items():
        if name not in sets:
            raise TaskError(f"{file}: {key}: there is no set '{name}' of packages; known: {', '.join(sets)}.")
    return {**data, **{key: sets[name] for key, name in named.items()}}
