"""The classic set: an open file with a window of 1000 lines on it, and edits that a linter checks."""

import re

from mlgym.tools.files import absolute, read, write
from mlgym.tools.lint import new_problems
from mlgym.tools.session import Session, ToolError
from mlgym.tools.windows import OVERLAP, WINDOW, centred, join, split, window

RULE = "-" * 49
NONE_OPEN = "No file is open; open one first, with `open <path>`."


def open(session: Session, path: str, line: int | None = None) -> str:
    """Show a file in a window of 1000 lines: open "<path>" [<line>]

    path: the file
    line: the line near which the window is to be; by default the first
    """
    path = absolute(session, path)
    total = len(split(read(session, path)))
    warning, centre = "", WINDOW // 2
    if line is not None and not 1 <= line <= total:
        line, centre = (1, 1) if line < 1 else (total, total)
        warning = f"There is no such line: {path} has {total} lines, so line {line} is shown.\n"
    elif line is not None:
        centre = _below_top(line)
    session.state["file"] = path
    return warning + _moved(session, centre)


def goto(session: Session, line: int) -> str:
    """Move the window of the open file to a line: goto <line>

    line: the number of the line
    """
    path, lines = _opened(session)
    if not 1 <= line <= len(lines):
        raise ToolError(f"There is no line {line}: {path} has {len(lines)} lines.")
    return _moved(session, _below_top(line))


def scroll_down(session: Session) -> str:
    """Move the window of the open file down: scroll_down"""
    _opened(session)
    return _moved(session, session.state["line"] + WINDOW - OVERLAP)


def scroll_up(session: Session) -> str:
    """Move the window of the open file up: scroll_up"""
    _opened(session)
    return _moved(session, session.state["line"] - WINDOW + OVERLAP)


def create(session: Session, path: str) -> str:
    """Make a file with one empty line, and open it: create <path>

    path: the file
    """
    path = absolute(session, path)
    try:
        read(session, path)
    except FileNotFoundError:
        write(session, path, "\n")
        return open(session, path)
    return f"{path} exists already; it is left as it is, and opened.\n{open(session, path)}"


def edit(session: Session, lines: str, text: str) -> str:
    """Replace lines of the open file. It takes several lines: first `edit <first>:<last>`, then the new text, then
    `end_of_edit` alone on a line. Indent the text as it is to stand in the file. What breaks a Python file is refused.

    lines: the first and the last line to replace, both inclusive, as in 10:12
    text: the new text; in a text action it ends with a line `end_of_edit`, without which nothing is done
    """
    numbers = re.fullmatch(r"(\d{1,9}):(\d{1,9})", lines.strip())
    if not numbers:
        raise ToolError(f"`edit` needs the lines as <first>:<last>, as in 10:12, not '{lines[:60]}'.", "format")
    first, last = int(numbers[1]), int(numbers[2])
    if first < 1 or last < first:
        raise ToolError(f"`edit` cannot replace lines {first} to {last}: they are counted from 1, first to last.")
    return _change(session, first - 1, last, text)


def insert(session: Session, line: int, text: str) -> str:
    """Put text into the open file after a line. It takes several lines: first `insert <line>`, then the text, then
    `end_of_insert` alone on a line. Indent the text as it is to stand in the file. What breaks a Python file is
    refused.

    line: the number of the line after which the text comes; 0 for the beginning
    text: the text; in a text action it ends with a line `end_of_insert`, without which nothing is done
    """
    if line < 0:
        raise ToolError(f"`insert` cannot insert after line {line}: lines are counted from 1, and 0 is the beginning.")
    return _change(session, line, line, text)


def footer(session: Session, step: int, steps_left: int | None) -> str:
    """The lines that the text protocol puts below each observation."""
    return (
        f"(Current Step: {step}, Remaining Steps: {'unlimited' if steps_left is None else steps_left})\n"
        f"(Open file: {session.state.get('file', 'n/a')})\n(Current directory: {session.shell.cwd})\nbash-$"
    )


def _change(session: Session, start: int, end: int, text: str) -> str:
    """Replace the lines after `start` up to `end` by those of `text`, unless it breaks a Python file."""
    path, old = _opened(session)
    added = split(text)
    new = [*old[:start], *added, *old[end:]]
    problems = new_problems(session, path, join(old), join(new), (start, end, len(added)))
    if problems:
        raise ToolError(_rejection(path, old, new, (start, end, len(added)), problems))
    write(session, path, join(new))
    kept = "The file was changed. If the window shows wrong indentation or a line twice, edit it again."
    return f"{_moved(session, start)}\n{kept}"


def _rejection(path: str, old: list[str], new: list[str], span: tuple[int, int, int], problems: list[str]) -> str:
    """What is said of a change that was not made: the problems, the window as it would be, and the original's."""
    start, end, count = span
    return "\n".join(
        [
            "The change was not made: it would bring errors into the file.",
            "ERRORS:",
            *(f"- {problem}" for problem in problems),
            "With the change the file would be",
            RULE,
            window(path, new, start + count // 2, count + 10),
            RULE,
            "and it is, still,",
            RULE,
            window(path, old, start + (end - start + 1) // 2, end - start + 10),
            RULE,
            "Look at the line numbers and at the indentation, and send a different change.",
        ]
    )


def _opened(session: Session) -> tuple[str, list[str]]:
    """The open file and its lines."""
    path = session.state.get("file")
    if path is None:
        raise ToolError(NONE_OPEN)
    return path, split(read(session, path))


def _below_top(line: int) -> int:
    """The middle of the window that has `line` one sixth below its top."""
    return max(line + WINDOW // 2 - WINDOW // 6, 1)


def _moved(session: Session, line: int) -> str:
    """The window moved to have `line` in its middle, as far as the file allows."""
    path, lines = _opened(session)
    session.state["line"] = centred(line, len(lines))
    return window(path, lines, session.state["line"])
