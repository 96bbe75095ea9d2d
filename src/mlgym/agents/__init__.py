"""Agents: generators that yield actions and are sent observations, `agent(brief, model, **options)`.

An agent that returns without having submitted has given up; a sentence that it returns says why. It knows of the world
what the brief and the observations tell, and has no handle on the environment, the task or the sandbox.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from mlgym import names
from mlgym.errors import UsageError
from mlgym.models import Model
from mlgym.records import Action, Brief, Move, Observation

Flow = Generator[Action, Observation, Any]
Search = Generator[Move, Any, Any]  # one that also saves, goes back and branches
Agent = Callable[[Brief, Model | None], Flow | Search]

NICKNAMES = {
    "react": "mlgym.agents.react:react",
    "tree": "mlgym.agents.tree:tree",
    "best-of-n": "mlgym.agents.best_of_n:best_of_n",
    "tuner": "mlgym.agents.tuner:tuner",
    "random": "mlgym.agents.random:random",
    "human": "mlgym.agents.human:human",
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

    Raises UsageError for an agent that must be given something of the episode's.
    """
    spec = str(options.get("agent", "react"))
    if (name := names.split(spec)[0]) in ("oracle", "replay", "human", names.PROGRAM, names.MCP):
        raise UsageError(
            f"The agent '{name}' cannot be one that best-of-n lets try: only an episode has what it needs."
        )
    more = [f"{key}={json.dumps(value)}" for key, value in options.items() if key not in ("n", "agent")]
    return "&".join([spec if not more or "?" in spec else f"{spec}?{more.pop(0)}", *more])


def about(spec: str) -> dict[str, Any]:
    """What an agent is: its name, all options with their values, and hashes of its code and of its prompts.

    The code is that of its module and of the modules of the same package that it takes things from; of those a module
    `prompts` is hashed by itself, with the files that its `in_force(options)` names, if it has such a function. Raises
    UsageError for an unknown agent, and for prompts that are not there.
    """
    name, options = names.split(spec)
    if name in (names.PROGRAM, names.MCP):
        own = own_program(str(options.get("line", "")))
        found = sorted(own.rglob("*")) if own and own.is_dir() else [own] if own else []
        hashed = _hash([path for path in found if path.is_file() and "__pycache__" not in path.parts])
        return {"agent": name, "options": options, "code": hashed, "prompts": ""}
    agent = names.resolve(name, NICKNAMES, "agent")
    taken = inspect.signature(agent).parameters.values()
    usual = {each.name: each.default for each in taken if each.kind is each.KEYWORD_ONLY and each.default != each.empty}
    kin = _kin(inspect.getmodule(agent))
    words = [module for module in kin if module.__name__.endswith(".prompts")]
    told = [path for module in words for path in getattr(module, "in_force", lambda _: [])({**usual, **options})]
    code, prompts = _files([module for module in kin if module not in words]), [*_files(words), *told]
    if name == "best-of-n":
        usual["of"] = about(nested(options))
    return {"agent": name, "options": {**usual, **options}, "code": _hash(code), "prompts": _hash(prompts)}


def own_program(line: str) -> Path | None:
    """The program of the user's that a command line begins with: a path that is none of the system's."""
    first = (line.split() or [""])[0]
    if "/" not in first or first.startswith(("/usr/", "/bin/", "/opt/")):
        return None
    return Path(first).expanduser() if first.startswith("~/") else Path(first)


def _hash(files: list[Path]) -> str:
    """The first 16 hex digits of the sha256 of the files together; empty for none."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16] if files else ""


def _kin(module: ModuleType | None) -> list[ModuleType]:
    """A module and those beside it that it takes things from, and those that these do, by name."""
    package = module.__name__.rpartition(".")[0] if module else ""
    kin, new = dict[str, ModuleType](), [module] if module else []
    while new:
        one = new.pop()
        kin[one.__name__] = one
        for value in vars(one).values():
            name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
            known = package and isinstance(name, str) and name.startswith(f"{package}.") and name in sys.modules
            new += [sys.modules[name]] if known and name not in kin else []
    return [kin[name] for name in sorted(kin)]


def _files(modules: Iterable[ModuleType]) -> list[Path]:
    """The source files of modules."""
    return [path for one in modules if one.__file__ and (path := Path(one.__file__)).is_file()]


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
        whole = isinstance(default, float) and isinstance(value, int)
        if isinstance(default, bool | int | float | str) and not isinstance(value, type(default)) and not whole:
            raise UsageError(f"The option '{key}' of '{name}' is {type(default).__name__}, such as {key}={default}.")
    return partial(agent, **options, **more)
