"""The text protocol: the command of a reply stands in a block fenced by three backticks."""

import re
from typing import NamedTuple

_FENCE = re.compile(r"^ {0,3}(`{3,})[ \t]*([^`\n]*)$")
_ONE_LINE = re.compile(r"^ {0,3}`{3,}([^`\n]+)`{3,}[ \t]*$")


class Spoken(NamedTuple):
    """A reply taken apart: the thought around the block, the command in it, and a note for the model."""

    thought: str
    command: str
    note: str = ""


class NotSpoken(ValueError):
    """The reply has no command; the message tells the model why."""


def spoken(text: str, strict: bool = False) -> Spoken:
    """The command of a reply: what stands between the outermost fences; a language may follow the first.

    Of several blocks the last one is taken, and the note says so; with `strict` they are an error. A fence with a
    language inside a block opens a block within it. Raises NotSpoken.
    """
    lines = text.split("\n")
    blocks = _blocks(lines)
    if not blocks:
        raise NotSpoken("it has no complete block fenced by three backticks")
    if strict and len(blocks) > 1:
        raise NotSpoken(f"it has {len(blocks)} fenced blocks, and only one is allowed")
    first, last = blocks[-1]
    one_line = _ONE_LINE.match(lines[first])
    command = one_line.group(1) if one_line else "\n".join(lines[first + 1 : last])
    if not command.strip():
        raise NotSpoken("its block is empty")
    note = f"(Your reply had {len(blocks)} blocks; only the last one was run.)" if len(blocks) > 1 else ""
    thought = "\n".join([*lines[:first], *lines[last + 1 :]]).strip()
    return Spoken(thought, command, note)


def _blocks(lines: list[str]) -> list[tuple[int, int]]:
    """First and last line of each outermost block that is closed."""
    blocks: list[tuple[int, int]] = []
    opened: list[tuple[int, int]] = []  # line and length of the fences that are open
    for number, line in enumerate(lines):
        if not opened and _ONE_LINE.match(line):
            blocks.append((number, number))
        fence = _FENCE.match(line)
        if not fence:
            continue
        if opened and (fence.group(2).strip() == "" and len(fence.group(1)) >= opened[-1][1]):
            start, _ = opened.pop()
            if not opened:
                blocks.append((start, number))
        elif not opened or fence.group(2).strip():
            opened.append((number, len(fence.group(1))))
    return blocks
