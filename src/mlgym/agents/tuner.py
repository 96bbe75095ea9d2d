"""The agent without a language model: a seeded search over the settings of the workspace's baseline."""

import math

from mlgym.agents import Search
from mlgym.agents.proposals import Proposals
from mlgym.agents.scores import score
from mlgym.agents.study import INSTALLED, Study, needed
from mlgym.agents.trials import measured, read, restored, saved, tried
from mlgym.errors import UsageError
from mlgym.models import Model
from mlgym.records import Action, Brief

SAMPLER = "tpe" if INSTALLED else "near"  # being an option's default, it is told in a run's protocol.lock


def tuner(
    brief: Brief,
    model: Model | None,
    *,
    trials: int = 20,
    sampler: str = SAMPLER,
    startup: int = 5,
    prune: bool = True,
    longest: float = 4.0,
) -> Search:
    """Search, at most `trials` times, for better values of the baseline's settings; submit the best by validation.

    A baseline with a command is run as it is first. Each trial then writes the files, runs the command and, if that
    went well, validates; a trial that breaks counts as worse. `sampler` is `tpe` (Optuna's, after `startup` trials near
    the best so far) or `near` (always near the best so far). A trial is stopped when it lags behind the others, unless
    `prune` is off, and when it takes `longest` times as long as the starter. The state of the best is saved and gone
    back to, so that it needs no other run.

    Raises UsageError for another sampler, and for `tpe` where Optuna is not installed.
    """
    if sampler not in ("tpe", "near"):
        raise UsageError(f"The tuner has no sampler {sampler!r}; it has tpe and near.")
    if sampler == "tpe":
        needed()  # before anything is run
    state = yield from read(brief)
    study = Study(state.places, brief.direction, brief.seed) if sampler == "tpe" else None
    first = brief.baseline["scores"].get(brief.metric, math.nan)
    if not prune:
        state.watch.blind()
    yield from measured(state, brief, longest)
    if math.isnan(first):
        state.seen = yield Action(tool="validate", thought="Measure the starter, which has no recorded score.")
        first = score(brief, state.seen)
    if state.lying is not None:
        yield from saved(state, brief)
    search = Proposals(state, brief.direction, brief.seed, first, study, startup)
    for trial in range(1, trials + 1):
        if not state.time_left() or not search.open:
            break
        values = search.next(trial)
        if search.told(values, (yield from tried(state, brief, values, trial, search.how))):
            yield from saved(state, brief)
    yield from restored(state, brief, search.best)
    yield Action(tool="submit", thought=f"Submit the best by validation, {brief.metric} {search.score:.4g}.")
