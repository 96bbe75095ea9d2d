"""A person at a prompt: shown the task, types commands, sees what came of them."""

import contextlib
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from functools import partial

from mlgym.agents import Search
from mlgym.agents.budget import left
from mlgym.agents.commands import tool_names
from mlgym.agents.prompts import Prompts, middle_out
from mlgym.errors import UsageError
from mlgym.models import Model
from mlgym.records import Action, Brief, Move, Observation

PROMPT, MORE = "> ", ". "
FENCE = "```"
MOST = 50_000  # characters of an observation
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
HELP = """\
A line is a command. One that ends in a backslash goes on in the next line; lines between two lines of three backticks \
are one command.
{commands}
? shows this, ?? the task again. The end of input (Ctrl-D) stops, Ctrl-C interrupts: the same command goes on then."""
BY_NAME = "Anything that does not begin with the name of a tool is run by bash; the tools are: {tools}."
MODERN = "Commands are run by bash, but `validate` and `submit`, alone on a line, grade; `submit` ends the episode."


def human(brief: Brief, model: Model | None, *, moves: Iterable[Move]) -> Search:
    """Show the task, then read commands from standard input until one submits or the input ends.

    The recorded `moves` of an episode that goes on are done first, without asking. Raises UsageError where there is no
    standard input.
    """
    tools = ", ".join(tool_names(brief))
    manual = HELP.format(commands=MODERN if "bash" in tool_names(brief) else BY_NAME.format(tools=tools))
    task = Prompts().task(brief)
    _show(_wrapped(f"{task}\n\n{manual}\n"))
    keep = _history()
    for move in moves:
        seen = yield move
        if isinstance(move, Action):
            keep(_typed(move))
            _show(f"{PROMPT}{_typed(move)}")
            _shown(seen)
    while (text := _read()) is not None:
        if text.strip() in ("?", "??"):
            _show(_wrapped(task if text.strip() == "??" else manual))
        elif text.strip():
            _shown((yield Action(tool="", args={"text": text})))
    if _line("Submit what lies in the workspace? [y/N] ") in ("y", "Y", "yes"):
        yield Action(tool="submit")
    return "The input ended."


def _history() -> Callable[[str], None]:
    """At a terminal, let `input` edit lines and remember them; what is given to the answer is remembered too."""
    with contextlib.suppress(ImportError):
        if sys.stdin and sys.stdin.isatty():
            import readline

            return lambda text: None if "\n" in text else readline.add_history(text)
    return lambda text: None


def _wrapped(text: str) -> str:
    """Text for reading, at a terminal with its lines broken between words."""
    if not sys.stdout.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns)
    fill = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(line if len(line) <= width else fill(line) for line in text.split("\n"))


def _read() -> str | None:
    """A command, of several lines where they belong together; None at the end of the input."""
    line = _line(PROMPT)
    if line is None:
        return None
    lines = []
    if line.strip().startswith(FENCE):
        while (line := _line(MORE)) is not None and line.strip() != FENCE:
            lines.append(line)
        return "\n".join(lines)
    while line is not None and line.endswith("\\") and not line.endswith("\\\\"):
        lines.append(line)
        line = _line(MORE)
    return "\n".join([*lines, line or ""])


def _line(prompt: str) -> str | None:
    """A line of standard input; None at its end."""
    try:
        return input(prompt)
    except EOFError:
        print()
        return None
    except (RuntimeError, OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The agent human reads commands from standard input, which cannot be read: {error}."
        ) from error


def _typed(action: Action) -> str:
    args = action.args
    return str(args.get("text") or args.get("command") or f"{action.tool} {' '.join(map(str, args.values()))}".strip())


def _shown(seen: Observation) -> None:
    """Print what came of a command, and what is left."""
    _show("\n".join(filter(None, (middle_out(seen.text.rstrip("\n"), MOST), left(seen)))))


def _show(text: str) -> None:
    """Print text without control characters and terminal escapes, which may come from a program in the sandbox."""
    print(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n")), flush=True)
