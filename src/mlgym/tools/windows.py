"""Numbered windows on text files: lines are counted from 1, the last one also without a newline."""

from collections.abc import Sequence

WINDOW = 1000
OVERLAP = 2


def split(text: str) -> list[str]:
    """The lines of a text, without their newlines; only newlines end lines."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def join(lines: Sequence[str]) -> str:
    """The text of lines, each ended by a newline."""
    return "".join(line + "\n" for line in lines)


def numbered(path: str, lines: Sequence[str], first: int, last: int) -> str:
    """The lines from `first` to `last`, inclusive, with their numbers, under a line that names the file."""
    shown = [f"{number}:{line}" for number, line in enumerate(lines[first - 1 : last], first)]
    above = [f"({first - 1} more lines above)"] if first > 1 else []
    below = [f"({len(lines) - last} more lines below)"] if last < len(lines) else []
    return "\n".join([f"[File: {path} ({len(lines)} lines total)]", *above, *shown, *below])


def centred(line: int, total: int, size: int = WINDOW) -> int:
    """The line nearest to `line` that a window can have in its middle without leaving the file."""
    return max(min(line, total - size // 2), size // 2)


def window(path: str, lines: Sequence[str], line: int, size: int = WINDOW) -> str:
    """The window of `size` lines with `line` in its middle; near an end of the file it stays in the file."""
    end = (2 * centred(line, len(lines), size) + size) // 2
    return numbered(path, lines, max(1, end - size + 1), min(end, len(lines)))
