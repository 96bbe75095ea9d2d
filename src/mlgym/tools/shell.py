"""The shell as a tool."""

import re

from mlgym.records import Limits
from mlgym.sandbox.shell import Ran
from mlgym.tools.session import Session, ToolError

# A word that is the name of Python or of what starts it on several cards, with or without a folder.
STARTERS = r"i?python[\d.]*|torchrun|accelerate|deepspeed"
STARTS_PYTHON = re.compile(rf"(?<![^\s;&|()`])(?:[^\s;&|()`]*/)?(?:{STARTERS})(?![^\s;&|()`])")


def bash(session: Session, command: str, timeout: float | None = None) -> str:
    """Run a command, or a script of many lines, in your persistent bash shell and get what it printed. The directory,
    variables, functions and background jobs are kept from call to call. There is no terminal and no standard input.

    command: what bash is to run
    timeout: seconds after which the command is stopped; by default, and at most, the limit of the task
    """
    if timeout is not None and timeout <= 0:
        raise ToolError("`bash` needs a timeout above 0 seconds.", "format")
    limit = longest(command, session.limits)
    ran = session.shell.run(command, limit if timeout is None else min(timeout, limit))
    return _told(ran)


def longest(command: str, limits: Limits) -> float:
    """The seconds that a command may take: `training_s` where it starts Python and that limit is set.

    The command's text decides, so a script of the shell that starts Python inside counts as an ordinary command.
    """
    return limits.training_s if limits.training_s and STARTS_PYTHON.search(command) else limits.command_s


def _told(ran: Ran) -> str:
    """What the command printed and, unless it just went well, how it ended; raises ToolError where it did not."""
    if ran.status == "timeout":
        note = f"(Stopped after {ran.seconds:.3g} seconds. The shell is as before, and what was printed is kept.)"
        raise ToolError(_with(ran.output, note), "timeout")
    if ran.status == "restarted":
        note = f"(The shell ended and was started anew in {ran.cwd}; its variables and functions are gone.)"
        raise ToolError(_with(ran.output, note))
    if ran.code:
        raise ToolError(_with(ran.output, f"(Exit code {ran.code}.)"))
    return ran.output


def _with(output: str, note: str) -> str:
    return f"{output}\n{note}" if output and not output.endswith("\n") else output + note
