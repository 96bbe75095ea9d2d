"""The columns of a run: their names and kinds, and tables that grow row by row into arrays."""

import math
from array import array
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
        "baseline_validation baseline_test best_known best_attempt best_submission selected progress best_progress "
        "money command_s model_s grader_s cpu_s",
        "seed tokens_in tokens_out calls steps attempts",
        "scored",
    ),
    "attempts": _kinds(
        "run task method kind",
        "validation test progress validation_progress money seconds",
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
    """Columns that grow row by row, numbers in eight bytes each, equal texts kept once."""

    def __init__(self, kinds: dict[str, str]) -> None:
        self._kinds = kinds
        self._columns: dict[str, Any] = {
            name: array("d") if kind == REAL else array("q") if kind == WHOLE else list[Any]()
            for name, kind in kinds.items()
        }
        self._seen: dict[str, str] = {}

    def add(self, rows: list[Row]) -> None:
        """Append rows, all of them or, where one is of a wrong kind, none."""
        checked = [[self._checked(name, row[name]) for name in self._kinds] for row in rows]
        for values in checked:
            for column, value in zip(self._columns.values(), values, strict=True):
                column.append(value)

    def columns(self) -> Columns:
        """The columns as arrays."""
        kinds = {TEXT: object, REAL: np.float64, WHOLE: np.int64, TRUTH: np.bool_}
        return {name: np.array(self._columns[name], dtype=kinds[kind]) for name, kind in self._kinds.items()}

    def _checked(self, name: str, value: Any) -> Any:
        kind = self._kinds[name]
        if kind == REAL:
            return math.nan if value is None else float(value)
        if kind == TEXT and isinstance(value, str):
            return self._seen.setdefault(value, value)
        if (kind == WHOLE and isinstance(value, int) and abs(value) < 2**63) or (kind == TRUTH and value in (0, 1)):
            return value
        raise ValueError(f"its {name} is {value!r}")
