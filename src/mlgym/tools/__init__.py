"""Tools: documented functions of the session; the signature is the JSON schema, the docstring the manual.

`toolset` gives a set, `parse` reads a text action, `call` runs one, `schema` describes one to a model.
"""

from typing import Literal

from mlgym.errors import UsageError
from mlgym.records import Action, Observation
from mlgym.tools import classic, files, search
from mlgym.tools.classic import footer
from mlgym.tools.grading import submit, validate
from mlgym.tools.lint import lint_binds
from mlgym.tools.schema import arguments, schema
from mlgym.tools.session import Session, Tool, ToolError
from mlgym.tools.shell import bash
from mlgym.tools.text import parse

__all__ = ["Session", "Tool", "ToolError", "call", "footer", "lint_binds", "parse", "schema", "toolset"]

Status = Literal["ok", "error", "timeout", "format", "end"]
LONGEST = 200_000  # characters of an observation

MODERN: tuple[Tool, ...] = (bash, files.view, files.create, files.str_replace, files.insert, validate, submit)
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


def toolset(name: str) -> dict[str, Tool]:
    """The tools of the set "modern" or "classic", by name; raises UsageError for another name.

    The classic set has shell commands in text actions only, so that `bash` is not among its tools.
    """
    if name not in SETS:
        raise UsageError(f"There is no set of tools '{name}'; there are {' and '.join(SETS)}.")
    return {tool.__name__: tool for tool in SETS[name]}


def call(session: Session, action: Action, tools: dict[str, Tool]) -> Observation:
    """Run one tool call. What the agent did wrong is an observation; SandboxError and GradingError are raised."""
    before, session.attempt = session.ended, None
    status: Status = "ok"
    try:
        tool = bash if action.tool == "bash" else tools.get(action.tool)
        if tool is None:
            raise ToolError(f"There is no tool '{action.tool[:60]}'; the tools are {', '.join(tools)}.", "format")
        text = tool(session, **arguments(tool, action.args))
    except ToolError as error:
        text, status = str(error), error.status
    except OSError as error:
        text, status = _said(error), "error"
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
