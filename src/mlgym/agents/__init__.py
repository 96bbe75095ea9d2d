"""Agents: generators that yield actions and are sent observations, `agent(brief, model, **options)`.

An agent that returns without having submitted has given up. It knows of the world what the brief and the observations
tell, and has no handle on the environment, the task or the sandbox.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable, Generator
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
    "tuner": "mlgym.agents.tuner:tuner",
    "random": "mlgym.agents.random:random",
    "replay": "mlgym.agents.replay:replay",
    "nop": "mlgym.agents.replay:nop",
    "oracle": "mlgym.agents.replay:oracle",
}


def asks(spec: str) -> bool:
    """Whether the agent of a spec asks a model, if it is given one; of the shipped agents only `react` does."""
    name = names.split(spec)[0]
    return name == "react" or name not in NICKNAMES


def about(spec: str) -> dict[str, Any]:
    """What an agent is: its name, all options with their values, and hashes of its code and of its prompts.

    The code is that of its module and of the modules of the same package that this one takes things from; of those a
    module `prompts` is hashed by itself. Raises UsageError for an unknown agent.
    """
    name, options = names.split(spec)
    if name in (names.PROGRAM, names.MCP):
        own = own_program(str(options.get("line", "")))
        found = sorted(own.rglob("*")) if own and own.is_dir() else [own] if own else []
        hashed = _hash([path for path in found if path.is_file()])
        return {"agent": name, "options": options, "code": hashed, "prompts": ""}
    agent = names.resolve(name, NICKNAMES, "agent")
    taken = inspect.signature(agent).parameters.values()
    usual = {each.name: each.default for each in taken if each.kind is each.KEYWORD_ONLY and each.default != each.empty}
    files = _files(inspect.getmodule(agent))
    prompts = [path for path in files if path.name == "prompts.py"]
    code = [path for path in files if path not in prompts]
    return {"agent": name, "options": {**usual, **options}, "code": _hash(code), "prompts": _hash(prompts)}


def own_program(line: str) -> Path | None:
    """The program of the user's that a command line begins with: a relative path, or one below `~`."""
    first = (line.split() or [""])[0]
    return Path(first).expanduser() if "/" in first and not first.startswith("/") else None


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
    for key, value in options.items():
        default = taken[key].default if key in taken else None
        if isinstance(default, bool | int | float | str) and not isinstance(value, type(default)):
            raise UsageError(f"The option '{key}' of '{name}' is {type(default).__name__}, such as {key}={default}.")
    return partial(agent, **options, **more)
