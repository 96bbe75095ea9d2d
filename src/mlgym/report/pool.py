"""Which episodes may share a table: those whose tasks were run under one protocol, unless mixing them was asked for."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlgym.errors import UsageError
from mlgym.rows import label
from mlgym.runs import Run, open_run

Columns = dict[str, np.ndarray[Any, Any]]
Planned = dict[tuple[str, str], set[int]]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNKNOWN = "unknown"
CONTROLS = ("oracle", "tuner", "random", "nop", "baseline")


@dataclass(frozen=True)
class Pool:
    """Episodes that may share a table. `letter` names their protocol, `hashes` are what stands behind it, by task.

    `facts` have what the runs recorded of each task's protocol, `planned` the seeds that their grids asked for. Where
    protocols are mixed there is one pool, whose `protocol` has a letter for each method.
    """

    letter: str
    hashes: dict[str, str]
    episodes: Columns
    attempts: Columns
    steps: Columns
    protocol: dict[str, str]
    mixed: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    planned: Planned = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """All runs, column by column, and a line for each thing that could not be read."""

    names: tuple[str, ...]
    episodes: Columns
    attempts: Columns
    steps: Columns
    problems: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    planned: Planned = field(default_factory=dict)


def load(paths: Sequence[Path], without: Iterable[str] = ()) -> Loaded:
    """The columns of these runs one after the other, without the methods that are left out.

    Raises UsageError where a folder holds no episode, or a method to leave out is in none of them.
    """
    runs = [open_run(path) for path in {path.resolve(): path for path in paths}.values()]
    names = _distinct([run.name for run in runs])
    parts = [run.tables() for run in runs]
    found: dict[str, Columns] = {}
    out = sorted(set(without))
    for kind in ("episodes", "attempts", "steps"):
        for name, part in zip(names, parts, strict=True):
            part[kind]["run"] = np.full(len(part[kind]["run"]), name, dtype=object)
        found[kind] = {key: np.concatenate([_plain(part[kind][key]) for part in parts]) for key in parts[0][kind]}
    if unknown := [name for name in out if name not in set(found["episodes"]["method"])]:
        known = ", ".join(sorted(set(found["episodes"]["method"])))
        raise UsageError(f"There is no method '{unknown[0]}' in these runs to leave out; there are: {known}.")
    if out:
        found = {kind: _where(one, ~np.isin(one["method"].astype(str), out)) for kind, one in found.items()}
    if not len(found["episodes"]["task"]):
        raise UsageError("No episode is left to report: fewer methods must be left out.")
    problems = [line for run in runs for line in run.problems]
    return Loaded(
        names, found["episodes"], found["attempts"], found["steps"], tuple(problems), _facts(runs), planned(runs, names)
    )


def pools(loaded: Loaded, mixed: bool = False) -> list[Pool]:
    """One pool for each protocol, the largest first; with `mixed` all in one, each method marked with its protocol.

    A run's tasks stay together; runs share a pool when the tasks that both have were run under the same protocol.
    """
    keys = _keys(loaded.episodes)
    places, hashes = _assigned(loaded.episodes, keys)
    order = [number for number, _ in sorted(enumerate(np.bincount(places)), key=lambda pair: (-pair[1], pair[0]))]
    letters = {number: _letter(rank) for rank, number in enumerate(order)}
    of = _episode_places(loaded.episodes, places)
    if mixed and len(order) > 1:
        return [_mixed(loaded, of, letters, hashes)]
    parts = []
    for number in order:
        one = [loaded.episodes, loaded.attempts, loaded.steps]
        if len(order) > 1:
            one = [_where(columns, _places(columns, of) == number) for columns in one]
        named = dict.fromkeys(map(str, one[0]["method"]), letters[number])
        facts = {task: loaded.facts[key] for task, key in hashes[number].items() if key in loaded.facts}
        parts.append(Pool(letters[number], hashes[number], one[0], one[1], one[2], named, False, facts, loaded.planned))
    return parts


def kind_of(agent: str, model: str) -> str:
    """`control` for the agents that are there to be beaten, else what is compared: `model` or `agent`."""
    if not model and agent.partition("?")[0] in CONTROLS:
        return "control"
    return "model" if model else "agent"


def _mixed(
    loaded: Loaded, of: dict[tuple[str, ...], int], letters: dict[int, str], hashes: list[dict[str, str]]
) -> Pool:
    """All in one; the method's name ends with the letter of its protocol, so that seeds of two are never pooled."""
    marked: list[Columns] = []
    protocol: dict[str, str] = {}
    for columns in (loaded.episodes, loaded.attempts, loaded.steps):
        letter = [letters[place] for place in _places(columns, of)]
        method = np.array([f"{m} · {x}" for m, x in zip(columns["method"], letter, strict=True)], dtype=object)
        protocol.update(zip(method, letter, strict=True))
        marked.append({**columns, "method": method})
    together = {f"{task} ({letters[n]})": key for n, one in enumerate(hashes) for task, key in one.items()}
    facts = {task: loaded.facts[key] for task, key in together.items() if key in loaded.facts}
    all_letters = "+".join(sorted(letters.values()))
    return Pool(all_letters, together, marked[0], marked[1], marked[2], protocol, True, facts, loaded.planned)


