"""Agents: generators that yield actions and are sent observations, `agent(brief, model, **options)`.

An agent that returns without having submitted has given up. It knows of the world what the brief and the observations
tell, and has no handle on the environment, the task or the sandbox.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from mlgym import names
from mlgym.errors import UsageError
from mlgym.models import Model
from mlgym.records import Action, Brief, Move, Observation

Flow = Generator[Action, Observation, None]
Search = Generator[Move, Any, None]  # one that also saves, goes back and branches
Agent = Callable[[Brief, Model | None], Flow | Search]

NICKNAMES = {
    "react": "mlgym.agents.react:react",
    "tree": "mlgym.agents.tree:tree",
    "best-of-n": "mlgym.agents.best_of_n:best_of_n",
    "tuner": "mlgym.agents.tuner:tuner",
    "random": "mlgym.agents.random:random",
    "replay": "mlgym.agents.replay:replay",
    "nop": "mlgym.agents.replay:nop",
    "oracle": "mlgym.agents.replay:oracle",
}


def asks(spec: str) -> bool:
    """Whether the agent of a spec asks a model, if it is given one."""
    name = names.split(core(spec))[0]
    return name in ("react", "tree") or name not in NICKNAMES


def core(spec: str) -> str:
    """The spec of the agent that acts: the one that `best-of-n` lets try, and any other itself."""
    name, options = names.split(spec)
    return core(nested(options)) if name == "best-of-n" else spec


def nested(options: Mapping[str, Any]) -> str:
    """The spec of the agent that `best-of-n` with these options lets try; what is not its own are that one's options.

    Raises UsageError for an agent that is given something by the episode alone.
    """
    spec = str(options.get("agent", "react"))
    if (name := names.split(spec)[0]) in ("oracle", "replay"):
        raise UsageError(f"The agent '{name}' cannot be one that best-of-n lets try: it does the same each time.")
    more = [f"{key}={json.dumps(value)}" for key, value in options.items() if key not in ("n", "agent")]
    return "&".join([spec if not more or "?" in spec else f"{spec}?{more.pop(0)}", *more])


def about(spec: str) -> dict[str, Any]:
    """What an agent is: its name, all options with their values, and hashes of its code and of its prompts.

    The code is that of its module and of the modules of the same package that this one takes things from; of those a
    module `prompts` is hashed by itself. Raises UsageError for an unknown agent.
    """
    name, options = names.split(spec)
    agent = names.resolve(name, NICKNAMES, "agent")
    taken = inspect.signature(agent).parameters.values()
    usual = {each.name: each.default for each in taken if each.kind is each.KEYWORD_ONLY and each.default != each.empty}
    files = _files(inspect.getmodule(agent))
    prompts = [path for path in files if path.name.endswith("prompts.py")]
    code = [path for path in files if path not in prompts]
    if name == "best-of-n":
        usual["of"] = about(nested(options))
    return {"agent": name, "options": {**usual, **options}, "code": _hash(code), "prompts": _hash(prompts)}


def _hash(files: list[Path]) -> str:
    """The first 16 hex digits of the sha256 of the files together; empty for none."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16] if files else ""


def _files(module: ModuleType | None) -> list[Path]:
    """The source files of a module and of those beside it that it takes things from."""
    if module is None:
        return []
    package = module.__name__.rpartition(".")[0]
    kin = {module.__name__: module}
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
        if package and isinstance(name, str) and name.startswith(f"{package}.") and name in sys.modules:
            kin[name] = sys.modules[name]
    files = (kin[name].__file__ for name in sorted(kin))
    return [path for file in files if file and (path := Path(file)).is_file()]


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
    if name == "best-of-n":
        load(nested(options))
    for key, value in options.items():
        default = taken[key].default if key in taken else None
        if isinstance(default, bool | int | float | str) and not isinstance(value, type(default)):
            raise UsageError(f"The option '{key}' of '{name}' is {type(default).__name__}, such as {key}={default}.")
    return partial(agent, **options, **more)
