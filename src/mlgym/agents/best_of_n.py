"""The agent that lets another one try several times within one budget, and submits the best of the tries."""

import contextlib
import math
import random
from collections.abc import Generator
from typing import Any

from mlgym.agents import Search, load, nested
from mlgym.agents.branches import MAIN, Straight, straight
from mlgym.agents.commands import tool_names
from mlgym.agents.scores import improves, score
from mlgym.agents.share import Share
from mlgym.errors import BudgetError, MlgymError, Unanswerable, UsageError
from mlgym.models import Model
from mlgym.records import Action, Brief, Checkpoint, Move, Observation, Restore

_START = "start"
_LEAST = 2  # steps of a try: one to act, and one to validate what it leaves


def best_of_n(brief: Brief, model: Model | None, *, n: int = 4, agent: str = "react", **options: Any) -> Search:
    """Let `agent` try `n` times, each time from the starter, and submit the try that is the best by validation.

    Further `options` are the agent's. What is left of the budget (steps, command seconds, dollars, tokens) is divided
    by the tries to come. A try has a seed of its own, and is told its own share as if it were all; its submission
    becomes `validate`. The best try so far counts when a limit ends the episode in another one. A try in which the
    agent fails counts with what it left; where it fails in each, the last error is raised.

    Raises UsageError where the steps do not suffice.
    """
    run, steps = load(nested({"agent": agent, **options})), brief.limits.steps
    if n < 1 or (steps is not None and steps < n * _LEAST + 1):
        raise UsageError(f"best-of-n needs n from 1 on, and {_LEAST} steps for each try and one more; n is {n}.")
    share, best, chosen = Share(model, brief.limits), math.nan, 0
    errors: list[Exception] = []
    yield Checkpoint(name=_START)
    for number in range(1, n + 1):
        left = yield Restore(name=_START)
        if not share.begin(left, n - number + 1):
            break
        told = brief.changed(limits=share.limits, seed=random.Random(f"{brief.seed}/{number}").getrandbits(31))
        tried = _Try(told, number, share)
        worth = yield from tried.drive(straight(run(told, share if model else None)))
        errors += [tried.error] if tried.error else []
        if improves(worth, best, brief.direction):
            best, chosen = worth, number
            yield Checkpoint(name=MAIN)
    if len(errors) == n:
        raise errors[-1]
    yield Restore(name=MAIN if chosen else _START)
    thought = f"Try {chosen} is the best, {brief.metric} {best:.5g}." if chosen else "No try has a score."
    yield Action(tool="submit", thought=thought)


class _Try:
    """One try. `_score` is that of what stands in the workspace, None where that was not validated."""

    def __init__(self, brief: Brief, number: int, share: Share) -> None:
        self._brief, self._number, self._share = brief, number, share
        self._score: float | None = None
        self._over = False
        self._apart = False  # whether the agent has saved a state that counts in the place of the one that stands
        self._why = "What is this try worth?"
        self.error: Exception | None = None  # in which the agent failed

    def drive(self, flow: Straight) -> Generator[Move, Any, float]:
        """Let the agent act until it submits, ends, or has used its share; the score of what it leaves, or NaN."""
        seen: Observation | None = None
        with contextlib.closing(flow):
            while not self._over and not self._used(seen):
                move = self._next(flow, seen)
                if move is None or (self._known() and self._submits(move)):
                    break
                seen = yield from self._acted(move) if isinstance(move, Action) else self._marked(move)
        if self._apart:
            yield Restore(name=self._name(MAIN))
            self._score = None
        if self._score is None:
            self._score = score(self._brief, (yield Action(tool="validate", thought=self._why)))
        return self._score

    def _used(self, seen: Observation | None) -> bool:
        """Whether the try's steps or seconds are used up."""
        told = self._share.seen(seen) if seen else None
        return told is not None and (told.steps_left == 0 or told.seconds_left == 0)

    def _next(self, flow: Straight, seen: Observation | None) -> Action | Checkpoint | Restore | None:
        """What the agent does next; None where it has ended, failed, or used its share."""
        try:
            move = next(flow) if seen is None else flow.send(self._share.seen(seen))
        except StopIteration:
            return None
        except BudgetError as error:
            self._why = str(error)
            return None
        except Unanswerable as error:  # the agent's own doing
            self._why, self.error = str(error), error
            return None
        except MlgymError:
            raise
        except Exception as error:  # as in an episode of its own, what it left counts
            self._why, self.error = f"The agent failed: {type(error).__name__}: {error}", error
            return None
        return None if isinstance(move, Action) and move.tool == "end" else move

    def _acted(self, action: Action) -> Generator[Move, Any, Observation]:
        """Take an action; its submission is a validation, and ends the try."""
        self._over = self._submits(action)
        self._apart = self._apart and not self._over
        seen: Observation = yield action.changed(tool="validate", args={}) if self._over else action
        self._score = score(self._brief, seen) if seen.tool == "validate" else None
        return seen

    def _marked(self, move: Checkpoint | Restore) -> Generator[Move, Any, Observation]:
        """Save or go back, by a name of this try's own."""
        if move.name == MAIN:
            self._apart = isinstance(move, Checkpoint)
        seen: Observation = yield move.changed(name=self._name(move.name))
        self._score = self._score if isinstance(move, Checkpoint) else None
        return seen

    def _known(self) -> bool:
        """Whether the score of what stands in the workspace, and counts, is known."""
        return self._score is not None and not self._apart

    def _name(self, name: str) -> str:
        return f"{self._number}/{name}"

    def _submits(self, move: Action | Checkpoint | Restore) -> bool:
        """Whether a move hands the submission in, as a tool call or as text."""
        if not isinstance(move, Action):
            return False
        words = str(move.args.get("text", "")).split() if not move.tool else []
        alone = "bash" in tool_names(self._brief)
        return move.tool == "submit" or (words == ["submit"] if alone else words[:1] == ["submit"])
