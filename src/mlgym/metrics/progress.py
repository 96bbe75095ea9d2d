"""Progress: one scale for all tasks, 0 at the baseline and 1 at the best result known."""

import math


def progress(
    score: float | None, *, baseline: float, baseline_test: float, best: float | None, direction: str, scale: str
) -> float | None:
    """±(f(score) − f(baseline)) / |f(best) − f(baseline_test)|, clipped below at −1.

    `baseline` is that of the score's own split; the width is measured on test for both splits. f is the identity or
    the logarithm (`scale` "identity" or "log"). None when there is no `best`, so no scale; −1 when there is no finite
    score or, on the logarithmic scale, no positive one.
    """
    if best is None:
        return None
    if score is None or not math.isfinite(score) or (scale == "log" and score <= 0):
        return -1.0
    f = math.log if scale == "log" else float
    sign = 1.0 if direction == "maximize" else -1.0
    return max(-1.0, sign * (f(score) - f(baseline)) / abs(f(best) - f(baseline_test)))


def noise(of_score: float, *, baseline_test: float, best: float, scale: str) -> float:
    """A score's standard deviation put on the scale of progress, with `progress`'s width; on the logarithmic scale
    that of the logarithm near the baseline, to first order: deviation / |baseline|.
    """
    if scale == "log":
        return of_score / abs(baseline_test) / abs(math.log(best) - math.log(baseline_test))
    return of_score / abs(best - baseline_test)


def margin(noise: float, times: float = 1.0) -> float:
    """What two values of this noise must be apart to differ: `times` √2·noise, the deviation of their difference."""
    return times * math.sqrt(2) * noise


def ties(a: float, b: float, noise: float, times: float = 1.0) -> bool:
    """Whether two values differ by no more than their noise explains."""
    return abs(a - b) <= margin(noise, times)


def clip(value: float, low: float, high: float) -> float:
    """`value` held within [low, high]."""
    return min(max(value, low), high)


def potential(best_validation_progress: float | None) -> float:
    """Φ, the best validation progress so far held within [0, 2]; 0 before any valid attempt.

    A reward Φ(s') − Φ(s) leaves the best policy unchanged (Ng, Harada and Russell 1999).
    """
    return 0.0 if best_validation_progress is None else clip(best_validation_progress, 0.0, 2.0)
