"""A recorded run of the original as it lies on disk: its name, `TASK.traj` and `results.json`."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgym.importers.reading import Unreadable, table

TRAJ_MB, RESULTS_MB = 64, 8
STEPS, MESSAGES, SCORES, METRICS = 10_000, 30_000, 10_000, 50  # at most in a record
LONGEST = 1_000_000  # characters of one text
NAME = re.compile(
    r"(?P<before>.+)__(?P<task>\w+?)__(?P<config>[^/]+?)"
    r"__t-(?P<t>\d+\.\d+)__p-(?P<p>\d+\.\d+)__c-(?P<c>\d+\.\d+)__(?P<after>.+)_run_(?P<run>\d{1,6})"
)
Metrics = dict[str, float]


@dataclass(frozen=True)
class Name:
    """What a recorded run's folder says by its name."""

    model: str
    task: str
    config: str
    temperature: float
    top_p: float
    money: float
    run: int


@dataclass(frozen=True)
class Move:
    """A recorded step: the state is that before the action."""

    action: str
    observation: str
    response: str
    thought: str
    seconds: float
    file: str
    directory: str


@dataclass(frozen=True)
class Recorded:
    """A recorded run. `scores` are of each evaluation that gave metrics, in time order; `stated` are the same scores
    as the trajectory has them; `exit` is None where there is no trajectory.
    """

    folder: str
    name: Name
    moves: list[Move]
    messages: list[tuple[str, str]]
    exit: str | None
    scores: list[Metrics]
    stated: list[Metrics] | None
    baseline: Metrics
    money: float | None
    tokens_in: int
    tokens_out: int
    calls: int


def named(folder: str) -> Name | None:
    """The parts of a recorded run's folder name; None for another folder."""
    found = NAME.fullmatch(folder)
    if not found:
        return None
    model = found["before"].partition("-")[2] or found["before"]  # what stands before the first hyphen says who ran it
    temperature, top_p, money = (float(found[key]) for key in ("t", "p", "c"))
    return Name(model, found["task"], found["config"], temperature, top_p, money, int(found["run"]))


def read(folder: Path, name: Name) -> Recorded:
    """The run recorded in a folder; raises Unreadable where there is none or it is damaged."""
    told = table(folder / f"{name.task}.traj", TRAJ_MB)
    results = table(folder / "results.json", RESULTS_MB)
    if told is None and results is None:
        raise Unreadable(f"has neither {name.task}.traj nor results.json")
    told = told or {}
    info = _dict(told, "info")
    stated = _scores(info.get("score")) if told else None
    stats = _dict(info, "model_stats")
    return Recorded(
        folder=folder.name,
        name=name,
        moves=[_move(step) for step in _list(told.get("trajectory"), STEPS, "trajectory")],
        messages=[_message(each) for each in _list(told.get("history"), MESSAGES, "history")],
        exit=_text(info.get("exit_status")) if told else None,
        scores=_scores(results.get("agent")) if results is not None else stated or [],
        stated=stated if results is not None else None,
        baseline=_metrics((results or {}).get("baseline") or {}),
        money=_number(stats.get("total_cost")),
        tokens_in=_count(stats.get("tokens_sent")),
        tokens_out=_count(stats.get("tokens_received")),
        calls=_count(stats.get("api_calls")),
    )


def _move(step: Any) -> Move:
    if not isinstance(step, dict):
        raise Unreadable("has a step that is no JSON object")
    state = _state(step.get("state"))
    return Move(
        action=_text(step.get("action")),
        observation=_text(step.get("observation")),
        response=_text(step.get("response")),
        thought=_text(step.get("thought")),
        seconds=_number(step.get("execution_time")) or 0.0,
        file=_text(state.get("open_file")),
        directory=_text(state.get("working_dir")),
    )


def _state(text: Any) -> dict[str, Any]:
    """The state is JSON in a text; one that cannot be read says nothing."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _message(message: Any) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise Unreadable("has a message that is no JSON object")
    role = message.get("role")
    return role if role in ("system", "assistant", "tool") else "user", _text(message.get("content"))


def _scores(found: Any) -> list[Metrics]:
    return [_metrics(each) for each in _list(found, SCORES, "list of scores")]


def _metrics(found: Any) -> Metrics:
    if not isinstance(found, dict) or len(found) > METRICS:
        raise Unreadable(f"has scores that are not a table of at most {METRICS} numbers")
    numbers = {}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unreadable(f"has the score {str(name)[:40]!a}, which is no number")
        numbers[_text(name)[:80]] = _float(value)
    return numbers


def _list(found: Any, most: int, what: str) -> list[Any]:
    if found is None:
        return []
    if not isinstance(found, list):
        raise Unreadable(f"has a {what} that is no list")
    if len(found) > most:
        raise Unreadable(f"has a {what} of {len(found)} entries, and at most {most} are read")
    return found


def _dict(found: dict[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    if value is not None and not isinstance(value, dict):
        raise Unreadable(f"has an entry {name} that is no JSON object")
    return value or {}


def _text(value: Any) -> str:
    """A text, both ends of a very long one; anything else is none."""
    if not isinstance(value, str):
        return ""
    if len(value) <= LONGEST:
        return value
    half = LONGEST // 2
    return f"{value[:half]}\n({len(value) - 2 * half} characters left out by the import)\n{value[-half:]}"


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _number(value: Any) -> float | None:
    """A finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = _float(value)
    return number if math.isfinite(number) and number >= 0 else None


def _count(value: Any) -> int:
    return int(min(_number(value) or 0, 2**53))
