"""Records that do not fit each other: files and hashes, steps and attempts, attempts and result."""

import math
from collections.abc import Iterator

from mlgym import names, outcome
from mlgym.audit.seen import END, Seen
from mlgym.metrics import clip
from mlgym.records import Attempt, Result
from mlgym.task import Task

POLICY = "policy"  # the agent of an episode that training has stored


def files(seen: Seen) -> Iterator[str]:
    """Stored files that are not what their hash says, or are gone although they are always kept."""
    for attempt in seen.attempts:
        for name, digest in sorted({**attempt.code, **attempt.files}.items()):
            intact = seen.store.intact(digest)
            if intact is False:
                yield f"attempt {attempt.n}: the stored {name} is not what was graded (its hash is another)"
            elif intact is None and attempt in seen.chosen and name in attempt.files:
                yield f"attempt {attempt.n}: the stored {name} is gone, though the best and the last are always kept"
        if attempt.valid and not attempt.files and not seen.spec.imported:
            yield f"attempt {attempt.n}: it is valid and has no files"


def steps(seen: Seen) -> Iterator[str]:
    """Steps that tell of other attempts or scores than are stored, and attempts of no step."""
    numbers = [step.n for step in seen.steps]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the steps are not numbered from 1 to {len(numbers)}"
    if [attempt.n for attempt in seen.attempts] != list(range(len(seen.attempts))):
        yield f"the attempts are not numbered from 0 to {len(seen.attempts) - 1}"
    known = {attempt.n: attempt for attempt in seen.attempts}
    for step in seen.steps:
        if step.attempt is None:
            continue
        attempt = known.get(step.attempt)
        if attempt is None or attempt.step != step.n:
            yield f"step {step.n} made attempt {step.attempt}, of which there is no record that says so"
            continue
        shown, scores = step.observation.validation, getattr(attempt, seen.spec.feedback)
        if shown is not None and shown != scores:
            yield f"step {step.n} showed {_said(shown)}, attempt {attempt.n} has {_said(scores)}"
    last = seen.steps[-1].n if seen.steps else 0
    if seen.result and (late := [attempt.n for attempt in seen.attempts if attempt.step > last]):
        yield f"attempt {late[0]} belongs to a step that is not recorded"


def result(seen: Seen) -> Iterator[str]:
    """A result that its steps and attempts do not come to."""
    stored = seen.result
    if stored is None:
        return
    if list(stored.attempts) != seen.attempts:
        where = _first_difference(list(stored.attempts), seen.attempts)
        yield f"result.json has other attempts than the folder attempts ({where})"
    taken = sum(step.action.tool != END for step in seen.steps)
    if stored.steps != taken:
        yield f"it counts {stored.steps} steps, {taken} are recorded"
    if stored.feedback != seen.spec.feedback:
        yield f"it says feedback {stored.feedback}, the episode was made with {seen.spec.feedback}"
    rewards = [step.reward for step in seen.steps if step.reward is not None]
    trained = names.split(seen.spec.agent)[0] == POLICY  # its rewards are those of the training
    if not trained and stored.scored and stored.progress is not None and len(rewards) == len(seen.steps):
        total = math.fsum(rewards)
        if not math.isclose(total, clip(stored.progress, -1.0, 2.0), abs_tol=1e-6):
            yield f"the rewards of its steps sum to {total:.4g}, its progress is {stored.progress:.4g}"
    if seen.task is not None:
        yield from _follows(seen, seen.task, stored)


def _follows(seen: Seen, task: Task, stored: Result) -> Iterator[str]:
    """What is said of its scores against what follows from its attempts and the task's anchors."""
    scale = task.progress if seen.anchors and stored.scored else lambda *_: None
    again = outcome.result(seen.attempts, task, progress=lambda scores: scale(scores, "test"), ended=stored.ended)
    for name in ("metric", "final", "selected", "best", "progress"):
        recorded, follows = getattr(stored, name), getattr(again, name)
        if recorded != follows:
            yield f"its {name} is {_said(recorded)}, from its attempts follows {_said(follows)}"
    for split, value in seen.anchors.baseline.items() if seen.anchors else ():
        if stored.baseline.get(split) != {task.metric: value}:
            yield f"its baseline on {split} is {_said(stored.baseline.get(split))}, the task's is {_said(value)}"


def _first_difference(stored: list[Attempt], there: list[Attempt]) -> str:
    for one, other in zip(stored, there, strict=False):
        if one != other:
            names = [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]
            return f"attempt {one.n} differs in {', '.join(names)}"
    return f"{len(stored)} and {len(there)}"


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.6g}" for name, number in value.items())
    return f"{value:.6g}" if isinstance(value, float) else "nothing" if value is None else str(value)
