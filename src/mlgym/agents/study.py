"""Proposals of Optuna's tree-structured Parzen estimator (TPE), asked and told one at a time."""

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mlgym.agents.places import Place, Value
from mlgym.errors import UsageError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

INSTALLED = importlib.util.find_spec("optuna") is not None


class Study:
    """A study of Optuna over the places of a baseline. What it proposes follows from seed and from what it was told.

    Raises UsageError where Optuna is not installed.
    """

    def __init__(self, places: Sequence[Place], direction: Literal["minimize", "maximize"], seed: int) -> None:
        if not INSTALLED:
            raise UsageError("The sampler 'tpe' needs Optuna: pip install 'mlgym-env[tuner]', or take sampler=near.")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.version = optuna.__version__
        self._states = optuna.trial.TrialState
        self._names = [f"{n} {place.title}" for n, place in enumerate(places)]
        self._places = list(places)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
        self._study = optuna.create_study(direction=direction, sampler=sampler)
        self._trial: Trial | None = None
        self._sign = 1 if direction == "maximize" else -1

    def ask(self, values: Sequence[Value], open_: Sequence[int], own: bool) -> list[Value]:
        """The next values to try: those given, if they are our `own` proposal, else new ones in the places that are
        `open_` and those given in the others.
        """
        space = {self._names[n]: distribution(self._places[n]) for n in open_}
        if own:
            self._study.enqueue_trial({self._names[n]: encoded(self._places[n], values[n]) for n in open_})
        self._trial = trial = self._study.ask(space)
        found = list(values)
        if not own:
            for n in open_:
                found[n] = decoded(self._places[n], trial.params[self._names[n]])
        return found

    def tell(self, score: float, reports: Sequence[float] = ()) -> None:
        """What came of the values asked for last: their score or, of a run that broke or was stopped, NaN and its
        reports (more is better). Runs without a score count as worse than all with one.
        """
        assert self._trial is not None
        if not math.isnan(score):
            self._study.tell(self._trial, score)
            return
        for n, value in enumerate(reports):
            self._trial.report(self._sign * value, n)
        self._study.tell(self._trial, state=self._states.PRUNED)


def distribution(place: Place) -> "BaseDistribution":
    """Where Optuna draws a place's parameter from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found = place.range
    if found.kind == "choice":
        return CategoricalDistribution(found.choices)
    if found.kind == "whole":
        return IntDistribution(round(found.low), round(found.high), log=True)
    over = found.over
    return FloatDistribution(found.low - over, found.high + over, log=found.kind in ("log", "below_one"))


def encoded(place: Place, value: Value) -> Any:
    """The parameter that stands for a value."""
    return 1 - value if place.range.kind == "below_one" and isinstance(value, float) else value


def decoded(place: Place, parameter: Any) -> Value:
    """The value that a parameter stands for."""
    kind = place.range.kind
    if kind == "below_one":
        return float(1 - parameter)
    shown: Value = min(place.range.high, max(place.range.low, parameter)) if kind == "share" else parameter
    return shown
