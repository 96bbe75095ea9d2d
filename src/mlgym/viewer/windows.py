"""What a file tool shows of a file: its path, and numbered lines of it."""

import re
from dataclasses import dataclass

_HEADER = re.compile(r"\[File: (.{1,1000}) \((\d{1,9}) lines total\)\]\n?")
_NUMBERED = re.compile(r"(\d{1,9}):(.*)")
_MORE = re.compile(r"\(\d{1,9} more lines (?:above|below)\)")
ABOVE = 3  # lines that may stand above a window: a warning


@dataclass(frozen=True)
class Window:
    """Lines of a file from `first` on, of `total`; `above` and `below` are what was said around them."""

    path: str
    total: int
    first: int
    lines: tuple[str, ...]
    above: str = ""
    below: str = ""

    @property
    def name(self) -> str:
        """The file by its path in the workspace."""
        return inside(self.path)

    @property
    def whole(self) -> bool:
        """Whether it is all of the file."""
        return self.first == 1 and len(self.lines) == self.total

    @property
    def told(self) -> str:
        """What it is, in words."""
        last = self.first + len(self.lines) - 1
        part = f"{self.total} {'line' if self.total == 1 else 'lines'}"
        return f"{self.name}, {part if self.whole else f'lines {self.first} to {last} of {self.total}'}"


def inside(path: str) -> str:
    """A path without what leads to the workspace."""
    return re.sub(r"^/\S{0,200}?/workspace/", "", path).removeprefix("./")


def window(text: str) -> Window | None:
    """The window that a text shows, None where it shows none."""
    header = _HEADER.search(text[:5000])
    if (
        not header
        or text.count("\n", 0, header.start()) > ABOVE
        or (header.start() and text[header.start() - 1] != "\n")
    ):
        return None
    rows = text[header.end() :].split("\n")
    at = 1 if rows and _MORE.fullmatch(rows[0]) else 0
    lines, first = list[str](), 0
    for row in rows[at:]:
        found = _NUMBERED.fullmatch(row)
        number = int(found[1]) if found else 0
        if not found or (lines and number != first + len(lines)):
            break
        first = first or number
        lines.append(found[2])
    rest = rows[at + len(lines) :]
    if rest and _MORE.fullmatch(rest[0]):
        rest = rest[1:]
    below = "\n".join(rest).strip("\n")
    return Window(header[1], int(header[2]), first or 1, tuple(lines), text[: header.start()].strip("\n"), below)
