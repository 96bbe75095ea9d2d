"""Arithmetic on scores; no IO, nothing of the machinery that made them.

Scores come as `table[(method, task)] -> one score` or as `runs[(method, task)] -> the scores of its k runs`. A cell
that is absent was not run; NaN (or an infinity) is a run without a valid score. `docs/metrics.md` has all formulas.
The names load what they need when they are first used: whoever wants progress only does not wait for numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mlgym.metrics.progress import clip, margin, noise, potential, progress, ties

if TYPE_CHECKING:
    from mlgym.metrics.areas import AupTable, Profiles, aup_table, profiles
    from mlgym.metrics.comparison import Comparison, OnTask, Pair, compare, groups, holm
    from mlgym.metrics.compute import Curve, Outcomes, equivalent, equivalent_compute, outcomes
    from mlgym.metrics.intervals import Estimate, bootstrap, iqm, mean, probability_of_improvement
    from mlgym.metrics.pool import Sensitivity, aup_intervals, sensitivity
    from mlgym.metrics.scores import Ranks, best_at_k, best_table, fewest, mean_at_k, mean_table, ranks

_WHERE = {
    "compute": ("Curve", "Outcomes", "equivalent", "equivalent_compute", "outcomes"),
    "comparison": ("Comparison", "OnTask", "Pair", "compare", "groups", "holm"),
    "intervals": ("Estimate", "bootstrap", "iqm", "mean", "probability_of_improvement"),
    "pool": ("Sensitivity", "aup_intervals", "sensitivity"),
    "areas": ("AupTable", "Profiles", "aup_table", "profiles"),
    "scores": ("Ranks", "best_at_k", "best_table", "fewest", "mean_at_k", "mean_table", "ranks"),
}
__all__ = [
    "AupTable",
    "Comparison",
    "Curve",
    "Estimate",
    "OnTask",
    "Outcomes",
    "Pair",
    "Profiles",
    "Ranks",
    "Sensitivity",
    "aup_intervals",
    "aup_table",
    "best_at_k",
    "best_table",
    "bootstrap",
    "clip",
    "compare",
    "equivalent",
    "equivalent_compute",
    "fewest",
    "groups",
    "holm",
    "iqm",
    "margin",
    "mean",
    "mean_at_k",
    "mean_table",
    "noise",
    "outcomes",
    "potential",
    "probability_of_improvement",
    "profiles",
    "progress",
    "ranks",
    "sensitivity",
    "ties",
]


def __getattr__(name: str) -> Any:
    for module, names in _WHERE.items():
        if name in names:
            return getattr(importlib.import_module(f"mlgym.metrics.{module}"), name)
    raise AttributeError(f"module 'mlgym.metrics' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
