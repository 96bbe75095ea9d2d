"""What a grid would do, cost and lack, told before anything is started (`mlgym run --dry-run`)."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlgym import agents, models, outside
from mlgym.allocator import Allocator
from mlgym.cast import papers_for
from mlgym.columns import Columns
from mlgym.episode import want
from mlgym.errors import MlgymError, UsageError
from mlgym.grading.prepare import LARGE_MB, ready
from mlgym.models.endpoint import endpoint, priced, providers, served
from mlgym.models.prices import FREE, Price, not_kept
from mlgym.names import PROGRAM, split
from mlgym.protocol import FROM_DATA, agree, read_lock
from mlgym.records import EpisodeSpec
from mlgym.rows import label
from mlgym.runs import open_run
from mlgym.store import episode_folder
from mlgym.task import Task, load_task

CLOCKS = ("command_s", "model_s", "grader_s")


@dataclass(frozen=True)
class Cell:
    """A method on a task: episodes that are done and left, how many recorded ones tell of them, and what one of those
    took on the average; None where it is not known. `most` is the limit in dollars of one.
    """

    method: str
    task: str
    done: int
    left: int
    told_by: int
    money: float | None
    seconds: float | None
    most: float | None


def cells(specs: Iterable[EpisodeSpec], run: Path, recorded: Iterable[Path]) -> list[Cell]:
    """Each method on each task, in the order of the specs, with what recorded episodes tell of it."""
    known = list(_known([run, *recorded]))
    grouped: dict[tuple[str, str], list[EpisodeSpec]] = {}
    for spec in specs:
        named = label({key: getattr(spec, key) for key in ("agent", "model", "sampling", "source")})
        grouped.setdefault((named, Path(spec.task).name), []).append(spec)
    found = []
    for (way, task), each in grouped.items():
        done = sum((episode_folder(run, spec) / "result.json").exists() for spec in each)
        count, money, seconds = _like(known, way, each[0].model, task)
        price = _price(each[0])
        most = None if price is None else 0.0 if price.free else each[0].limits.money
        spent = 0.0 if price is not None and price.free else money
        found.append(Cell(way, task, done, len(each) - done, count, spent, seconds, most))
    return found


def _price(spec: EpisodeSpec) -> Price | None:
    """What the tokens of an episode cost; nothing without a model, None where it is unknown."""
    return priced(spec.model, spec.base_url) if served(spec.model) else None if spec.model else FREE


def runs_in(folders: Iterable[Path]) -> Iterator[Path]:
    """The folders of runs among these and right below them, each once."""
    seen = set()
    for folder in folders:
        for place in (folder, *(sorted(folder.iterdir()) if folder.is_dir() else ())):
            if place.resolve() not in seen and next(place.glob("*/*/*/spec.json"), None):
                seen.add(place.resolve())
                yield place


def unprepared(tasks: Iterable[Task], python: str = "") -> list[str]:
    """A sentence for each task whose data or packages are not here yet."""
    lines = []
    for task in tasks:
        if ready(task, python) is None:
            size = sum(source.mb or 0 for source in task.sources)
            fetch = f" ({size:,.0f} MB to fetch)" if size else ""
            itself = ", or the run itself" if size <= LARGE_MB else ""
            name = task.name if task.reference == task.name else task.reference
            lines.append(f"{task.name} is not prepared{fetch}: `mlgym prepare {name}` does it{itself}.")
    return lines


def lacking(specs: Iterable[EpisodeSpec]) -> list[str]:
    """A sentence for each agent or model that could not be started: unknown, without its model, without a key; and for
    what names no literature.
    """
    found: dict[str, None] = {}
    seen = set()
    for spec in specs:
        key = (spec.agent, spec.model, spec.base_url, spec.papers, tuple(sorted(map(str, spec.sampling.items()))))
        if key not in seen:
            seen.add(key)
            try:
                _startable(spec)
            except MlgymError as error:
                found[str(error)] = None
    return list(found)


def unpriced(specs: Iterable[EpisodeSpec], money: float | None = None) -> list[str]:
    """A sentence for each model of unknown price: no limit in dollars, such as `money` of the run, holds for it."""
    named = {(spec.model, spec.base_url): spec for spec in specs if served(spec.model)}
    unknown = {name: spec for (name, url), spec in named.items() if priced(name, url) is None}
    if money is not None:
        return [not_kept(money, name) for name in unknown]
    return [
        f"The price of {name} is unknown: its dollars are neither counted nor limited, its tokens are "
        f"({spec.limits.tokens:,} an episode)."
        for name, spec in unknown.items()
        if spec.limits.tokens
    ]


def impossible(specs: Iterable[EpisodeSpec], allocator: Allocator) -> list[str]:
    """A sentence for each task that asks for more than this machine has."""
    first = {spec.task: spec for spec in reversed(list(specs))}
    why = {spec.task: allocator.impossible(want(spec)) for spec in first.values()}
    return [f"{load_task(name).name} would not be run here: {said}" for name, said in why.items() if said]


def told(
    specs: Sequence[EpisodeSpec],
    run: Path,
    lock: Mapping[str, Any],
    *,
    recorded: Iterable[Path],
    concurrent: int | None,
    money: float | None,
    allocator: Allocator | None,
) -> list[str]:
    """The whole forecast as lines of text; without an `allocator` the run is elsewhere, and takes what fits there."""
    table = cells(specs, run, runs_in(recorded))
    parts = lock["task_protocol"]["tasks"]
    tasks = {name: load_task(name) for name in dict.fromkeys(spec.task for spec in specs)}
    left = [spec for spec in specs if not (episode_folder(run, spec) / "result.json").exists()]
    seeds = {spec.seed for spec in specs}
    counts = (len(tasks), "task"), (len({cell.method for cell in table}), "method"), (len(seeds), "seed")
    grid = " x ".join(_many(count, what) for count, what in counts)
    lines = [
        f"{grid} = {_many(len(specs), 'episode')} in {run}: {len(specs) - len(left)} done, {len(left)} to run.",
        f"Task protocol {lock['task_protocol']['hash']}, method {lock['method']['hash']}.",
        "",
        *_aligned(
            [("task", "version", "protocol"), *((name, str(p["version"]), p["hash"]) for name, p in parts.items())]
        ),
        "",
        *_aligned([("method", "task", "done", "to run", "dollars", "hours", "told by"), *map(_row, table)]),
        "",
        *_sums(table, concurrent, money),
    ]
    fetch = unprepared(tasks.values(), specs[0].python if specs else "")
    differs = agree(read_lock(run), lock, FROM_DATA if fetch else ())
    missing = [f"{run} holds episodes of another task protocol: {'; '.join(differs)}."] if differs else []
    missing += [
        *lacking(left),
        *fetch,
        *unpriced(specs, money),
        *(impossible(left, allocator) if allocator else []),
    ]
    return [*lines, *missing, "Nothing was started."]


def _startable(spec: EpisodeSpec) -> None:
    """Raise MlgymError where the agent or its model could not be started, or its literature is not there."""
    papers_for(spec)
    name = split(spec.agent)[0]
    if name == PROGRAM:
        outside.ready(spec)
    elif name not in ("oracle", "replay"):  # what these are given only the episode has
        agents.load(spec.agent)
    if split(agents.core(spec.agent))[0] == "react" and not spec.model:
        raise UsageError("The agent react needs a language model: name one with -m provider/model.")
    provider, _, rest = spec.model.partition("/")
    if provider in providers() and rest:
        endpoint(spec.model, spec.base_url).key()
    elif spec.model:
        models.load(spec.model, base_url=spec.base_url, sampling=spec.sampling)


def _known(folders: Iterable[Path]) -> Iterator[Columns]:
    """The ended and scored episodes of runs; a folder without any is left out."""
    for folder in dict.fromkeys(path.resolve() for path in folders):
        if next(folder.glob("*/*/*/result.json"), None):
            columns = open_run(folder).columns()
            kept = columns["scored"].astype(bool)
            yield {name: column[kept] for name, column in columns.items()}


def _like(known: Sequence[Columns], way: str, model: str, task: str) -> tuple[int, float | None, float | None]:
    """How many episodes of this method on this task are recorded, else of its model, and their means."""
    for key, value in (("method", way), ("model", model)):
        rows = [(of["task"] == task) & (of[key] == value) for of in known if value]
        money = np.concatenate([of["money"][at] for of, at in zip(known, rows, strict=False)] or [np.empty(0)])
        taken = [sum(of[clock][at] for clock in CLOCKS) for of, at in zip(known, rows, strict=False)]
        seconds = np.concatenate(taken or [np.empty(0)])
        if seconds.size:
            return seconds.size, _mean(money), _mean(seconds)
    return 0, None, None


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    plain = values[np.isfinite(values)]
    return float(plain.mean()) if plain.size else None


def _row(cell: Cell) -> tuple[str, ...]:
    left = cell.left
    money = "unknown" if cell.money is None else f"{cell.money * left:.2f}"
    hours = "unknown" if cell.seconds is None else f"{cell.seconds * left / 3600:.3f}"
    by = f"{cell.told_by} recorded" if cell.told_by else "none"
    return cell.method, cell.task, str(cell.done), str(left), money, hours, by


def _sums(table: Sequence[Cell], concurrent: int | None, money: float | None) -> Iterator[str]:
    """Dollars and hours of all that is left, as far as they are known, and what bounds them."""
    left = sum(cell.left for cell in table)
    dollars = _sum("{:.2f} dollars", left, [(cell.money, cell.left) for cell in table])
    hours = [(None if cell.seconds is None else cell.seconds / 3600, cell.left) for cell in table]
    at_once = f"{concurrent} at once" if concurrent else "as many at once as there is room for"
    yield f"Expected: {dollars}; {_sum('{:.3f} hours of episodes', left, hours)}, {at_once}."
    most = math.fsum(cell.left * (cell.most or 0) for cell in table)
    if most and all(cell.most is not None for cell in table):
        yield f"Their limits stop the episodes at {most:.2f} dollars together, each after the call that reaches it."
    if money is not None:
        yield f"The run stops at {money:.2f} dollars."


def _sum(form: str, left: int, parts: Sequence[tuple[float | None, int]]) -> str:
    """What the episodes take together, and of how many that is not known."""
    dark = sum(count for value, count in parts if value is None)
    told = form.format(math.fsum(value * count for value, count in parts if value is not None))
    what = form.partition(" ")[2]
    return f"{what} unknown" if dark and dark == left else f"{told} and those of {dark} more, unknown" if dark else told


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
