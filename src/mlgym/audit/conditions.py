"""Conditions under which scores mean less: isolation, feedback, fallbacks, too many validations, several graders."""

from collections.abc import Iterator

from mlgym.audit.seen import Seen

GRADED_BY = ("task", "version", "grader", "data", "environment", "grader_environment")


def graders(seen: Seen) -> Iterator[str]:
    """Attempts of one episode that were graded by different things, or by another task than the episode's."""
    by = [attempt.provenance for attempt in seen.attempts if attempt.provenance]
    for name in GRADED_BY:
        values = sorted({str(getattr(each, name)) for each in by})
        if len(values) > 1:
            yield f"its attempts were graded with different values of {name}: {', '.join(values)}"
    versions = {each.version for each in by} - {seen.spec.version}
    if versions:
        yield f"it was graded with version {versions.pop()} of the task, and made with version {seen.spec.version}"


def isolation(seen: Seen) -> Iterator[str]:
    """Less than full isolation: the agent could reach what it should not."""
    weak = sorted(seen.isolations - {"full"})
    if weak:
        backend = f" (backend {seen.result.backend})" if seen.result and seen.result.backend else ""
        yield f"isolation was {' and '.join(weak)}{backend}: what the agent could reach is not bounded by the walls"
    if len(seen.isolations) > 1:
        yield f"its isolation changed within the episode: {', '.join(sorted(seen.isolations))}"


def feedback(seen: Seen) -> Iterator[str]:
    """Test scores shown to the agent."""
    if seen.spec.feedback == "test":
        yield "`validate` showed scores on the test split, so the final score may be chosen by it"


def imported(seen: Seen) -> Iterator[str]:
    """What the import of the episode found forged, or tried."""
    for note in seen.result.notes if seen.result and seen.spec.imported else ():
        if note.startswith(("Forged: ", "Tried: ")):
            yield note.rstrip(".")


def fallback(seen: Seen) -> Iterator[str]:
    """An invalid end that an earlier attempt stands in for."""
    if seen.final and seen.final.fallback:
        yield f"its last submission was not valid ({seen.final.why.rstrip('.')}); the last valid attempt counts instead"


def validations(seen: Seen) -> Iterator[str]:
    """More validations than the run allowed."""
    made, most = sum(attempt.kind == "validate" for attempt in seen.attempts), seen.spec.max_validations
    if most is not None and made > most:
        yield f"`validate` was called {made} times, where the run set {most}"
