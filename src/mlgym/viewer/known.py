"""What is known of the workspace's files before a step, from what the steps before it wrote and saw.

It serves to show a change as a difference. It is left unknown rather than guessed: what a command may have changed in
another way is forgotten.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from mlgym.records import Step
from mlgym.viewer import differences
from mlgym.viewer.commands import LONGEST as LONGEST_COMMAND
from mlgym.viewer.commands import Part, parts
from mlgym.viewer.ink import language
from mlgym.viewer.windows import Window, inside, window

AROUND = differences.CONTEXT
LONGEST, LONGEST_SCRIPT = 300_000, 2_000  # characters of a file that is kept; lines of a command that are looked at
ROW = 2_000  # characters of a line of a command that are looked at
_MOVES = re.compile(r"(?:^|[;&|(\n][ \t]*)(?:cd|pushd|popd)\b")
_REMOVES = re.compile(r"\brm [^;&|\n]*")
_SWEEPS = re.compile(r"\b(?:git|patch|black|ruff|isort|autopep8|unzip|tar|sed\s+(?:-\w+\s+)*-\w*i)\b|\*")
_HARMLESS = re.compile(
    r"\s*(?:\w+=\S*\s+|time\s+|nohup\s+|timeout\s+\S+\s+)*"
    r"(?:python[\d.]*|bash|sh|cat|head|tail|wc|ls|grep|diff|less|nl|stat|echo)\b"
)
_WORD, _FILE = re.compile(r"[\w./-]+"), re.compile(r".+\.\w+")


@dataclass(frozen=True)
class Lines:
    """Lines of a file from `first` on; `whole` where they are all."""

    first: int
    lines: list[str]
    whole: bool


class Known:
    """The files so far. `open` is the one that the classic tools have open, `starter` gives the text of a file that the
    agent found, None where there was none or it is not known.
    """

    def __init__(self, starter: Callable[[str], str | None] | None = None) -> None:
        self.open = ""
        self._starter = starter
        self._files: dict[str, Lines | None] = {}  # None: no longer known
        self._swept = self._moved = False
        self._saved: dict[str, tuple[str, dict[str, Lines | None], bool, bool]] = {}

    def enter(self, step: Step) -> None:
        """Save and go back as was done before a step."""
        for mark in step.marks:
            if mark[:1] == "+":
                self._saved[mark[1:]] = self.open, dict(self._files), self._swept, self._moved
            elif found := self._saved.get(mark[1:]):
                self.open, files, self._swept, self._moved = found
                self._files = dict(files)
            else:
                self.open, self._files, self._swept = "", {}, True

    def text(self, path: str) -> str | None:
        """The text of a file, None where it is not known."""
        key = self._key(path)
        if key is None:
            return None
        if key in self._files:
            found = self._files[key]
            return "\n".join([*found.lines, ""]) if found and found.whole else None
        return self._starter(key) if self._starter and not self._swept else None

    @property
    def files(self) -> dict[str, Lines | None]:
        """What is known of each file, by its path in the workspace; None where it is known no more."""
        return self._files

    @property
    def swept(self) -> bool:
        """Whether a command may have changed any of the files."""
        return self._swept

    def learn(self, path: str, text: str) -> None:
        """Know the whole text of a file."""
        self._keep(path, text)

    def settle(self) -> None:
        """All files are known again that are going to be, as those of a graded attempt are."""
        self._swept = False

    def before(self, part: Part) -> str | None:
        """The text of the file that a part of a command writes anew."""
        return None if part.appends or not part.known else self.text(part.path)

    def changed(self, step: Step, path: str, span: tuple[int, int], text: str) -> differences.Hunks | None:
        """The difference that a change of the lines after span[0] up to span[1] makes; None where it cannot be told."""
        start, end = span
        added = text.removesuffix("\n").split("\n") if text else []
        found = self._files.get(self._key(path) or "")
        if found and found.whole:  # what lies behind the end is not there
            start, end = (min(place, len(found.lines)) for place in span)
        lexer = language(path)
        if found and found.first <= start + 1 and end <= found.first - 1 + len(found.lines):
            a, b = start - found.first + 1, end - found.first + 1
            above, below = found.lines[max(0, a - AROUND) : a], found.lines[b : b + AROUND]
            old, new = [*above, *found.lines[a:b], *below], [*above, *added, *below]
            return differences.between("\n".join(old), "\n".join(new), lexer, start + 1 - len(above))
        seen = _result(step)
        if start == end and seen and seen.first <= start + 1:
            a = start + 1 - seen.first
            if list(seen.lines[a : a + len(added)]) == added:
                lo, hi = max(0, a - AROUND), a + len(added) + AROUND
                old = [*seen.lines[lo:a], *seen.lines[a + len(added) : hi]]
                return differences.between("\n".join(old), "\n".join(seen.lines[lo:hi]), lexer, seen.first + lo)
        return None

    def stayed(self, step: Step) -> bool:
        """Whether a file tool shows the same lines after the step as were known before it."""
        seen = _result(step)
        found = self._files.get(self._key(seen.path) or "") if seen else None
        return bool(seen and found and (found.first, found.lines) == (seen.first, list(seen.lines)))

    def take(self, step: Step) -> None:
        """Learn what a step did and saw."""
        tool, args = step.action.tool, step.action.args
        if tool in ("bash", ""):
            self._ran(str(args.get("command", args.get("text", ""))))
        elif tool == "job":
            self._swept, self._files = True, {}
        elif step.observation.status == "ok":
            if tool == "create" and isinstance(args.get("content"), str):
                self._keep(str(args.get("path", "")), str(args["content"]))
            if tool == "str_replace":
                self._replace(args)
            if seen := _result(step):
                self._see(seen, tool)

    def _see(self, seen: Window, tool: str) -> None:
        if tool not in ("view", "str_replace"):
            self.open = seen.path
        key = self._key(seen.path)
        before = self._files.get(key or "")
        if key and (seen.whole or tool != "str_replace" or not (before and before.whole)):
            self._files[key] = Lines(seen.first, list(seen.lines), seen.whole)

    def _replace(self, args: dict[str, object]) -> None:
        path = str(args.get("path", ""))
        old, new, text = str(args.get("old", "")), str(args.get("new", "")), self.text(path)
        if text is not None and text.count(old) == 1:
            self._keep(path, text.replace(old, new))
        elif key := self._key(path):
            self._files[key] = None

    def _ran(self, command: str) -> None:
        """What a command may have changed: files that it writes are known, those that it names otherwise no more."""
        if len(command) > LONGEST_COMMAND:
            self._swept, self._files = True, {}
            return
        for part in parts(command):
            if part.kind == "shell":
                self._moved = self._moved or bool(_MOVES.search(part.text))
                if _SWEEPS.search(_REMOVES.sub("", part.text)):
                    self._swept, self._files = True, {}
            if part.kind == "file":
                self._keep(part.path, part.text if part.known and not part.appends else None)
            elif part.kind != "mark":
                self._forget(part)

    def _forget(self, part: Part) -> None:
        removals = [found[0] for found in _REMOVES.finditer(part.text)] if part.kind == "shell" else []
        if part.text.count("\n") > LONGEST_SCRIPT or sum(map(len, removals)) > ROW:
            self._swept, self._files = True, {}
            return
        starts = {word.partition("*")[0] for one in removals for word in one.split()[1:] if word[0] != "-"}
        self._files |= dict.fromkeys([key for key in self._files if key.startswith(tuple(starts))])
        rows = [row[:ROW] for row in part.text.split("\n") if "<<" not in row]
        names = [name for row in rows for name in (_named(row) if part.kind == "script" else _touched(row))]
        self._files |= dict.fromkeys(filter(None, map(self._key, names)))

    def _keep(self, path: str, text: str | None) -> None:
        if key := self._key(path):
            short = text is not None and len(text) <= LONGEST
            self._files[key] = Lines(1, (text or "").removesuffix("\n").split("\n"), True) if short else None

    def _key(self, path: str) -> str | None:
        """A file by its path in the workspace; None for what may be another one, after the shell has moved."""
        if path.startswith("/"):
            return inside(path)
        return None if self._moved or not path else posixpath.normpath(path)


def _touched(row: str) -> list[str]:
    """The files that a line of shell may change: those it names, but for those that it only runs, reads or copies."""
    out: list[str] = []
    for command in re.split(r"&&|[;|]", row):
        said, _, redirected = command.partition(">")
        names = [] if _HARMLESS.match(said) else _named(said)
        out += (names[-1:] if said.lstrip().startswith("cp ") else names) + _named(redirected)
    return out


def _named(text: str) -> list[str]:
    """The names in a text that have an ending, as names of files have."""
    return [found[0] for word in _WORD.findall(text) if (found := _FILE.match(word))]


def replaced(step: Step, old: str, new: str, lexer: str) -> differences.Hunks | None:
    """The difference that `str_replace` made, with the lines around it that it showed; None where they are not told."""
    seen = _result(step)
    if not seen or step.observation.status != "ok":
        return None
    region = "\n".join(seen.lines)
    above = 4 if seen.first > 1 else 0
    start = len("\n".join(seen.lines[:above])) + (above > 0)
    place = region.find(new, start)
    if place < 0 or (not new and not above):
        return None
    before = region[:place] + old + region[place + len(new) :]
    return differences.between(before, region, lexer, seen.first)


def _result(step: Step) -> Window | None:
    return window(step.observation.text) if "[File: " in step.observation.text[:5000] else None
