"""An environment as TRL's `environment_factory` takes it: a class whose public methods are the tools."""

import inspect
import time
from typing import Any, ClassVar, get_type_hints

from mlgym import tools as toolbox
from mlgym.errors import MlgymError, StorageError, UsageError
from mlgym.session import LocalSession

SHARE = 0.8  # of the time after which the other processes of a training give up waiting for this one
DDP_TIMEOUT_S = 1800  # that time where nothing else is said (transformers.TrainingArguments.ddp_timeout)


class Environment:
    """One episode after another; after the end of one, calls change nothing. `limit` are its seconds."""

    _tools, _limit = "modern", SHARE * DDP_TIMEOUT_S
    _options: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self._session: LocalSession | None = None
        self._task, self._why = "", "There is no episode yet."

    def reset(self, task: str, seed: int = 0, **_: Any) -> str:
        """Begin an episode of a row's task; returns the brief, or why there is none: that one is not scored."""
        if self._task != task:
            self._drop()
        try:
            self._session = self._session or LocalSession(task, tools=self._tools, **self._options)
            self._session.deadline = time.monotonic() + self._limit
            self._task = task
            return self._session.reset(int(seed))
        except MlgymError as error:
            self._drop()
            if isinstance(error, UsageError | StorageError):
                raise
            self._why = f"The episode could not begin: {error}"
            return self._why

    def get_reward(self) -> float | None:
        """End the episode where it still goes on, graded as it stands; None where it is not scored."""
        if self._session is None:
            return None
        late = time.monotonic() >= (self._session.deadline or 0.0)
        self._session.finish("time" if late else "gave_up")
        return self._session.reward

    def _call(self, name: str, args: dict[str, Any]) -> str:
        return self._session.call(name, args).text if self._session else self._why

    def _drop(self) -> None:
        if self._session:
            self._session.close()
        self._session = None


def environment_class(tools: str = "modern", *, deadline: float | None = None, **options: Any) -> type[Environment]:
    """A class of environments as `environment_factory` takes it: its public methods are the tools of that set.

    `deadline` are the seconds of an episode, 0.8 of TRL's own limit where None; `options` as for `LocalSession`.
    """
    limit = SHARE * DDP_TIMEOUT_S if deadline is None else deadline
    methods = {tool.__name__: _method(tool) for tool in toolbox.toolset(tools).values()}
    return type("MlgymEnvironment", (Environment,), {"_tools": tools, "_limit": limit, "_options": options, **methods})


def _method(tool: toolbox.Tool) -> Any:
    """A tool as a method: its signature, and its docstring as transformers makes a schema of it."""
    function = toolbox.schema(tool)["function"]
    known: dict[str, Any] = function["parameters"]["properties"]

    def method(self: Any, *given: Any, **args: Any) -> str:
        return str(self._call(tool.__name__, {**dict(zip(known, given, strict=False)), **args}))

    hints = {name: kind for name, kind in get_type_hints(tool).items() if name in known or name == "return"}
    told = [f"    {name}: {about.get('description', name)}" for name, about in known.items()]
    first, *others = inspect.signature(tool).parameters.values()
    method.__name__ = tool.__name__
    method.__doc__ = "\n".join([function["description"], *(["", "Args:", *told] if told else [])])
    method.__annotations__ = hints
    signature = inspect.Signature([first.replace(name="self"), *others], return_annotation=str)
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method
