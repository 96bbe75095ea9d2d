"""Text actions: which tool a line of text means."""

import shlex

from mlgym.records import Action
from mlgym.tools.schema import parameters
from mlgym.tools.session import Tool

BLOCKS = {"edit": "end_of_edit", "insert": "end_of_insert"}
ALONE = ("validate", "submit")
SURPLUS = "surplus"


def parse(text: str, tools: dict[str, Tool]) -> Action:
    """The action that a text means with these tools; what is wrong in it shows when it is called.

    With the classic set, a text whose first word is a tool's name is that tool. With a set that has `bash`, only
    `validate` and `submit`, alone, are tools. All else is a shell command.
    """
    command = Action(tool="bash", args={"command": text})
    if "bash" in tools:
        alone = text.strip()
        return Action(tool=alone) if alone in ALONE and alone in tools else command
    first, _, body = text.lstrip().partition("\n")
    name, *rest = first.split(maxsplit=1) or [""]
    if name not in tools:
        return command
    names = list(parameters(tools[name]))
    args: dict[str, str] = {}
    if name in BLOCKS:
        block, body = _block(body, BLOCKS[name])
        last = names.pop()
        if block is not None:
            args[last] = block
    words = _words(rest[0] if rest else "")
    args |= dict(zip(names, words, strict=False))
    surplus = [*words[len(names) :], *([body.strip()] if body.strip() else [])]
    return Action(tool=name, args={**args, SURPLUS: "\n".join(surplus)} if surplus else args)


def _words(text: str) -> list[str]:
    """The words of a command line, quotes taken off where they are balanced."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _block(body: str, end: str) -> tuple[str | None, str]:
    """The lines before the end marker, each with its newline, and what follows it; None where there is no marker."""
    lines = body.split("\n")
    for place, line in enumerate(lines):
        if line.rstrip() == end:
            return "".join(each + "\n" for each in lines[:place]), "\n".join(lines[place + 1 :])
    return None, ""
