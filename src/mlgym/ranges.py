"""Names of very many tasks, counted and not listed: ranges of made tasks beside plain names and suites."""

import bisect
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlgym.errors import UsageError
from mlgym.made import task_id
from mlgym.task import suites

NUMBER = r"(\d(?:\.\d+)?)"
RANGE = re.compile(rf"(.+)-s(\d+)(?:\.\.(\d+))?-d{NUMBER}(?:\.\.{NUMBER}(?:\.\.{NUMBER})?)?")


class Names(Sequence[str]):
    """The names of tasks, of suites, and of made tasks by ranges: `tabular-s0..99-d0.1..0.9` are 900 tasks, seed by
    seed, `tabular-s0..99-d0.2..0.8..0.3` are 300. They are counted, not listed. Raises UsageError.
    """

    def __init__(self, given: Sequence[str]) -> None:
        known = suites()
        plain = [name for each in given for name in (known[each].tasks if each in known else (each,))]
        self._parts = [_part(name) for name in dict.fromkeys(plain)]
        for one, other in itertools.combinations((part for part in self._parts if isinstance(part, _Range)), 2):
            if one.meets(other):
                raise UsageError(f"'{one.text}' and '{other.text}' name the same tasks: let their ranges not meet.")
        self._ends = list(itertools.accumulate(map(len, self._parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        number = bisect.bisect_right(self._ends, place)
        return self._parts[number][place - (self._ends[number - 1] if number else 0)]

    @property
    def first(self) -> list[str]:
        """One task of each that was named."""
        return [part[0] for part in self._parts]


class _Range(Sequence[str]):
    def __init__(self, text: str, family: str, seeds: range, difficulties: tuple[float, ...]) -> None:
        self.text, self.family, self.seeds, self.difficulties = text, family, seeds, difficulties

    def __len__(self) -> int:
        return len(self.seeds) * len(self.difficulties)

    def __getitem__(self, place: Any) -> Any:
        seed, difficulty = divmod(place, len(self.difficulties))
        return task_id(self.family, self.seeds[seed], self.difficulties[difficulty])

    def meets(self, other: "_Range") -> bool:
        """Whether both have a task in common."""
        low, high = max(self.seeds[0], other.seeds[0]), min(self.seeds[-1], other.seeds[-1])
        return self.family == other.family and low <= high and bool({*self.difficulties} & {*other.difficulties})


def _part(name: str) -> Sequence[str]:
    if ".." not in Path(name).name:
        return (name,)
    found = RANGE.fullmatch(name)
    if found is None:
        raise UsageError(f"A range of made tasks is written as tabular-s0..99-d0.1..0.9, not '{name}'.")
    family, first, last, low, high, step = found.groups()
    easy, hard, by = float(low), float(high or low), float(step or 0.1)
    seeds = range(int(first), int(last or first) + 1)
    if not seeds or hard < easy or by < 0.001:
        raise UsageError(f"'{name}' is empty: its ranges go from the smaller to the larger, in steps of 0.001 or more.")
    count = int((hard - easy) / by + 1e-6) + 1
    made = _Range(name, family, seeds, tuple(round(easy + number * by, 3) for number in range(count)))
    made[len(made) - 1]  # of seeds and difficulties that there are, before anything runs
    return made
