"""The lines of an episode's JSONL files: where each lies, and a few facts of each, read once and then only what is new.

A line is counted by its place, from 1 on: what a step or a call says of its own number is not needed to find it.
"""

import json
import os
import threading
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Generic, NamedTuple, Self, TypeVar

from pydantic_core import from_json

from mlgym.disk import reading
from mlgym.runs import BROKEN
from mlgym.viewer.commands import gist

LONGEST = 200  # characters kept of an action's argument, or of a name
ARGUMENTS, MOST = 12, 100  # of an action, and of other things that a step has several of
ENDING = 64  # bytes before an offset
LINE, TOGETHER = 30_000_000, 100_000_000  # bytes of a line, and of all lines that are read at once: longer ones are not
F = TypeVar("F")


class Fact(NamedTuple):
    """What is kept of a step: all but its texts. `size` counts its observation, `deed` is its action's fingerprint."""

    n: int
    tool: str = "unread"
    args: dict[str, Any] = {}  # noqa: RUF012 - never changed
    status: str = "error"
    hit: str = ""
    size: int = 0
    validation: dict[str, float] | None = None
    money_left: float | None = None
    command_s: float = 0.0
    model_s: float = 0.0
    grader_s: float = 0.0
    attempt: int | None = None
    calls: int = 0
    marks: Sequence[str] = ()
    deed: int = 0


class Call(NamedTuple):
    """What is kept of a model call: all but its texts. `keep` messages stay from the call before, `new` are added."""

    n: int
    keep: int = 0
    new: int = 0
    tools: Sequence[str] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    money: float | None = None
    seconds: float = 0.0
    stop: str = ""
    model: str = ""
    upstream: str = ""
    asked: int = 0  # how many tool calls the reply has


def fact(n: int, line: bytes) -> Fact:
    """The facts of the step that is line `n`; one that cannot be read has the tool `unread`."""
    with suppress(*BROKEN):
        step = from_json(line)
        action, seen = step["action"], step["observation"]
        told = {name: float(step.get(name) or 0.0) for name in ("command_s", "model_s", "grader_s")}
        return Fact(
            n=n,
            tool=_text(action["tool"]),
            args=_short(action.get("args") or {}),
            status=_text(seen.get("status")) or "ok",
            hit=_text(seen.get("hit")),
            size=len(seen["text"]),
            validation=dict(list((seen.get("validation") or {}).items())[:MOST]) or None,
            money_left=seen.get("money_left"),
            attempt=step.get("attempt"),
            calls=int(step.get("calls") or 0),
            marks=[*map(_text, (step.get("marks") or ())[:MOST])],
            deed=deed(str(action["tool"]), action.get("args") or {}),
            **told,
        )
    return Fact(n)


def deed(tool: str, args: dict[str, Any]) -> int:
    """A fingerprint of an action: two that do the same have the same."""
    return zlib.crc32(json.dumps([tool, args], sort_keys=True).encode())


def call(n: int, line: bytes) -> Call:
    """The facts of the model call that is line `n`."""
    with suppress(*BROKEN):
        told = from_json(line)
        reply = told["reply"]
        kept: dict[str, Any] = {
            name: int(reply.get(name) or 0) for name in ("tokens_in", "tokens_out", "tokens_cached")
        }
        kept |= {name: _text(reply.get(name)) for name in ("stop", "model", "upstream")}
        return Call(
            n=n,
            keep=int(told.get("keep") or 0),
            new=len(told.get("messages") or ()),
            tools=[*map(_text, (told.get("tools") or ())[:MOST])],
            money=reply.get("money"),
            seconds=float(reply.get("seconds") or 0.0),
            asked=len(reply.get("calls") or ()),
            **kept,
        )
    return Call(n)


def whole(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """The whole lines of a file from where it is, and how long each is; one of more than LINE bytes is empty."""
    while line := file.readline(LINE):
        size = len(line)
        while not line.endswith(b"\n"):
            rest = file.readline(LINE)
            if not rest:
                return
            line, size = rest[-1:], size + len(rest)
        yield (line if len(line) == size else b"\n"), size


def _text(value: Any) -> str:
    return str(value or "")[:LONGEST]


def _short(args: dict[str, Any]) -> dict[str, Any]:
    """The heads of an action's arguments; of a command its gist."""
    told = {str(key)[:LONGEST]: str(value)[:LONGEST] for key, value in list(args.items())[:ARGUMENTS]}
    command = args.get("command")
    return told | ({"command": gist(command)[:LONGEST]} if isinstance(command, str) else {})


class Mark(NamedTuple):
    """By what a file that was read to some offset is known again: a file system may give a new one the same inode."""

    inode: int = 0
    ending: bytes = b""

    @classmethod
    def at(cls, file: IO[bytes], offset: int) -> Self:
        """That of an open file."""
        file.seek(max(0, offset - ENDING))
        return cls(os.fstat(file.fileno()).st_ino, file.read(min(offset, ENDING)))

    def goes_on(self, file: IO[bytes], offset: int) -> bool:
        """Whether an open file is the one that was read to there, longer or not."""
        return os.fstat(file.fileno()).st_size >= offset and self == Mark.at(file, offset)


class Growing(Generic[F]):
    """A JSONL file that grows. `offsets` are where its whole lines begin and where the last ends, `facts` those of each
    line; a file that was replaced is read again, a torn last line is not there yet.
    """

    def __init__(self, path: Path, read: Callable[[int, bytes], F]) -> None:
        self.path, self._read = path, read
        self._mark = Mark()
        self.offsets, self.facts = array("q", [0]), list[F]()
        self._lock = threading.Lock()

    def look(self) -> bool:
        """Read what is new; whether anything was."""
        with self._lock:
            return self._look()

    def now(self) -> list[F]:
        """The facts of all lines that were read."""
        with self._lock:
            return list(self.facts)

    def _look(self) -> bool:
        try:
            file = reading(self.path)
        except OSError:
            changed = bool(self.facts)
            self._again()
            return changed
        with file:
            changed = not self._mark.goes_on(file, self.offsets[-1])
            if changed:
                self._again()
            file.seek(self.offsets[-1])
            for line, size in whole(file):
                self.facts.append(self._read(len(self.facts) + 1, line[:-1]))
                self.offsets.append(self.offsets[-1] + size)
                changed = True
            if changed:
                self._mark = Mark.at(file, self.offsets[-1])
        return changed

    def lines(self, first: int, count: int) -> list[bytes]:
        """So many whole lines from line `first` (1 is the first) on; no others are read. Empty ones, where they are too
        long together.
        """
        with self._lock:
            first = max(1, first)
            last = min(first - 1 + count, len(self.facts))
            if last < first:
                return []
            start, size = self.offsets[first - 1], self.offsets[last] - self.offsets[first - 1]
        if size > TOGETHER:
            return [b""] * (last - first + 1)
        with suppress(OSError), reading(self.path) as file:
            file.seek(start)
            return file.read(size).split(b"\n")[:-1]
        return []

    def take(self, mark: Mark, offsets: "array[int]", facts: list[F]) -> None:
        """Begin with what was read before."""
        self._mark, self.offsets, self.facts = mark, offsets, facts

    def _again(self) -> None:
        self.offsets, self.facts = array("q", [0]), []
