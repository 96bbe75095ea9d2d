"""The agent without a language model: a seeded random search over the numbers in the workspace's baseline."""

import ast
import math
import random
import shlex
from collections.abc import Sequence

from mlgym.agents import Flow
from mlgym.agents.commands import shell, write
from mlgym.agents.numerals import Number, Numeral, numerals, replaced, written
from mlgym.models import Model
from mlgym.records import Action, Brief, Observation, better

_RESERVE = 3  # steps kept for restoring the best, submitting, and one to spare
_RESTART = 0.15


def tuner(brief: Brief, model: Model | None, *, trials: int = 20) -> Flow:
    """Search, at most `trials` times, for better numbers in the baseline's files; submit the best by validation.

    Each trial writes the files, runs the baseline's command and, if that went well, validates; a trial that breaks
    counts as worse.
    """
    files: dict[str, str] = {}
    seen = Observation(text="")
    for path in brief.baseline["files"]:
        seen = yield shell(brief, f"cat {shlex.quote(path)}", "Read the baseline.")
        files[path] = _source(seen.text)
    places = {path: numerals(text) for path, text in files.items()}
    start = [place.value for found in places.values() for place in found]
    best, score = start, brief.baseline["scores"].get(brief.metric, math.nan)
    written_last: Sequence[Number] | None = None  # the numbers of the submission that lies in the workspace
    dearest = 0.0
    if math.isnan(score):
        yield shell(brief, brief.baseline["command"] or "true", "Measure the starter, which has no recorded score.")
        seen = yield Action(tool="validate")
        score, written_last = (seen.validation or {}).get(brief.metric, math.nan), start
    rng = random.Random(brief.seed)
    flat = [place for found in places.values() for place in found]
    for trial in range(trials if start else 0):
        if not _time_left(seen, dearest):
            break
        values = propose(flat, start if rng.random() < _RESTART else best, rng)
        before = seen.seconds_left
        command = write(_changed(files, places, values), brief.baseline["command"])
        seen = yield shell(brief, command, f"Trial {trial + 1}: {_difference(start, values)}.")
        if seen.status == "ok":
            seen = yield Action(tool="validate")
        if before is not None and seen.seconds_left is not None:
            dearest = max(dearest, before - seen.seconds_left)
        written_last = values
        got = (seen.validation or {}).get(brief.metric, math.nan)
        if better(got, score, brief.direction) or (math.isnan(score) and not math.isnan(got)):
            best, score = values, got
    if written_last != best and (written_last is not None or brief.baseline["command"]):
        command = write(_changed(files, places, best), brief.baseline["command"])
        yield shell(brief, command, f"Restore the best: {_difference(start, best)}.")
    yield Action(tool="submit", thought=f"Submit the best by validation, {brief.metric} {score:.4g}.")


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


def _changed(files: dict[str, str], places: dict[str, list[Numeral]], values: Sequence[Number]) -> dict[str, str]:
    """The files that have numbers, with `values` in them."""
    changed, taken = {}, 0
    for path, found in places.items():
        if found:
            changed[path] = replaced(files[path], found, values[taken : taken + len(found)])
        taken += len(found)
    return changed


def _difference(start: Sequence[Number], values: Sequence[Number]) -> str:
    changes = [f"{written(a)} -> {written(b)}" for a, b in zip(start, values, strict=True) if a != b]
    return ", ".join(changes) or "the starter's numbers"


def _time_left(seen: Observation, dearest: float) -> bool:
    """Whether steps and seconds are left for one more trial and the end."""
    steps = seen.steps_left is None or seen.steps_left >= 2 + _RESERVE
    return steps and (seen.seconds_left is None or seen.seconds_left > 3 * dearest)
