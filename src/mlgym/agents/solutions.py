"""A solution in a model's reply: whole files in fenced blocks that name their paths."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_FENCE = re.compile(r" {0,3}(`{3,})[ \t]*([^`]*)$")
_PATH = re.compile(r"(?<![\w./-])[\w./-]{0,200}\w\.\w{1,20}")
_SHELLS = ("sh", "bash", "shell", "console")


class Solution(NamedTuple):
    """What a reply says: the plan around its blocks, files by path, and a command, empty where it has none."""

    plan: str
    files: dict[str, str]
    command: str


class NotWritten(ValueError):
    """The reply has no solution; the message tells the model why."""


def solution(text: str, known: Sequence[str]) -> Solution:
    """The solution of a reply.

    A block's path follows its fence, or stands in its first line, a comment, or in the line before the fence; where
    there is none, the block is the only one of the `known` files. A block of the shell without a path is the command.
    Raises NotWritten.
    """
    files, command, plan = dict[str, str](), "", list[str]()
    for said, info, body in _parts(text):
        plan += said
        if info is None:
            continue
        path = _path(said, info, body, known)
        if path:
            files[path] = body
        elif info.split()[:1] and info.split()[0].lower() in _SHELLS:
            command = body.strip()
        else:
            raise NotWritten("one of its blocks does not say which file it is")
    if not files and not command:
        raise NotWritten("it has no block fenced by three backticks")
    return Solution("\n".join(plan).strip(), files, command)


def _path(said: Sequence[str], info: str, body: str, known: Sequence[str]) -> str:
    if found := _PATH.findall(info):
        return str(found[-1])
    if info.split()[:1] and info.split()[0].lower() in _SHELLS:
        return ""
    first = body.partition("\n")[0]
    before = next((line for line in reversed(said) if line.strip()), "")
    for line in (first if first.startswith(("#", "//")) else "", before):
        named = [path for path in _PATH.findall(line) if path in known or line.strip(" #/*`:_") == path]
        if named:
            return str(named[-1])
    return known[0] if len(known) == 1 else ""


def _parts(text: str) -> Iterator[tuple[list[str], str | None, str]]:
    """The blocks in order: the lines before one, what follows its fence, and what is in it; then the lines after the
    last, without a block. Raises NotWritten for a block that does not end.
    """
    said, body, opened = list[str](), list[str](), ("", "")
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if opened[0]:
            if fence and not fence[2] and len(fence[1]) >= len(opened[0]):
                yield said, opened[1], "\n".join(body) + "\n"
                said, body, opened = [], [], ("", "")
            else:
                body.append(line)
        elif fence:
            opened = fence[1], fence[2].strip()
        else:
            said.append(line)
    if opened[0]:
        raise NotWritten("its last block does not end; write less at a time")
    yield said, None, ""
