"""Agents without choices: recorded actions again, nothing at all, and the hidden solution."""

from collections.abc import Iterable, Mapping

from mlgym.agents import Flow, Search
from mlgym.agents.commands import shell, write
from mlgym.models import Model
from mlgym.records import Action, Brief, Move


def replay(brief: Brief, model: Model | None, *, moves: Iterable[Move]) -> Search:
    """Do the given things again, one after another."""
    for move in moves:  # noqa: UP028 (a list cannot be sent observations)
        yield move


def nop(brief: Brief, model: Model | None) -> Flow:
    """Submit the workspace as it was found."""
    yield Action(tool="submit", thought="Submit the starter as it is.")


def oracle(brief: Brief, model: Model | None, *, files: Mapping[str, str]) -> Flow:
    """Write the files of the task's solution, run the baseline's command, validate and submit."""
    yield shell(brief, write(files, brief.baseline["command"]), "Write the task's own solution.")
    yield Action(tool="validate")
    yield Action(tool="submit")
