"""Methods at equal compute: what each has reached by a given second, and how long a reference needs to match it.

A curve is one run's best so far: `x` where it changes, rising, and `y` from there on; before its first change a run
stands at 0, its baseline. *Equivalent compute* turns the usual question around: not "how much better at this budget"
but "what budget does the reference need to get as far"; with hyperparameter optimisation as the reference it says
whether an agent found more than its settings would have given.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlgym.metrics.intervals import Estimate
from mlgym.metrics.progress import margin
from mlgym.metrics.scores import Floats

SURE = 1.96  # standard deviations: within it, the two-sided 95 %


class Curve(NamedTuple):
    """One run's best so far."""

    x: Floats
    y: Floats

    def at(self, x: Floats | float) -> Floats:
        """The value at each `x`."""
        return np.concatenate([[0.0], self.y])[np.searchsorted(self.x, x, side="right")]


class Outcomes(NamedTuple):
    """Shares of all pairs of runs that the first wins, ties and loses."""

    win: float
    tie: float
    loss: float


def outcomes(a: Floats, b: Floats, noise: float) -> Outcomes:
    """Every run of `a` against every run of `b`. Two within 1.96·√2·`noise` are a tie: within it lie 95 % of the
    differences between two gradings of one submission, where one grading has that standard deviation.
    """
    difference = np.asarray(a)[:, None] - np.asarray(b)[None, :]
    band = margin(noise, SURE) if math.isfinite(noise) else 0.0
    tie = np.abs(difference) <= band
    return Outcomes(*(float(np.mean(part)) for part in (~tie & (difference > 0), tie, ~tie & (difference < 0))))


def equivalent(reference: Sequence[Curve], level: float, noise: float = 0.0) -> float:
    """The least x at which the mean of the reference's curves is `level`, less one standard deviation of noise.

    Infinite where it never is, 0 where the reference has it without doing anything.
    """
    x = np.unique(np.concatenate([[0.0], *(curve.x for curve in reference)]))
    mean = np.mean([curve.at(x) for curve in reference], axis=0)
    reached = mean >= level - (noise if math.isfinite(noise) else 0.0)
    return float(x[int(np.argmax(reached))]) if reached.any() else math.inf


def equivalent_compute(
    reference: Sequence[Curve],
    levels: Floats,
    noise: float = 0.0,
    *,
    seed: int = 0,
    n: int = 500,
    part: float = 0.95,
) -> Estimate:
    """`equivalent` for the mean of `levels`, what a method's runs came to, with its bootstrap interval over the runs of
    both sides; its ends may be infinite. NaN where a side has no run.
    """
    if not len(reference) or not len(levels):
        return Estimate(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    draws = [
        equivalent(
            [reference[i] for i in rng.integers(len(reference), size=len(reference))],
            float(np.mean(rng.choice(levels, size=len(levels)))),
            noise,
        )
        for _ in range(n)
    ]
    ordered = np.sort(draws)
    ends = (ordered[min(n - 1, int(q * n))] for q in ((1 - part) / 2, (1 + part) / 2))  # quantiles, infinities too
    return Estimate(equivalent(reference, float(np.mean(levels)), noise), *map(float, ends))
