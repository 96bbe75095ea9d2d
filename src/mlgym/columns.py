"""The columns of a run: their names and kinds, and tables that grow row by row into arrays."""

import math
from array import array
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]
Row = dict[str, Any]
TEXT, REAL, WHOLE, TRUTH = "text", "real", "whole", "truth"


def _kinds(text: str, real: str, whole: str, truth: str = "") -> dict[str, str]:
    named = ((text, TEXT), (real, REAL), (whole, WHOLE), (truth, TRUTH))
    return {name: kind for names, kind in named for name in names.split()}


COLUMNS = {
    "episodes": _kinds(
        "run task method agent model ended boundary why metric direction scale isolation backend feedback protocol "
        "folder marks",
        "baseline_validation baseline_test noise best_known best_attempt best_submission selected progress "
        "best_progress money command_s model_s grader_s cpu_s",
        "seed tokens_in tokens_out calls steps attempts",
        "scored",
    ),
    "attempts": _kinds(
        "run task method kind",
        "validation test progress validation_progress money seconds experiment_s",
        "seed n step",
        "valid fallback",
    ),
    "steps": _kinds(
        "run task method tool status hit",
        "command_s model_s grader_s reward validation money",
        "seed n",
    ),
}


class Table:
    """Columns that grow into arrays, numbers in eight bytes each, equal texts kept once."""

    def __init__(self, kinds: dict[str, str]) -> None:
        self._kinds = kinds
        empty: dict[str, Any] = {REAL: array("d"), WHOLE: array("q"), TEXT: [], TRUTH: []}
        self._columns = {name: copy(empty[kind]) for name, kind in kinds.items()}
        self._seen: dict[str, str] = {}

    def checked(self, rows: int, values: Row) -> Row:
        """So many rows as columns, from each column's list of values or the one value that all have.

        Raises ValueError, TypeError or OverflowError where a value is of a wrong kind.
        """
        out: Row = {}
        for name, kind in self._kinds.items():
            given = values[name]
            if type(given) is list:
                out[name] = self._listed(name, kind, rows, given)
            elif kind == REAL:
                out[name] = array("d", (math.nan if given is None else given,)) * rows
            else:
                out[name] = self._listed(name, kind, 1, [given]) * rows
        return out

    def add(self, checked: Row) -> None:
        """Append rows that were checked."""
        for name, column in checked.items():
            self._columns[name].extend(column)

    def columns(self) -> Columns:
        """The columns as arrays, numbers without a copy; the table is used up."""
        kinds = {TEXT: object, REAL: np.float64, WHOLE: np.int64, TRUTH: np.bool_}
        out: Columns = {}
        for name, kind in self._kinds.items():
            column = self._columns.pop(name)
            flat = isinstance(column, array) and len(column) > 0
            out[name] = np.frombuffer(column, kinds[kind]) if flat else np.array(column, dtype=kinds[kind])
        return out

    def _listed(self, name: str, kind: str, rows: int, given: list[Any]) -> Any:
        if len(given) != rows:
            raise ValueError(f"it has {len(given)} of {name} and {rows} rows")
        if kind == REAL:
            return array("d", [math.nan if value is None else value for value in given])
        if kind == WHOLE:
            return array("q", given)
        wanted = str if kind == TEXT else bool
        for value in given:
            if type(value) is not wanted:
                raise ValueError(f"its {name} is {value!r:.80}")
        return [self._seen.setdefault(value, value) for value in given] if kind == TEXT else given


def cells(columns: Columns, name: str) -> dict[tuple[str, str], NDArray[Any]]:
    """The values of a column for each (method, task) that has scored episodes, as `mlgym.metrics` takes them.

    Missing cells (`scored` False) are left out. Equal calls on several columns keep the runs in the same order.
    """
    places: dict[tuple[str, str], list[int]] = {}
    for i in np.flatnonzero(columns["scored"]).tolist():
        places.setdefault((columns["method"][i], columns["task"][i]), []).append(i)
    return {cell: columns[name][rows] for cell, rows in places.items()}


def of_task(columns: Columns, name: str) -> dict[str, Any]:
    """What a column says of each task, such as its direction or its baseline: the first value that is known."""
    column = columns[name]
    known = np.isfinite(column) if column.dtype.kind == "f" else column != ""
    out: dict[str, Any] = {}
    for task, value in zip(columns["task"][known].tolist(), column[known].tolist(), strict=True):
        out.setdefault(task, value)
    return out
