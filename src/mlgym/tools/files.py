"""Text files in the sandbox, and the tools of the modern set that show and change them."""

import posixpath

from mlgym.tools.session import Session, ToolError
from mlgym.tools.windows import WINDOW, join, numbered, split

MOST = 20  # places that are told
AROUND = 4  # lines shown on either side of a change


def view(session: Session, path: str, start: int = 1, end: int | None = None) -> str:
    """Show a text file with line numbers, at most 1000 lines at a time.

    path: the file, absolute, from ~, or relative to the shell's directory
    start: the first line to show, counted from 1
    end: the last line to show
    """
    lines = split(read(session, path))
    if start < 1 or (start > len(lines) and start > 1):
        raise ToolError(f"`view` cannot start at line {start}: {path} has {len(lines)} lines.")
    if end is not None and end < start:
        raise ToolError(f"`view` cannot end at line {end}, before it starts at line {start}.")
    last = start + WINDOW - 1
    return numbered(absolute(session, path), lines, start, min(last if end is None else min(end, last), len(lines)))


def create(session: Session, path: str, content: str) -> str:
    """Write a text file, in place of what is there; missing folders are made.

    path: the file, absolute, from ~, or relative to the shell's directory
    content: the whole text of the file
    """
    write(session, path, content)
    return f"Wrote {absolute(session, path)} ({len(split(content))} lines)."


def str_replace(session: Session, path: str, old: str, new: str) -> str:
    """Replace a piece of text that occurs exactly once in a file.

    path: the file, absolute, from ~, or relative to the shell's directory
    old: the text to replace, with its spaces and line ends as they are in the file
    new: the text to put in its place
    """
    if not old:
        raise ToolError("`str_replace` needs the text to replace in `old`; to add text use `insert`.", "format")
    text = read(session, path)
    if "\r\n" in text and "\r" not in old:
        old, new = old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
    places = _places(text, old)
    if not places:
        raise ToolError(f"{path} does not contain the text in `old`; nothing was replaced. `view` shows what it has.")
    if len(places) > 1:
        lines = ", ".join(str(_line(text, place)) for place in places[:MOST])
        times = f"{len(places)} times" if len(places) <= MOST else f"more than {MOST} times"
        raise ToolError(f"The text in `old` occurs {times} in {path}, at lines {lines}; give more of it.")
    changed = text[: places[0]] + new + text[places[0] + len(old) :]
    write(session, path, changed)
    first = _line(text, places[0])
    return _around(session, path, changed, first, first + new.count("\n"))


def insert(session: Session, path: str, line: int, text: str) -> str:
    """Put lines of text into a file after a given line.

    path: the file, absolute, from ~, or relative to the shell's directory
    line: the number of the line after which the text comes; 0 for the beginning of the file
    text: the lines to insert
    """
    lines, added = split(read(session, path)), split(text)
    if not 0 <= line <= len(lines):
        raise ToolError(f"`insert` cannot insert after line {line}: {path} has {len(lines)} lines.")
    changed = join([*lines[:line], *added, *lines[line:]])
    write(session, path, changed)
    return _around(session, path, changed, line + 1, line + len(added))


def read(session: Session, path: str) -> str:
    """The text of a file; bytes that are not UTF-8 become surrogates, which `write` turns back into them.

    Raises OSError, and ToolError for a file that is not text.
    """
    data = session.shell.read(path)
    if b"\0" in data:
        raise ToolError(f"{path} is not a text file ({len(data)} bytes), so it cannot be shown or edited here.")
    return data.decode("utf-8", "surrogateescape")


def write(session: Session, path: str, text: str) -> None:
    """Write a text as `read` gave it; raises OSError."""
    session.shell.write(path, text.encode("utf-8", "surrogateescape"))


def absolute(session: Session, path: str) -> str:
    """The path from the root, without `.`, `..` and `~`; links are not looked at."""
    if path == "~" or path.startswith("~/"):
        path = session.shell.sandbox.home + path[1:]
    return posixpath.normpath(posixpath.join(session.shell.cwd, path))


def _places(text: str, piece: str) -> list[int]:
    """Where the piece begins, overlapping occurrences too; a few more than MOST are not looked for."""
    places: list[int] = []
    at = text.find(piece)
    while at >= 0 and len(places) <= MOST:
        places.append(at)
        at = text.find(piece, at + 1)
    return places


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _around(session: Session, path: str, text: str, first: int, last: int) -> str:
    """The changed lines and a few around them."""
    lines = split(text)
    return numbered(absolute(session, path), lines, max(1, first - AROUND), min(len(lines), last + AROUND))
