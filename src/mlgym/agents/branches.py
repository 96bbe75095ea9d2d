"""Branches taken one after another, by saving and going back."""

import contextlib
from collections.abc import Generator
from typing import Any

from mlgym.agents import Flow, Search
from mlgym.records import Action, Branches, Checkpoint, Observation, Restore

# The name of the state that counts if the episode ends before it is gone back to.
MAIN = ""
Straight = Generator[Action | Checkpoint | Restore, Any, Any]


def straight(flow: Flow | Search) -> Straight:
    """The same agent without branches: each is taken from the state it names, and then all goes back to where it was.

    That state is saved under the name MAIN meanwhile.
    """
    with contextlib.closing(flow):
        sent: Any = None
        while True:
            try:
                move = next(flow) if sent is None else flow.send(sent)
            except StopIteration as stop:
                return stop.value
            sent = (yield from _taken(move)) if isinstance(move, Branches) else (yield move)


def _taken(
    move: Branches,
) -> Generator[Action | Checkpoint | Restore, Observation, tuple[tuple[Observation, ...], ...]]:
    seen = []
    yield Checkpoint(name=MAIN)
    for branch in move.branches:
        yield Restore(name=branch.at)
        found = []
        for action in branch.actions:
            found.append((yield action))
        seen.append(tuple(found))
        if branch.name:
            yield Checkpoint(name=branch.name)
    yield Restore(name=MAIN)
    return tuple(seen)
