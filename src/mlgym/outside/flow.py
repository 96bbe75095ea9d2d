"""The agent's generator: what a program asks for, one thing after another, is the model's or a step."""

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from mlgym.agents import Flow
from mlgym.errors import BudgetError, MlgymError, ToolsRefused
from mlgym.models import Model
from mlgym.outside.chat import Talk, Unfit
from mlgym.outside.desk import OVER, Asked, Desk
from mlgym.records import Action, Observation

LOOK_S = 0.5  # seconds between two looks at whether to stop
GRACE_S, LAST_S = 20.0, 3.0  # seconds that a program has after its budget's end, and after the episode's
CALLS = 200  # of the model without a step between


class Asker(Protocol):
    """Who asks: a program, or a client of the user's."""

    def check(self) -> None:
        """Raises MlgymError where it must be stopped."""

    def wait(self, seconds: float) -> None:
        """Give it so long to end by itself."""


def served(
    desk: Desk, model: Model | None, asker: Asker, talk: Talk, check: Callable[[], None], quiet_s: float
) -> Flow:
    """Do what is asked at the desk until the asker has gone.

    Raises BudgetError once the model's budget is used up and the grace over, or where the asker leaves with a
    conversation that is too long, MlgymError for one that asks for nothing within `quiet_s`, or for the model again and
    again, and what `check` raises.
    """
    spent: BudgetError | None = None
    end, calls, thought, over = time.monotonic() + quiet_s, 0, "", False
    while asked := _next(desk, asker, end, check):
        if asked.kind == "tool":
            name, args = asked.given
            with _ending(desk, asker, asked):
                seen = yield Action(tool=name, args=args, thought=thought)
            asked.answer.set_result(seen)
            calls, thought = 0, ""
        elif spent and over:
            _quota(asked, spent)
        else:
            text, spent = _reply(asked, model, talk)
            if spent is None and text is None:
                continue
            over = spent is not None and spent.limit != "context"  # one that is too long can be made shorter
            if over:
                end = time.monotonic() + GRACE_S
            calls, thought = calls + 1, text or ""
            if calls > CALLS:
                raise MlgymError(f"The program asked the model {CALLS} times without a step and was stopped.")
        if not over:
            end = time.monotonic() + quiet_s
    if spent:
        raise spent
    if time.monotonic() > end:
        raise MlgymError(f"The program asked for nothing in {quiet_s:.0f} seconds and was stopped.")


def _next(desk: Desk, asker: Asker, end: float, check: Callable[[], None]) -> Asked | None:
    """What is asked next; None where the asker has gone, or asks for nothing until the end."""
    while time.monotonic() <= end:
        asker.check()
        with contextlib.suppress(queue.Empty):
            return desk.next(LOOK_S)
        check()
    return None


@contextlib.contextmanager
def _ending(desk: Desk, asker: Asker, asked: Asked) -> Iterator[None]:
    """Around a step: where it was the last, whoever asked for it is told, and may tidy up."""
    try:
        yield
    except GeneratorExit:
        asked.answer.set_result(Observation(text=OVER, status="end"))
        desk.close()
        asker.wait(LAST_S)
        raise


def _reply(asked: Asked, model: Model | None, talk: Talk) -> tuple[str | None, BudgetError | None]:
    """Have the model answer: its text, None where it was not asked, and what of its budget was used up."""
    try:
        if model is None:
            asked.refuse(404, "model_not_found", "The episode has no model: name one with -m provider/model.")
            return None, None
        reply = model(*talk.asked(asked.given))
    except Unfit as error:
        asked.refuse(400, "invalid_request", str(error))
    except ToolsRefused as error:
        asked.refuse(400, "tools_not_supported", str(error))
        return "", None  # it is recorded like a reply
    except BudgetError as error:
        _quota(asked, error)
        return None, error
    else:
        talk.replied(reply)
        asked.answer.set_result(reply)
        return reply.text, None
    return None, None


def _quota(asked: Asked, spent: BudgetError) -> None:
    """Say that a limit is reached, as providers do."""
    if spent.limit == "context":
        asked.refuse(400, "context_length_exceeded", str(spent))
    else:
        asked.refuse(429, "insufficient_quota", str(spent))