def _facts(runs: Iterable[Run]) -> dict[str, Any]:
    """What the runs' locks say of each task, by the hash of it; a lock of another form says nothing."""
    found: dict[str, Any] = {}
    for run in runs:
        part = run.protocol.get("task_protocol")
        tasks = part.get("tasks") if isinstance(part, dict) else None
        for facts in tasks.values() if isinstance(tasks, dict) else ():
            if isinstance(facts, dict) and isinstance(facts.get("hash"), str):
                found[facts["hash"]] = facts
    return found


def planned(runs: Iterable[Run], names: Iterable[str]) -> Planned:
    """The seeds that the grids of the runs asked for, by run and method; a run without `run.json` says nothing."""
    found: Planned = {}
    for run, name in zip(runs, names, strict=True):
        try:
            content = json.loads((run.path / "run.json").read_bytes())
            for grid in (content["grid"], *(one["grid"] for one in content.get("earlier", ()))):
                for agent in grid["agents"]:
                    found.setdefault((name, label(agent)), set()).update(map(int, grid["seeds"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # what it says beside is lost; what was recorded is not
    return found


def _keys(episodes: Columns) -> list[str]:
    """The protocol of each episode; where none is recorded, what else is known of it."""
    known = zip(episodes["protocol"], episodes["feedback"], episodes["isolation"], strict=True)
    return [str(key) or f"{UNKNOWN}, feedback={feedback}, isolation={isolation}" for key, feedback, isolation in known]


def _assigned(episodes: Columns, keys: list[str]) -> tuple[list[int], list[dict[str, str]]]:
    """For each episode the number of its pool, and for each pool the protocol of each task."""
    variants: dict[tuple[str, str], list[str]] = {}
    units: dict[tuple[str, int], dict[str, str]] = {}
    where: list[tuple[str, int]] = []
    for run, task, key in zip(episodes["run"], episodes["task"], keys, strict=True):
        seen = variants.setdefault((run, task), [])
        if key not in seen:
            seen.append(key)
        unit = (run, seen.index(key))
        units.setdefault(unit, {})[task] = key
        where.append(unit)
    merged: list[dict[str, str]] = []
    number: dict[tuple[str, int], int] = {}
    for unit, tasks in units.items():
        fits = (n for n, one in enumerate(merged) if all(one.get(task, key) == key for task, key in tasks.items()))
        place = next(fits, len(merged))
        if place == len(merged):
            merged.append({})
        merged[place].update(tasks)
        number[unit] = place
    return [number[unit] for unit in where], merged


def _episode_places(episodes: Columns, places: list[int]) -> dict[tuple[str, ...], int]:
    return dict(zip(_names(episodes), places, strict=True))


def _names(columns: Columns) -> Iterable[tuple[str, ...]]:
    return zip(columns["run"], columns["task"], columns["method"], columns["seed"].tolist(), strict=True)


def _places(columns: Columns, of: dict[tuple[str, ...], int]) -> np.ndarray[Any, Any]:
    return np.fromiter((of.get(name, -1) for name in _names(columns)), dtype=int, count=len(columns["run"]))


def _where(columns: Columns, chosen: np.ndarray[Any, Any]) -> Columns:
    return {key: values[chosen] for key, values in columns.items()}


def _plain(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.astype(object) if values.dtype.kind in "US" else values


def _distinct(names: list[str]) -> tuple[str, ...]:
    """The names of the runs, with a number where two are alike."""
    return tuple(n if names.count(n) == 1 else f"{n} ({names[:i].count(n) + 1})" for i, n in enumerate(names))


def _letter(rank: int) -> str:
    return LETTERS[rank] if rank < len(LETTERS) else f"P{rank + 1}"
