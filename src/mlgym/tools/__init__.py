"""Tools: documented functions of the session; the signature is the JSON schema, the docstring the manual.

`toolset` gives a set, `parse` reads a text action, `call` runs one, `schema` describes one to a model.
"""

import inspect
from collections import Counter
from typing import Any, Literal, get_type_hints

from mlgym import names
from mlgym.errors import MlgymError, UsageError
from mlgym.records import Action, Observation
from mlgym.tools import classic, files, search
from mlgym.tools.classic import footer
from mlgym.tools.grading import submit, validate
from mlgym.tools.jobs import catch_up, job, ran_since
from mlgym.tools.lint import lint_binds
from mlgym.tools.memory import recall, remember
from mlgym.tools.papers import read_paper, search_papers
from mlgym.tools.schema import arguments, schema
from mlgym.tools.session import Papers, Session, Tool, ToolError
from mlgym.tools.shell import bash
from mlgym.tools.text import parse

__all__ = [
    "HOSTED",
    "Papers",
    "Session",
    "Tool",
    "ToolError",
    "call",
    "catch_up",
    "footer",
    "lint_binds",
    "parse",
    "ran_since",
    "schema",
    "toolset",
]

Status = Literal["ok", "error", "timeout", "format", "end"]
LONGEST = 200_000  # characters of an observation

MODERN: tuple[Tool, ...] = (bash, files.view, files.create, files.str_replace, files.insert, job, validate, submit)
CLASSIC: tuple[Tool, ...] = (
    classic.open,
    classic.goto,
    classic.scroll_down,
    classic.scroll_up,
    classic.create,
    classic.edit,
    classic.insert,
    search.search_dir,
    search.search_file,
    search.find_file,
    validate,
    submit,
)
SETS = {"modern": MODERN, "classic": CLASSIC}
MEMORY: tuple[Tool, ...] = (remember, recall)
LITERATURE: tuple[Tool, ...] = (search_papers, read_paper)
# What they do and answer lies outside the sandbox: a playback does not call them again.
HOSTED = tuple(tool.__name__ for tool in (*MEMORY, *LITERATURE))


def toolset(name: str, *, memory: bool = False, papers: bool = False) -> dict[str, Tool]:
    """The tools of the set "modern" or "classic", by name, with those of memory and literature where these are on.

    A tool of the user's own is added with a plus: `modern+package.module:function`. The classic set has shell commands
    in text actions only, so that `bash` is not among its tools. Raises UsageError for another set, a function that
    cannot be a tool, and two tools of one name.
    """
    first, *more = name.split("+")
    if first not in SETS:
        raise UsageError(f"There is no set of tools '{first}'; there are {' and '.join(SETS)}.")
    hosted = [*(MEMORY if memory else ()), *(LITERATURE if papers else ())]
    tools = [*SETS[first], *hosted, *(_own(each) for each in more)]
    by_name = {tool.__name__: tool for tool in tools}
    if len(by_name) < len(tools):
        twice = Counter(tool.__name__ for tool in tools).most_common(1)[0][0]
        raise UsageError(f"The set of tools '{name}' has two tools '{twice}': give your function another name.")
    return by_name


def _own(name: str) -> Tool:
    """A tool of the user's own."""
    if ":" not in name:
        raise UsageError(f"A tool of your own is named as package.module:function, not '{name}'.")
    tool: Any = names.resolve(name, {}, "tool")
    try:
        described = schema(tool)["function"]["description"]
        fits = tool.__name__.isidentifier() and get_type_hints(tool).get("return") is str
    except (AttributeError, KeyError, NameError, TypeError, ValueError):
        described = fits = False
    if not described or not fits or not inspect.signature(tool).parameters:
        raise UsageError(
            f"The tool '{name}' should be a function of the session and of str, int, float, bool or Literal arguments "
            "that returns str, with annotations and a docstring."
        )
    made: Tool = tool
    return made


def call(session: Session, action: Action, tools: dict[str, Tool]) -> Observation:
    """Run one tool call. What the agent did wrong is an observation; SandboxError and GradingError are raised."""
    before, session.attempt = session.ended, None
    status: Status = "ok"
    tool = bash if action.tool == "bash" else tools.get(action.tool)
    try:
        if tool is None:
            raise ToolError(f"There is no tool '{action.tool[:60]}'; the tools are {', '.join(tools)}.", "format")
        text = tool(session, **arguments(tool, action.args))
    except ToolError as error:
        text, status = str(error), error.status
    except OSError as error:
        text, status = _said(error), "error"
    except Exception as error:
        if isinstance(error, MlgymError) or str(getattr(tool, "__module__", "")).startswith("mlgym."):
            raise
        text, status = f"The tool `{action.tool}` failed: {type(error).__name__}: {error}", "error"
    return Observation(
        text=_cut(text),
        status="end" if session.ended and not before else status,
        tool=action.tool,
        hit=session.shell.hit(),
        validation=session.shown(),
        id=action.id,
    )


def _said(error: OSError) -> str:
    """A failure of the file system in one sentence."""
    text = f"{error.filename}: {error.strerror}" if error.strerror and error.filename else str(error)
    return text if text.endswith(".") else text + "."


def _cut(text: str) -> str:
    """The text, its middle left out where it is longer than LONGEST characters."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
