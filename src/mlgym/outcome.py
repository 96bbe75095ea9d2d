"""What the attempts of an episode came to."""

from collections.abc import Callable, Iterable
from typing import Any

from mlgym.records import Attempt, Result, Scores, better
from mlgym.task import Task


def selected(attempts: Iterable[Attempt], task: Task) -> Attempt | None:
    """The attempt with the best validation score."""
    return _best(attempts, task, lambda attempt: attempt.validation)


def result(
    attempts: Iterable[Attempt], task: Task, *, progress: Callable[[Scores | None], float | None], **fields: Any
) -> Result:
    """The result of an episode with these attempts: final, best and selected test scores; `fields` are the others'.

    `progress` puts test scores on the task's scale.
    """
    attempts = sorted(attempts, key=lambda attempt: attempt.n)
    final = next((attempt for attempt in reversed(attempts) if attempt.kind != "validate"), None)
    best, chosen = _best(attempts, task, lambda attempt: attempt.test), selected(attempts, task)
    return Result(
        metric=task.metric,
        attempts=tuple(attempts),
        final=final.test if final else None,
        best=best.test if best else None,
        selected=chosen.test if chosen else None,
        progress=progress(final.test if final else None),
        **fields,
    )


def _best(attempts: Iterable[Attempt], task: Task, scores: Callable[[Attempt], Scores | None]) -> Attempt | None:
    best: Attempt | None = None
    for attempt in attempts:
        found, before = scores(attempt), scores(best) if best else None
        if found is None or not attempt.valid or attempt.fallback:
            continue
        if before is None or better(found[task.metric], before[task.metric], task.direction):
            best = attempt
    return best
