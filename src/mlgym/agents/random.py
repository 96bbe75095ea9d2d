"""The floor that a language model must beat at equal budget: changes of the baseline's numbers, drawn by chance."""

from random import Random

from mlgym.agents import Flow
from mlgym.agents.trials import measured, read, tried
from mlgym.models import Model
from mlgym.records import Action, Brief


def random(brief: Brief, model: Model | None, *, trials: int = 20, longest: float = 4.0) -> Flow:
    """Change the baseline's settings at random, at most `trials` times, validate each change, and submit the last.

    A trial is what a trial of `tuner` is, with as many steps, but each is drawn anew around the baseline's own numbers:
    no score that was seen decides anything. The last one is submitted because it is as much a random one as any, lies
    in the workspace already, and no score has chosen it. So the final submission shows what a change by chance is
    worth, and the best attempt what so many of them are.
    """
    state = yield from read(brief)
    yield from measured(state, brief, longest)
    rng = Random(brief.seed)
    for trial in range(trials if state.places else 0):
        if not state.time_left():
            break
        yield from tried(state, brief, state.propose(state.start, rng), trial + 1)
    yield Action(tool="submit", thought="Submit the last change, whatever its score.")
