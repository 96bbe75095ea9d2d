"""Submissions that are a short text: numbers, or a word of given letters. Read by the grader, run by nobody."""

import re
from pathlib import Path

from . import InvalidSubmission

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def numbers(path: Path, count: int, low: float, high: float) -> list[float]:
    """The `count` numbers of a file, apart by blanks, commas or lines, each from `low` to `high`."""
    found = []
    words = _text(path).replace(",", " ").split()
    if len(words) != count:
        raise InvalidSubmission(f"{path.name} has {len(words)} numbers instead of {count}.")
    for word in words:
        if not NUMBER.fullmatch(word):
            raise InvalidSubmission(f"{path.name} has {word[:40]!r}, which is not a number.")
        if not low <= float(word) <= high:
            raise InvalidSubmission(f"{path.name} has {word[:40]}, which is not between {low:g} and {high:g}.")
        found.append(float(word))
    return found


def letters(path: Path, alphabet: str, most: int) -> str:
    """The letters of a file without its blanks and lines: at most so many, all of the alphabet."""
    found = "".join(_text(path).split())
    if wrong := next((letter for letter in found if letter not in alphabet), ""):
        raise InvalidSubmission(f"{path.name} has {wrong!r}; only the letters {', '.join(alphabet)} are known.")
    if len(found) > most:
        raise InvalidSubmission(f"{path.name} has {len(found)} letters; {most} are the most.")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise InvalidSubmission(f"{path.name} is not plain text.") from None
