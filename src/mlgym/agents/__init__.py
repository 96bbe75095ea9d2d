"""Agents: generators that yield actions and are sent observations, `agent(brief, model, **options)`.

An agent that returns without having submitted has given up. It knows of the world what the brief and the observations
tell, and has no handle on the environment, the task or the sandbox.
"""

import inspect
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from mlgym import names
from mlgym.errors import UsageError
from mlgym.models import Model
from mlgym.records import Action, Brief, Observation

Flow = Generator[Action, Observation, None]
Agent = Callable[[Brief, Model | None], Flow]

NICKNAMES = {
    "react": "mlgym.agents.react:react",
    "tuner": "mlgym.agents.tuner:tuner",
    "random": "mlgym.agents.random:random",
    "replay": "mlgym.agents.replay:replay",
    "nop": "mlgym.agents.replay:nop",
    "oracle": "mlgym.agents.replay:oracle",
}


def load(spec: str, **more: Any) -> Agent:
    """The agent of a spec such as `react?window=5`, with the options of the spec and `more` bound.

    Raises UsageError for an unknown agent or option.
    """
    name, options = names.split(spec)
    agent = names.resolve(name, NICKNAMES, "agent")
    taken = inspect.signature(agent).parameters
    known = [key for key, parameter in taken.items() if parameter.kind is parameter.KEYWORD_ONLY]
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    open_to_all = [key for key in known if key not in more]
    wrong = [key for key in options if key not in open_to_all and not free]
    if wrong:
        raise UsageError(f"The agent '{name}' has no option '{wrong[0]}'; it has: {', '.join(open_to_all) or 'none'}.")
    for key, value in options.items():
        default = taken[key].default if key in taken else None
        if isinstance(default, bool | int | float | str) and not isinstance(value, type(default)):
            raise UsageError(f"The option '{key}' of '{name}' is {type(default).__name__}, such as {key}={default}.")
    return partial(agent, **options, **more)
