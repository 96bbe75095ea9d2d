"""The lines of an episode's JSONL files: where each lies, and a few facts of each, read once and then only what is new.

A line is counted by its place, from 1 on: what a step or a call says of its own number is not needed to find it.
"""

import json
import os
import threading
import zlib
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Generic, NamedTuple, TypeVar

from pydantic_core import from_json

from mlgym.viewer.commands import gist

LONGEST = 200  # characters kept of an action's argument
ARGUMENTS = 12
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
F = TypeVar("F")


class Fact(NamedTuple):
    """What is kept of a step: all but its texts. `size` counts its observation, `deed` is its action's fingerprint."""

    n: int
    tool: str = "unread"
    args: dict[str, Any] = {}  # noqa: RUF012 - never changed
    call: str = ""
    thought: bool = False
    status: str = "error"
    hit: str = ""
    size: int = 0
    validation: dict[str, float] | None = None
    steps_left: int | None = None
    money_left: float | None = None
    reward: float | None = None
    command_s: float = 0.0
    model_s: float = 0.0
    grader_s: float = 0.0
    attempt: int | None = None
    calls: int = 0
    marks: tuple[str, ...] = ()
    deed: int = 0


class Call(NamedTuple):
    """What is kept of a model call: all but its texts. `keep` messages stay from the call before, `new` are added."""

    n: int
    keep: int = 0
    new: int = 0
    tools: tuple[str, ...] = ()
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
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        step = from_json(line)
        action, seen = step["action"], step["observation"]
        told: dict[str, Any] = {name: seen.get(name) for name in ("validation", "steps_left", "money_left")}
        told |= {name: float(step.get(name) or 0.0) for name in ("command_s", "model_s", "grader_s")}
        told |= {name: step.get(name) for name in ("reward", "attempt")}
        return Fact(
            n=n,
            tool=str(action["tool"]),
            args=_short(action.get("args") or {}),
            call=str(action.get("call") or ""),
            thought=bool(action.get("thought")),
            status=str(seen.get("status") or "ok"),
            hit=str(seen.get("hit") or ""),
            size=len(seen["text"]),
            calls=int(step.get("calls") or 0),
            marks=tuple(map(str, step.get("marks") or ())),
            deed=deed(str(action["tool"]), action.get("args") or {}),
            **told,
        )
    return Fact(n)


def deed(tool: str, args: dict[str, Any]) -> int:
    """A fingerprint of an action: two that do the same have the same."""
    return zlib.crc32(json.dumps([tool, args], sort_keys=True).encode())


def call(n: int, line: bytes) -> Call:
    """The facts of the model call that is line `n`."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        told = from_json(line)
        reply = told["reply"]
        kept: dict[str, Any] = {
            name: int(reply.get(name) or 0) for name in ("tokens_in", "tokens_out", "tokens_cached")
        }
        kept |= {name: str(reply.get(name) or "") for name in ("stop", "model", "upstream")}
        return Call(
            n=n,
            keep=int(told.get("keep") or 0),
            new=len(told.get("messages") or ()),
            tools=tuple(map(str, told.get("tools") or ())),
            money=reply.get("money"),
            seconds=float(reply.get("seconds") or 0.0),
            asked=len(reply.get("calls") or ()),
            **kept,
        )
    return Call(n)


def reading(path: Path | str) -> IO[bytes]:
    """A file opened for reading; a link is not followed. Raises OSError."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | NO_LINK))


def _short(args: dict[str, Any]) -> dict[str, Any]:
    """The heads of an action's arguments; of a command its gist."""
    told = {str(key)[:LONGEST]: str(value)[:LONGEST] for key, value in list(args.items())[:ARGUMENTS]}
    command = args.get("command")
    return told | ({"command": gist(command)[:LONGEST]} if isinstance(command, str) else {})


class Growing(Generic[F]):
    """A JSONL file that grows. `offsets` are where its whole lines begin and where the last ends, `facts` those of each
    line; a file that was replaced is read again, a torn last line is not there yet.
    """

    def __init__(self, path: Path, read: Callable[[int, bytes], F]) -> None:
        self.path, self._read = path, read
        self.inode = 0
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
            self._again(0)
            return changed
        with file:
            about = os.fstat(file.fileno())
            changed = about.st_ino != self.inode or about.st_size < self.offsets[-1]
            if changed:
                self._again(about.st_ino)
            file.seek(self.offsets[-1])
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.facts.append(self._read(len(self.facts) + 1, line[:-1]))
                self.offsets.append(self.offsets[-1] + len(line))
                changed = True
        return changed

    def lines(self, first: int, count: int) -> list[bytes]:
        """So many whole lines from line `first` (1 is the first) on; no others are read."""
        with self._lock:
            first = max(1, first)
            last = min(first - 1 + count, len(self.facts))
            if last < first:
                return []
            start, stop = self.offsets[first - 1], self.offsets[last]
        with reading(self.path) as file:
            file.seek(start)
            return file.read(stop - start).split(b"\n")[:-1]

    def take(self, inode: int, offsets: "array[int]", facts: list[F]) -> None:
        """Begin with what was read before."""
        self.inode, self.offsets, self.facts = inode, offsets, facts

    def _again(self, inode: int) -> None:
        self.inode = inode
        self.offsets, self.facts = array("q", [0]), []
