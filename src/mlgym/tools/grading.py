"""The tools that grade: `validate` and `submit`."""

from mlgym.tools.session import Session, ToolError


def validate(session: Session) -> str:
    """Grade the submission as it now stands in the workspace, and get its scores beside those of the baseline."""
    attempt = session.attempt = session.grade("validate")
    if not attempt.valid:
        why = attempt.why.strip().rstrip(".") or "the submission is not valid"
        raise ToolError(f"There is no score: {why}.\nBaseline scores: {session.baseline}")
    return f"Baseline scores: {session.baseline}\nYour scores: {session.shown()}"


def submit(session: Session) -> str:
    """Hand in the submission as it now stands in the workspace. It is graded on the hidden test data, and the episode
    ends.
    """
    attempt = session.attempt = session.grade("submit")
    session.ended = True
    if attempt.valid and not attempt.fallback:
        return "Submitted. The episode is over."
    counts = "the last valid attempt counts in its place" if attempt.fallback else "it has no score"
    return f"Submitted, but not valid ({attempt.why.strip().rstrip('.')}): {counts}. The episode is over."
