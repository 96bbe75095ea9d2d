"""The classic tools that search, with the sandbox's own find and grep; hidden files are left out of contents."""

import posixpath

from mlgym.tools.classic import NONE_OPEN
from mlgym.tools.files import absolute
from mlgym.tools.session import Session, ToolError

MOST = 100
COUNT = """
find . -type f ! -path '*/.*' -exec grep -cIH -e "$1" -- {} + | grep -v ':0$' | LC_ALL=C sort | head -n "$2"
"""
LINES = """grep -nI -e "$1" -- "$3" | head -n "$2" """
NAMES = """find . -type f -name "$1" | LC_ALL=C sort | head -n "$2" """


def search_dir(session: Session, term: str, dir: str = ".") -> str:
    """Count the lines that match a pattern of grep in the files of a folder: search_dir <term> [<dir>]

    term: the pattern
    dir: the folder; by default the shell's directory
    """
    folder = absolute(session, dir)
    session.shell.list(folder)
    found = _found(session, COUNT, term, folder)
    if len(found) > MOST:
        raise ToolError(f'More than {MOST} files have "{term}" in {folder}; search for something rarer.')
    counts = [line.rpartition(":") for line in found if line.rpartition(":")[2].isdigit()]  # names may hold newlines
    files = [f"{_inside(folder, path)} ({count} matches)" for path, _, count in counts]
    return _listed(sum(int(count) for _, _, count in counts), term, folder, files)


def search_file(session: Session, term: str, file: str | None = None) -> str:
    """Show the lines that match a pattern of grep in a file: search_file <term> [<file>]

    term: the pattern
    file: the file; by default the open one
    """
    path = session.state.get("file") if file is None else absolute(session, file)
    if path is None:
        raise ToolError(NONE_OPEN)
    session.shell.read(path)
    found = _found(session, LINES, term, posixpath.dirname(path), path)
    if len(found) > MOST:
        raise ToolError(f'More than {MOST} lines of {path} have "{term}"; search for something rarer.')
    return _listed(len(found), term, path, [f"Line {line}" for line in found])


def find_file(session: Session, name: str, dir: str = ".") -> str:
    """Find files by their names: find_file <name> [<dir>]

    name: the name, which may have the signs * and ?
    dir: the folder; by default the shell's directory
    """
    folder = absolute(session, dir)
    session.shell.list(folder)
    found = _found(session, NAMES, name, folder)
    if len(found) > MOST:
        raise ToolError(f'More than {MOST} files are named "{name}" in {folder}; search for something rarer.')
    return _listed(len(found), name, folder, [_inside(folder, path) for path in found])


def _found(session: Session, script: str, term: str, folder: str, path: str = "") -> list[str]:
    """The lines that a search prints, at most one more than may be shown."""
    ran = session.shell.exec(["sh", "-c", script, "sh", term, str(MOST + 1), path], cwd=folder)
    lines = ran.output.split("\n")[:-1]
    if complaints := [line for line in lines if line.startswith(("grep: ", "find: ")) and "Permission" not in line]:
        raise ToolError(f'"{term}" cannot be searched for: {complaints[0]}.')
    return [line for line in lines if not line.startswith(("grep: ", "find: "))]


def _inside(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))


def _listed(count: int, term: str, place: str, lines: list[str]) -> str:
    if not count:
        return f'Nothing in {place} matches "{term}".'
    return "\n".join([f'Found {count} matches for "{term}" in {place}:', *lines])
