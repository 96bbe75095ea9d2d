"""What the agents without a language model share: the baseline's numbers read, changed at random, tried and scored."""

import ast
import math
import random
import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from mlgym.agents.commands import shell, write
from mlgym.agents.numerals import Number, Numeral, numerals, replaced, written
from mlgym.records import Action, Brief, Observation

_RESERVE = 3  # steps kept for restoring the best, submitting, and one to spare


@dataclass
class Trials:
    """The baseline's `files`, where its numbers lie (`places`) and what they are (`start`), and the last observation.

    `lying` are the numbers in the workspace's submission, None while it is as it was found; `dearest` are the command
    seconds of the trial that took most.
    """

    files: dict[str, str]
    places: dict[str, list[Numeral]]
    start: list[Number]
    seen: Observation
    lying: Sequence[Number] | None = None
    dearest: float = 0.0

    def time_left(self) -> bool:
        """Whether steps and seconds are left for one more trial and the end."""
        seen = self.seen
        steps = seen.steps_left is None or seen.steps_left >= 2 + _RESERVE
        return steps and (seen.seconds_left is None or seen.seconds_left > 3 * self.dearest)

    def propose(self, values: Sequence[Number], rng: random.Random) -> list[Number]:
        """New values near `values`."""
        return propose([place for found in self.places.values() for place in found], values, rng)

    def command(self, brief: Brief, values: Sequence[Number]) -> str:
        """The command that writes the files that have numbers, with `values` in them, and runs the baseline."""
        changed, taken = {}, 0
        for path, found in self.places.items():
            if found:
                changed[path] = replaced(self.files[path], found, values[taken : taken + len(found)])
            taken += len(found)
        return write(changed, brief.baseline["command"])

    def difference(self, values: Sequence[Number]) -> str:
        """What `values` change, in words."""
        changes = [f"{written(a)} -> {written(b)}" for a, b in zip(self.start, values, strict=True) if a != b]
        return ", ".join(changes) or "the starter's numbers"


def read(brief: Brief) -> Generator[Action, Observation, Trials]:
    """Read the baseline's files, a step each."""
    files: dict[str, str] = {}
    seen = Observation(text="")
    for path in brief.baseline["files"]:
        seen = yield shell(brief, f"cat {shlex.quote(path)}", "Read the baseline.")
        files[path] = _source(seen.text)
    places = {path: numerals(text) for path, text in files.items()}
    return Trials(files, places, [place.value for found in places.values() for place in found], seen)


def tried(trials: Trials, brief: Brief, values: Sequence[Number], number: int) -> Generator[Action, Observation, float]:
    """Write the files with `values`, run the baseline's command and, if that went well, validate; the score or NaN."""
    before = trials.seen.seconds_left
    thought = f"Trial {number}: {trials.difference(values)}."
    trials.seen = yield shell(brief, trials.command(brief, values), thought)
    if trials.seen.status == "ok":
        trials.seen = yield Action(tool="validate")
    if before is not None and trials.seen.seconds_left is not None:
        trials.dearest = max(trials.dearest, before - trials.seen.seconds_left)
    trials.lying = values
    return (trials.seen.validation or {}).get(brief.metric, math.nan)


def propose(places: Sequence[Numeral], values: Sequence[Number], rng: random.Random) -> list[Number]:
    """New values near `values`: at least one number moves, mostly about half of them."""
    chosen = {rng.randrange(len(values))}
    if rng.random() < 0.8:
        chosen |= {index for index in range(len(values)) if rng.random() < 0.5}
    return [
        _moved(place, value, rng) if index in chosen else value
        for index, (place, value) in enumerate(zip(places, values, strict=True))
    ]


def _moved(place: Numeral, value: Number, rng: random.Random) -> Number:
    """Thresholds and shares move within 0 and 1, by a step or anywhere; other numbers by a factor."""
    share = isinstance(value, float) and 0 <= value <= 1
    if share and (place.threshold or rng.random() < 0.6):
        # Reaching beyond 0 and 1 makes the ends themselves likely, where the best often lies.
        return min(1.0, max(0.0, rng.uniform(-0.3, 1.3) if rng.random() < 0.5 else value + rng.gauss(0, 0.2)))
    factor = math.exp(rng.gauss(0, rng.choice((0.3, 1.0, 2.0))))
    if isinstance(value, int):
        low = 1 if place.value > 0 else place.value
        moved = max(low, round(value * factor))
        return moved if moved != value else max(low, value + rng.choice((-1, 1)))
    return value * factor if value else rng.gauss(0, 0.1)


def _source(text: str) -> str:
    """The file's text in what `cat` printed; lines that the tools may have put at its end are left off."""
    lines = text.splitlines(keepends=True)
    for kept in range(len(lines), max(0, len(lines) - 5), -1):
        try:
            ast.parse("".join(lines[:kept]))
        except (SyntaxError, ValueError):
            continue
        return "".join(lines[:kept])
    return text
