"""The score that an observation shows, and whether it is the best so far."""

import math

from mlgym.records import Brief, Observation, better


def score(brief: Brief, seen: Observation) -> float:
    """The validation score that an observation shows, by the task's metric; NaN where it shows none."""
    return (seen.validation or {}).get(brief.metric, math.nan)


def improves(score: float, best: float, direction: str) -> bool:
    """Whether a score is better than the best so far, or the first that there is."""
    return better(score, best, direction) or (math.isnan(best) and not math.isnan(score))
