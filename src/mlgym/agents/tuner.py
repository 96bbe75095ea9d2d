"""The agent without a language model: a seeded random search over the numbers in the workspace's baseline."""

import math
import random

from mlgym.agents import Flow
from mlgym.agents.commands import shell
from mlgym.agents.trials import read, tried
from mlgym.models import Model
from mlgym.records import Action, Brief, better

_RESTART = 0.15


def tuner(brief: Brief, model: Model | None, *, trials: int = 20) -> Flow:
    """Search, at most `trials` times, for better numbers in the baseline's files; submit the best by validation.

    Each trial writes the files, runs the baseline's command and, if that went well, validates; a trial that breaks
    counts as worse.
    """
    state = yield from read(brief)
    best, score = state.start, brief.baseline["scores"].get(brief.metric, math.nan)
    if math.isnan(score):
        yield shell(brief, brief.baseline["command"] or "true", "Measure the starter, which has no recorded score.")
        state.seen = yield Action(tool="validate")
        score, state.lying = (state.seen.validation or {}).get(brief.metric, math.nan), state.start
    rng = random.Random(brief.seed)
    for trial in range(trials if state.places else 0):
        if not state.time_left():
            break
        values = state.propose(state.start if rng.random() < _RESTART else best, rng)
        got = yield from tried(state, brief, values, trial + 1)
        if better(got, score, brief.direction) or (math.isnan(score) and not math.isnan(got)):
            best, score = values, got
    if state.lying != best and (state.lying is not None or brief.baseline["command"]):
        yield shell(brief, state.command(brief, best), f"Restore the best: {state.difference(best)}.")
    yield Action(tool="submit", thought=f"Submit the best by validation, {brief.metric} {score:.4g}.")
