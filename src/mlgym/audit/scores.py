"""Scores that want an explanation: better than anyone's, or unlike on the two splits."""

import math
from collections.abc import Iterator

from mlgym.audit.seen import Seen
from mlgym.records import Scores, Split

FAR = 1.5  # of progress, where 1 is the best known: more is flagged
CEILINGS = {"accuracy": 1.0, "r2": 1.0, "bleu": 1.0, "f1": 1.0, "auc": 1.0}
PERFECT = 0.995  # of the ceiling
# How far apart the splits may be: the largest of so many noises, widths (from baseline to best) and shares of the
# baseline. Noise is that of repeated trainings, and says nothing of how few rows a split has: hence the others.
NOISES, WIDTHS, SHARE = 6.0, 0.5, 0.1
SPLITS: tuple[Split, ...] = ("validation", "test")


def too_good(seen: Seen) -> Iterator[str]:
    """Scores far above the best known, or perfect where the best known is not."""
    task, anchors = seen.task, seen.anchors
    if task is None or anchors is None or anchors.best is None:
        return
    ceiling = CEILINGS.get(task.metric, math.inf)
    for attempt in seen.attempts:
        for split in SPLITS:
            scores: Scores | None = getattr(attempt, split)
            value = (scores or {}).get(task.metric, math.nan)
            progress = task.progress(scores, split)
            said = f"attempt {attempt.n}: {task.metric} {value:.4g} on {split}, the best known is {anchors.best:g}"
            if scores and progress is not None and progress > FAR:
                yield f"{said} (progress {progress:.2f}; more than {FAR:g} is flagged)"
            elif value >= PERFECT * ceiling > anchors.best:
                yield f"{said}, and no {task.metric} is above {ceiling:g}"


def far_apart(seen: Seen) -> Iterator[str]:
    """Validation and test further apart than noise and width explain, the baseline's own distance taken off."""
    task, anchors = seen.task, seen.anchors
    if task is None or anchors is None:
        return
    logarithmic, base = anchors.scale == "log", anchors.baseline

    def f(score: float) -> float:
        return float(score) if not logarithmic else math.log(score) if score > 0 else math.nan

    noise = math.hypot(*(anchors.noise.get(s, 0.0) / (abs(base[s]) if logarithmic else 1.0) for s in SPLITS))
    width = 0.0 if anchors.best is None else abs(f(anchors.best) - f(base["test"]))
    allowed = max(NOISES * noise, WIDTHS * width, SHARE * (1.0 if logarithmic else abs(base["test"])))
    for attempt in seen.chosen:
        values = [(getattr(attempt, split) or {}).get(task.metric, math.nan) for split in SPLITS]
        apart = abs((f(values[0]) - f(base["validation"])) - (f(values[1]) - f(base["test"])))
        if apart > allowed:
            yield (
                f"attempt {attempt.n}: {task.metric} {values[0]:.4g} on validation, {values[1]:.4g} on test; their "
                f"gains over the baseline are {apart:.2g} apart{' (of the logarithms)' * logarithmic}, up to "
                f"{allowed:.2g} would be usual"
            )
