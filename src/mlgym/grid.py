"""A grid: tasks x methods x seeds, from a file `run.toml` and from flags, as the specs of its episodes."""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from mlgym import agents, presets
from mlgym.errors import UsageError
from mlgym.memory import RUN
from mlgym.mistakes import mistake, shown
from mlgym.models import default_limits
from mlgym.names import PROGRAM, is_program, split
from mlgym.records import Args, EpisodeSpec, Limits, Record, Split, merged
from mlgym.sandbox import BACKENDS
from mlgym.sandbox.proxy import rules
from mlgym.store import method, slug
from mlgym.task import Positive, Task, load_tasks
from mlgym.tools import toolset

MOST_SEEDS = 10_000
LONGEST = 1000
R = TypeVar("R", bound=Record)


def _line(text: str) -> str:
    if not text.isprintable() or len(text) > LONGEST:
        raise ValueError(f"should be one line of at most {LONGEST} characters")
    return text


def _seeds(given: Any) -> tuple[int, ...]:
    """A number of seeds means those from 0 on."""
    many = isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= MOST_SEEDS
    seeds = range(given) if many else given if isinstance(given, list | tuple) else ()
    plain = all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
    if not plain or not 1 <= len(seeds) <= MOST_SEEDS or len(set(seeds)) < len(seeds):
        raise ValueError(f"should be a number of seeds (1 to {MOST_SEEDS}), or a list of different ones from 0 on")
    return tuple(seeds)


def _hosts(given: Any) -> Any:
    return ",".join(given) if isinstance(given, list) and all(isinstance(host, str) for host in given) else given


def _network(text: str) -> str:
    try:
        rules(text.split(",") if text not in ("", "any", "task") else ())
    except UsageError as error:
        raise ValueError(f"should be any, task, or hosts ({str(error).rstrip('.')})") from error
    return text


def _listed(text: str) -> str:
    """A list with commas between, without blanks around these."""
    return ",".join(map(str.strip, text.split(",")))


def _sandbox(name: str) -> str:
    if name not in ("auto", *BACKENDS) and ":" not in name:
        raise ValueError(f"should be auto, {', '.join(BACKENDS)} or package.module:attribute")
    return name


def _tools(name: str) -> str:
    try:
        toolset(name)
    except UsageError as error:
        why = str(error).rstrip(".")
        raise ValueError(f"should be modern or classic, with +package.module:function for your own ({why})") from error
    return name


def _protocol(name: str) -> str:
    if name and name not in presets.PRESETS:
        raise ValueError(f"should be {' or '.join(presets.PRESETS)}")
    return name


