"""The tables that a run comes to, as plain values: what `mlgym pack` keeps and `mlgym verify` computes again."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from mlgym import metrics
from mlgym.errors import UsageError
from mlgym.runs import open_run

SEED = 0  # of the intervals
Cell = tuple[str, str]


def totals(run: Path) -> dict[str, Any]:
    """Each episode's scores, each cell's best and mean, each method's progress and AUP; None where there is none."""
    columns = open_run(run).columns()
    wanted: tuple[str, ...] = (
        "task",
        "method",
        "seed",
        "ended",
        "scored",
        "metric",
        "direction",
        "baseline_test",
        "best_attempt",
    )
    wanted += ("best_submission", "selected", "progress", "steps", "attempts", "protocol", "marks")
    rows = [
        {name: _plain(columns[name][place]) for name in wanted}
        for place in sorted(range(len(columns["task"])), key=lambda at: _key(columns, at))
    ]
    scored = [row for row in rows if row["scored"] and row["direction"]]
    return {"episodes": rows, "cells": _cells(scored), "progress": _progress(scored), "aup": _aup(scored)}


def _key(columns: Any, at: int) -> tuple[str, str, int]:
    return str(columns["task"][at]), str(columns["method"][at]), int(columns["seed"][at])


def _plain(value: Any) -> Any:
    """A value of an array as JSON has it."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _by_cell(rows: list[dict[str, Any]], column: str) -> dict[Cell, list[float]]:
    found: dict[Cell, list[float]] = defaultdict(list)
    for row in rows:
        found[row["method"], row["task"]].append(math.nan if row[column] is None else row[column])
    return found


def _cells(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    directions = {row["task"]: row["direction"] for row in rows}
    attempts, submissions = (_by_cell(rows, name) for name in ("best_attempt", "best_submission"))
    return [
        {
            "task": task,
            "method": method,
            "runs": len(attempts[method, task]),
            "best_attempt": _plain(metrics.best_at_k(attempts[method, task], directions[task])),
            "best_submission": _plain(metrics.best_at_k(submissions[method, task], directions[task])),
            "mean_submission": _plain(metrics.mean_at_k(submissions[method, task])),
        }
        for method, task in attempts
    ]


def _progress(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_method: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["progress"] is not None:
            by_method[row["method"]][row["task"]].append(row["progress"])
    found = []
    for method, by_task in sorted(by_method.items()):
        values = [value for each in by_task.values() for value in each]
        low, high = metrics.bootstrap(by_task, metrics.iqm, SEED)
        told = {"iqm": metrics.iqm(values), "low": low, "high": high, "mean": metrics.mean(values)}
        found.append({"method": method, "runs": len(values), **{name: _plain(value) for name, value in told.items()}})
    return found


def _aup(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The area under performance profiles over the tasks that every method has, as the report has it."""
    there = {(row["method"], row["task"]) for row in rows}
    methods = {method for method, _ in there}
    shared = {task for _, task in there if all((method, task) in there for method in methods)}
    directions = {row["task"]: row["direction"] for row in rows}
    base = {row["task"]: math.nan if row["baseline_test"] is None else row["baseline_test"] for row in rows}
    if not shared:
        return None
    mine = [row for row in rows if row["task"] in shared]
    tables = [metrics.best_table(_by_cell(mine, name), directions) for name in ("best_attempt", "best_submission")]
    try:
        found = metrics.aup_table(tables[0], tables[1], directions, base)
    except (UsageError, ValueError, ArithmeticError):
        return None
    return {
        "tau_max": found.tau_max,
        "methods": {
            method: [_plain(found.best_attempt[place]), _plain(found.best_submission[place])]
            for place, method in enumerate(found.methods)
        },
    }
