"""Proposals of Optuna's tree-structured Parzen estimator (TPE), one at a time."""

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mlgym.agents.places import Place, Range, Value
from mlgym.errors import UsageError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

INSTALLED = importlib.util.find_spec("optuna") is not None


def needed() -> None:
    """Raise UsageError where Optuna is not installed."""
    if not INSTALLED:
        raise UsageError("The sampler 'tpe' needs Optuna: pip install 'mlgym-env[tuner]', or take sampler=near.")


class Study:
    """A study of Optuna over the places of a baseline. Its proposals follow from the seed and from what it was told.

    Raises UsageError where Optuna is not installed.
    """

    def __init__(self, places: Sequence[Place], direction: Literal["minimize", "maximize"], seed: int) -> None:
        needed()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.version = optuna.__version__
        self._states, self._made = optuna.trial.TrialState, optuna.trial.create_trial
        self._names = [f"{n} {place.title}" for n, place in enumerate(places)]
        self._places, self._sign = places, 1 if direction == "maximize" else -1
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
        self._study = optuna.create_study(direction=direction, sampler=sampler)

    def ask(self, values: Sequence[Value], free: Sequence[int]) -> list[Value]:
        """Optuna's values for the places that are `free`, and those given for the others."""
        trial = self._study.ask(self._space(free))
        self._study.tell(trial, state=self._states.FAIL)  # forgotten: all that was tried is told with its values
        found = list(values)
        for n in free:
            found[n] = decoded(self._places[n].range, trial.params[self._names[n]])
        return found

    def tell(self, values: Sequence[Value], free: Sequence[int], score: float, reports: Sequence[float] = ()) -> None:
        """What came of values: their score or, of a run that broke or was stopped, NaN and its reports.

        More is better in reports. Runs without a score count as worse than all with one.
        """
        broke = math.isnan(score)
        self._study.add_trial(
            self._made(
                state=self._states.PRUNED if broke else self._states.COMPLETE,
                value=None if broke else score,
                params={self._names[n]: encoded(self._places[n].range, values[n]) for n in free},
                distributions=self._space(free),
                intermediate_values={n: self._sign * value for n, value in enumerate(reports)},
            )
        )

    def _space(self, free: Sequence[int]) -> dict[str, "BaseDistribution"]:
        return {self._names[n]: distribution(self._places[n].range) for n in free}


def distribution(found: Range) -> "BaseDistribution":
    """Where Optuna draws a place's parameter from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if found.kind == "choice":
        return CategoricalDistribution(found.choices)
    if found.kind == "power":
        return IntDistribution(round(found.low).bit_length() - 1, round(found.high).bit_length() - 1)
    if found.kind == "whole":
        return IntDistribution(round(found.low), round(found.high), log=True)
    return FloatDistribution(found.low - found.over, found.high + found.over, log=found.kind in ("log", "below_one"))


def encoded(found: Range, value: Value) -> Any:
    """The parameter that stands for a value."""
    if found.kind == "power" and isinstance(value, int):
        return value.bit_length() - 1
    return found.cut(1 - value) if found.kind == "below_one" and isinstance(value, float) else value


def decoded(found: Range, parameter: Any) -> Value:
    """The value that a parameter stands for."""
    if found.kind == "power":
        return int(2**parameter)
    if found.kind == "below_one":
        return float(1 - parameter)
    value: Value = found.cut(parameter) if found.kind == "share" else parameter
    return value
