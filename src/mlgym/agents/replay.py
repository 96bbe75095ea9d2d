"""Agents without choices: recorded actions again, nothing at all, and the hidden solution."""

from collections.abc import Iterable, Mapping

from mlgym.agents import Flow
from mlgym.agents.commands import shell, write
from mlgym.models import Model
from mlgym.records import Action, Brief


def replay(brief: Brief, model: Model | None, *, actions: Iterable[Action]) -> Flow:
    """Take the given actions again, one after another."""
    for action in actions:  # noqa: UP028 (a list cannot be sent observations)
        yield action


def nop(brief: Brief, model: Model | None) -> Flow:
    """Submit the workspace as it was found."""
    yield Action(tool="submit", thought="Submit the starter as it is.")


def oracle(brief: Brief, model: Model | None, *, files: Mapping[str, str]) -> Flow:
    """Write the files of the task's solution, run the baseline's command, validate and submit."""
    yield shell(brief, write(files, brief.baseline["command"]), "Write the task's own solution.")
    yield Action(tool="validate")
    yield Action(tool="submit")
