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


def spoken(text: str, strict: bool = False, whole: bool = False) -> Spoken:
    """The command of a reply: what stands between the outermost fences; a language may follow the first.

    Of several blocks the last one is taken, and the note says so; with `strict` they are an error. A fence with a
    language inside a block opens a block within it. A last block that is never closed is taken, and the note says so,
    where the reply is known to be `whole` and no other fence stands in it; with `strict` it is not seen, and in a reply
    that may have been cut off it is an error. Raises NotSpoken.
    """
    lines = text.split("\n")
    blocks, open_at = _blocks(lines)
    if not any(line.strip() for line in lines[open_at + 1 :]):
        open_at = len(lines)
    notes = []
    if open_at < len(lines) and not strict:
        if not whole or any(map(_FENCE.match, lines[open_at + 1 :])):
            raise NotSpoken("its last block has no closing fence")
        blocks.append((open_at, len(lines)))
        notes.append("(Your block had no closing fence; it was run up to the end of your reply.)")
    if not blocks:
        raise NotSpoken("it has no complete block fenced by three backticks")
    if strict and len(blocks) > 1:
        raise NotSpoken(f"it has {len(blocks)} fenced blocks, and only one is allowed")
    first, last = blocks[-1]
    one_line = _ONE_LINE.match(lines[first])
    command = one_line.group(1) if one_line else "\n".join(lines[first + 1 : last])
    if not command.strip():
        raise NotSpoken("its block is empty")
    if len(blocks) > 1:
        notes.append(f"(Your reply had {len(blocks)} blocks; only the last one was run.)")
    thought = "\n".join([*lines[:first], *lines[last + 1 :]]).strip()
    return Spoken(thought, command, "\n".join(notes))


def _blocks(lines: list[str]) -> tuple[list[tuple[int, int]], int]:
    """First and last line of each outermost block that is closed, and the first of one that is not (or the end)."""
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
    return blocks, opened[0][0] if opened else len(lines)
