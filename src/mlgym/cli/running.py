"""From the flags of `mlgym run` to a run: the grid, what is missing, its lock and versions, then the episodes."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from mlgym import agents, live
from mlgym.allocator import Allocator
from mlgym.cli.app import tell
from mlgym.errors import ModelError, SourceError, UsageError
from mlgym.forecast import lacking, told, unpriced
from mlgym.grading.prepare import prepare
from mlgym.grid import Grid, folder_name, from_flags, hosts, methods, plan, read_grid
from mlgym.launchers import Launcher, launcher
from mlgym.launchers.flow import Say
from mlgym.models import default_limits, preflight
from mlgym.models.endpoint import priced, served
from mlgym.names import PROGRAM, split
from mlgym.onward import onward as gone_on
from mlgym.protocol import FROM_DATA, isolated, keep, lock, read_lock, refuse
from mlgym.records import EpisodeSpec, Limits
from mlgym.store import episode_folder, method, slug
from mlgym.task import load_task
from mlgym.versions import keep_run, versions

RUNS = Path("runs")


@dataclass(frozen=True)
class Ways:
    """The agents and models of a command line, what goes with the models, and with agents that are programs."""

    agents: tuple[str, ...]
    models: tuple[str, ...]
    sampling: dict[str, Any]
    base_url: str
    packages: tuple[str, ...] = ()
    unsafe: bool = False

    def methods(self) -> list[dict[str, Any]]:
        """What they mean, as a grid has it."""
        found = methods(self.agents, self.models, self.sampling, self.base_url, self.packages, self.unsafe)
        return [one.model_dump(mode="json") for one in found]


@dataclass(frozen=True)
class How:
    """Where a run is stored, what it prints and runs again, and by which other runs a dry run reckons."""

    output: Path | None
    quiet: bool = False
    redo: tuple[str, ...] = ()
    dry: bool = False
    recorded: tuple[Path, ...] = ()


def grid(config: Path | None, ways: Ways, flags: dict[str, Any], how: How) -> int:
    """Run the grid of a file and flags; the exit code."""
    asked = read_grid(config) if config else None
    if named := ways.methods():
        flags["agents"] = named
    elif not asked or not asked.agents:
        flags["agents"] = [{"agent": "tuner", "sampling": ways.sampling, "base_url": ways.base_url}]
    elif ways.sampling or ways.base_url:
        raise UsageError(f"-M and --base-url belong to a model named with -m; those of {config} stand in the file.")
    made = plan(asked.with_flags(flags) if asked else from_flags(flags))
    name = config.stem if config else folder_name(made.grid, made.specs)
    run = how.output or RUNS / name
    return _run(made.grid, made.specs, made.limits, run, made.notes, how)


def onward(source: str, ways: Ways, flags: dict[str, Any], how: How) -> int:
    """Run the episode that goes on from EPISODE@STEP."""
    kept = {"tasks", "seeds", "tools", "memory", "papers", "feedback", "protocol"} & set(flags)
    if kept or len(ways.agents) > 1 or len(ways.models) > 1:
        raise UsageError("--from keeps task, seed, tools and feedback of the episode it goes on from: name none.")
    spec = gone_on(source)
    own: dict[str, Any] = {
        key: flags[key] for key in ("sandbox", "python", "processors", "max_validations") if key in flags
    }
    own |= {key: named[0] for key, named in (("agent", ways.agents), ("model", ways.models)) if named}
    program = split(str(own.get("agent", spec.agent)))[0] == PROGRAM
    own |= {} if program else {"packages": ()}  # but what began unsafe stays so
    if ways.agents and not ways.models and not agents.asks(ways.agents[0]):
        own |= {"model": "", "sampling": {}, "base_url": ""}
    more = {key: getattr(ways, key) for key in ("base_url", "sampling", "packages", "unsafe")}
    own |= {key: value for key, value in more.items() if value}
    own |= {"network": hosts(flags["network"], load_task(spec.task))} if "network" in flags else {}
    spec = spec.changed(**own, limits=spec.limits.changed(**flags.get("limits", {})))
    notes = []
    if ways.models:
        given = "money" in flags.get("limits", {})
        if served(spec.model) and not given and priced(spec.model, spec.base_url) is None:
            spec = spec.changed(limits=spec.limits.changed(money=None))  # the recorded episode's, of another model
        bounds, note = default_limits(spec.model, spec.base_url, spec.limits)
        spec, notes = spec.changed(limits=bounds), [note] if note else []
    of_program = ("packages", "unsafe") if program else ()
    one = {key: getattr(spec, key) for key in ("agent", "model", "sampling", "base_url", *of_program)}
    rest = {key: value for key, value in flags.items() if key in ("gpus", "money", "sandbox")}
    rest |= {"tasks": [spec.task], "seeds": [spec.seed], "agents": [one]}
    run = how.output or RUNS / slug(f"{Path(spec.task).name}-{method(spec)}")
    return _run(from_flags(rest), [spec], {}, run, notes, how)


def _run(
    asked: Grid, specs: Sequence[EpisodeSpec], limits: Mapping[str, Limits], run: Path, notes: Sequence[str], how: How
) -> int:
    for note in notes:
        tell(note, sys.stderr if how.quiet else sys.stdout)
    asks = any(split(spec.agent)[0] == "human" for spec in specs)
    if asks and (asked.launcher != "threads" or (asked.concurrent or 1) > 1):
        raise UsageError("The agent human has one terminal: leave out --launcher, and -n or a concurrent above 1.")
    allocator = Allocator(asked.gpus)
    isolated(asked.protocol, asked.sandbox)
    here = asked.launcher != "ray"
    now = partial(lock, specs, limits=limits, gpus=asked.gpus, here=here)
    if how.dry:
        recorded, at_once = [RUNS, *how.recorded], asked.concurrent or (1 if here else None)
        lines = told(
            specs,
            run,
            now(),
            recorded=recorded,
            concurrent=at_once,
            money=asked.money,
            allocator=allocator if here else None,
        )
        tell("\n".join(lines), sys.stdout)
        return 0
    left = [spec for spec in specs if how.redo or not (episode_folder(run, spec) / "result.json").exists()]
    if missing := lacking(left):  # what is done is read without a key
        raise UsageError(" ".join(missing))
    if asked.money is not None and (unknown := unpriced(left, asked.money)):
        raise UsageError(" ".join(unknown))
    if old := read_lock(run):  # before anything is fetched
        refuse(run, old, now(), FROM_DATA)
    ask(left, begun=bool(old), out=sys.stderr if how.quiet else sys.stdout)
    _prepare(specs)
    for note in keep(run, now(), preset=asked.protocol):
        tell(note)
    keep_run(run, asked.model_dump(mode="json"), versions({Path(spec.task).name: spec.version for spec in specs}))
    return live.run(
        list(specs),
        run,
        asked.concurrent or 1,
        "none" if how.quiet else "ended" if asks else "steps",
        allocator=allocator,
        launcher=launched(asked),
        money=asked.money,
        redo=how.redo,
        here=here,
    )


def ask(left: Sequence[EpisodeSpec], begun: bool, out: TextIO) -> None:
    """One short call of each model. What will not pass, and a server that is not there for a run that has not begun,
    end the command; anything else is said, since episodes are tried again.
    """
    for spec in preflight.reached(spec for spec in left if agents.asks(spec.agent)).values():
        try:
            tell(preflight.trial(spec.model, spec.base_url, spec.sampling).line, out)
        except ModelError as error:
            if error.lasting:
                raise UsageError(f"{error} Nothing was run.") from error
            if not error.reached and not begun:
                raise
            tell(f"{error} The run starts all the same: its episodes are tried again.")


def launched(asked: Grid) -> Launcher | None:
    """What the grid names; None for this process, which `live.run` sees to."""
    if asked.launcher == "threads" and not asked.ray_address:
        return None
    say: Say = lambda spec, note: tell(f"{spec.task} {method(spec)} {spec.seed}: {note}")  # noqa: E731
    return launcher(asked.launcher, asked.concurrent, address=asked.ray_address, say=say)


def _prepare(specs: Sequence[EpisodeSpec]) -> None:
    """Make what the tasks need, since what they are made from stands in the lock."""
    tasks = {spec.task: spec for spec in specs}
    for name, spec in tasks.items():
        try:
            prepare(load_task(name), say=tell, python=spec.python)
        except SourceError:
            if len(tasks) == 1:
                raise  # of several, those that can be had are run, and the others named then