Line = Annotated[str, AfterValidator(_line)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Method(Record):
    """What is compared: an agent, and the model that it asks. Without an agent it is `react`, which needs a model.
    `packages` are for the environment of an agent that is a program, `unsafe` lets it run outside any sandbox.
    """

    agent: Line = ""
    model: Line = ""
    sampling: Args = Field(default_factory=dict)
    base_url: Line = ""
    packages: tuple[Line, ...] = Field(default=(), max_length=1000)
    unsafe: bool = False

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.agent and not self.model:
            raise ValueError("should have an agent, a model, or both")
        if (self.packages or self.unsafe) and not is_program(self.agent):
            raise ValueError(f"should have packages and unsafe only for an agent `{PROGRAM} …`")
        return self


class Bounds(Record):
    """Bounds of one episode; what is left out is the task's own. `command_s` is of each command, `training_s` of one
    that starts Python, `seconds` of all commands together.
    """

    steps: int | None = Field(default=None, ge=1)
    seconds: Positive | None = None
    command_s: Positive | None = None
    training_s: Positive | None = None
    money: Dollars | None = None
    tokens: int | None = Field(default=None, ge=1)


class Grid(Record):
    """What `run.toml` says. `money` is what all episodes together may cost, `limits.money` one of them; `concurrent`
    are the episodes at once: one where it is left out, on Ray as many as there is room for. `network` is any, task, or
    hosts; `gpus` is none, all, or cards such as 0,1. `memory` is a folder for notes, or run; `papers` are sources with
    commas between, folders among them with a slash.
    """

    tasks: tuple[Line, ...] = Field(default=(), max_length=1000)
    agents: tuple[Method, ...] = Field(default=(), max_length=1000)
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = (0,)
    limits: Bounds = Bounds()
    sandbox: Annotated[Line, AfterValidator(_sandbox)] = "auto"
    feedback: Split = "validation"
    tools: Annotated[Line, AfterValidator(_tools)] = "modern"
    memory: Line = ""
    papers: Annotated[Line, AfterValidator(_listed)] = ""
    processors: Positive | None = None
    gpus: Line = ""
    network: Annotated[Line, BeforeValidator(_hosts), AfterValidator(_network)] = ""
    max_validations: int | None = Field(default=None, ge=0)
    python: Line = ""
    money: Dollars | None = None
    concurrent: int | None = Field(default=None, ge=1)
    launcher: Literal["threads", "processes", "ray"] = "threads"
    ray_address: Line = ""
    protocol: Annotated[Line, AfterValidator(_protocol)] = ""

    def with_flags(self, flags: dict[str, Any]) -> "Grid":
        """The grid with other values in these fields, table by table; lists take the place of lists."""
        given = self.model_dump(mode="json", exclude_unset=True)
        return checked(Grid, merged(given, flags))

    def settled(self) -> "Grid":
        """The grid with all that its protocol fixes; raises UsageError where it has another value there."""
        if not self.protocol:
            return self
        given = self.model_dump(mode="json", exclude_unset=True)
        if presets.preset(self.protocol).isolation == "full" and any(one.unsafe for one in self.agents):
            raise UsageError(f"The protocol {self.protocol} asks for full isolation: leave out --unsafe.")
        told = [
            {**one.model_dump(), "agent": presets.agent(self.protocol, one.agent or "react")} for one in self.agents
        ]
        return checked(Grid, {**presets.laid(self.protocol, given), "agents": told})

    def episode_limits(self, task: Task) -> Limits:
        """The bounds of an episode on a task, before those that a model without a price gets."""
        own = task.episode_limits.model_dump()
        limits = {**own, **self.limits.model_dump(exclude_none=True)}
        if self.protocol:
            longer = presets.preset(self.protocol).longer.get(task.folder.name)
            limits["training_s"] = longer or limits["training_s"]
        return Limits.model_validate(limits)


@dataclass(frozen=True)
class Plan:
    """The episodes of a grid in their order, its tasks by reference, and what is to be said before they start."""

    grid: Grid
    specs: tuple[EpisodeSpec, ...]
    tasks: dict[str, Task]
    notes: tuple[str, ...]

    @property
    def limits(self) -> dict[str, Limits]:
        """The bounds of an episode on each task, by its reference, without what a model adds."""
        return {name: self.grid.episode_limits(task) for name, task in self.tasks.items()}


def read_grid(path: Path | str) -> Grid:
    """The grid that a TOML file describes; folders in it are meant from the file's own folder.

    Raises UsageError with the file, the key, and what it may be.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # TOML's own, numbers of too many digits, bytes that are no UTF-8
        raise UsageError(f"{path}: {str(error).rstrip('.').splitlines()[0]}.") from error
    grid = checked(Grid, data, f"{path}: ")
    here = path.resolve().parent
    moved = {
        "tasks": tuple(_from(here, name) for name in grid.tasks),
        "python": grid.python and _from(here, grid.python, anyway=True),
        "memory": _from(here, grid.memory, anyway=grid.memory not in ("", RUN)),
        "papers": ",".join(_from(here, source) for source in grid.papers.split(",")),
    }
    return grid.with_flags({key: value for key, value in moved.items() if value != getattr(grid, key)})


def _from(here: Path, name: str, anyway: bool = False) -> str:
    """A name from the folder `here` where it is a path: has a slash, or is one anyway."""
    return str(here / name) if (anyway or "/" in name) and not name.startswith("~") else name


def from_flags(flags: dict[str, Any]) -> Grid:
    """A grid of flags alone."""
    return checked(Grid, flags)


def methods(
    named: Iterable[str],
    models: Iterable[str],
    sampling: dict[str, Any],
    base_url: str,
    packages: tuple[str, ...] = (),
    unsafe: bool = False,
) -> Iterator[Method]:
    """The methods that agents and models on a command line mean: each agent that asks no model, and each other one with
    each model; `react` where no such agent is named. An agent alone goes without a model. `packages` and `unsafe` are
    those of the programs among them; raises UsageError where there is none.
    """
    named, models = list(dict.fromkeys(named)), list(dict.fromkeys(models))
    program: dict[str, Any] = {"packages": packages, "unsafe": unsafe}
    if (packages or unsafe) and not any(map(is_program, named)):
        raise UsageError(f"--packages and --unsafe belong to an agent that is a program: -a '{PROGRAM} …'.")
    asking = [agent for agent in named if agents.asks(agent)]
    for agent in asking or ["react"] * bool(models):
        for model in models or [""]:
            own = program if is_program(agent) else {}
            yield Method(agent=agent, model=model, sampling=sampling, base_url=base_url, **own)
    told = ({}, "") if models else (sampling, base_url)
    for agent in (each for each in named if each not in asking):
        yield Method(agent=agent, sampling=told[0], base_url=told[1])


def expand(grid: Grid) -> list[EpisodeSpec]:
    """The specs of all episodes: each seed once around all tasks, and on each task all methods, so that whatever is
    there when a run is stopped compares all methods.
    """
    return list(plan(grid).specs)


def plan(grid: Grid) -> Plan:
    """The episodes of a grid; raises UsageError for a task that is not there, and for two that would share a folder."""
    grid = grid.settled()
    tasks = _tasks(grid)
    if not grid.agents:
        raise UsageError("The grid has no agents: name one with -a, a model with -m, or add [[agents]] to the file.")
    if grid.memory and grid.launcher == "ray":
        raise UsageError(
            "Notes are not kept with the launcher ray, whose machines would not see each other's: leave one out."
        )
    notes: dict[str, None] = {}
    specs = []
    for task in tasks.values():
        network = _reached(grid, task, notes)
        limits = grid.episode_limits(task)
        for one in grid.agents:
            bounds, note = default_limits(one.model, one.base_url, limits) if one.model else (limits, "")
            notes |= {note: None} if note else {}
            specs.append(_spec(grid, task, one, bounds, network))
    _apart(specs)
    ordered = tuple(spec.changed(seed=seed) for seed in grid.seeds for spec in specs)
    return Plan(grid, ordered, tasks, tuple(notes))


def folder_name(grid: Grid, specs: Iterable[EpisodeSpec]) -> str:
    """The name of a run's folder where none was given: what was asked for, and the methods."""
    names = [Path(name).name for name in grid.tasks]
    return slug("-".join([*names, *dict.fromkeys(method(spec) for spec in specs)]))


def checked(kind: type[R], data: Mapping[str, Any], where: str = "") -> R:
    """What the user gave as a record; raises UsageError, which begins with `where`, with what is wrong."""
    try:
        return kind.model_validate_json(json.dumps(data, default=str, allow_nan=False))
    except ValidationError as error:
        raise UsageError(f"{where}{mistake(error, kind)}.") from error
    except ValueError as error:
        raise UsageError(f"{where}nan and inf are no values here, nor are numbers of thousands of digits.") from error
    except RecursionError as error:
        raise UsageError(f"{where}it is nested too deeply.") from error


def _tasks(grid: Grid) -> dict[str, Task]:
    if not grid.tasks:
        raise UsageError("Name a task or a suite (see 'mlgym tasks'), or an episode to go on from with --from.")
    try:
        return {task.reference: task for task in load_tasks(grid.tasks)}
    except (OSError, RuntimeError) as error:  # a name too long for a file, a home folder that is nobody's
        raise UsageError(f"{shown(grid.tasks)} cannot be looked up: {error}.") from error


def _spec(grid: Grid, task: Task, one: Method, limits: Limits, network: tuple[str, ...] | None) -> EpisodeSpec:
    return EpisodeSpec(
        task=task.reference,
        version=task.version,
        agent=one.agent or "react",
        model=one.model,
        sampling=one.sampling,
        base_url=one.base_url,
        tools=grid.tools,
        sandbox=grid.sandbox,
        feedback=grid.feedback,
        python=_path(grid.python, "interpreter"),
        memory=grid.memory if grid.memory == RUN else _path(grid.memory, "folder of notes"),
        papers=",".join(_path(each, "folder") if "/" in each else each for each in grid.papers.split(",")),
        limits=limits,
        processors=grid.processors,
        network=network,
        max_validations=grid.max_validations,
        packages=one.packages,
        unsafe=one.unsafe,
    )


def _path(name: str, what: str) -> str:
    """A path from the root; empty for none."""
    try:
        return str(Path(name).expanduser().absolute()) if name else ""
    except RuntimeError as error:  # a home folder that is nobody's
        raise UsageError(f"The {what} {shown(name)} cannot be looked up: {error}") from error


def _reached(grid: Grid, task: Task, notes: dict[str, None]) -> tuple[str, ...] | None:
    """The hosts that an episode may reach; empty for all, None for no network."""
    if not grid.network:
        if task.network:
            wish = ", ".join(task.network)
            notes[f"{task.name} asks for a network ({wish}) and gets none without --network task."] = None
        return None
    return hosts(grid.network, task)


def hosts(network: str, task: Task) -> tuple[str, ...] | None:
    """What any, task, or a list of hosts means on a task: the hosts, empty for all, None for no network."""
    found = task.network if network == "task" else () if network == "any" else tuple(network.split(","))
    rules(found)
    return found or (() if network == "any" else None)


def _apart(specs: Iterable[EpisodeSpec]) -> None:
    """Raise UsageError where two tasks or methods would be stored in the same folder."""
    seen: dict[tuple[str, str], EpisodeSpec] = {}
    for spec in specs:
        split(spec.agent)
        key = slug(Path(spec.task).name), method(spec)
        other = seen.setdefault(key, spec)
        if other is not spec:
            why = "the grid names them twice" if other == spec else "only their tasks' folders or base URLs differ"
            raise UsageError(f"Two episodes would be stored in the same folder {'/'.join(key)}: {why}.")
