"""The linter's end inside the sandbox: two texts of Python and the change between them come in as JSON on the standard
input, the problems that the change brings go out as a JSON list of "CODE text", the codes being those of flake8.

The arguments are pyflakes and pycodestyle: a package's folder, a module's file. What lies beside them may be closed.
"""

import ast
import json
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

MOST = 50
INDENTATION = ("E111", "E112", "E113")
NAMES = {"UndefinedName": "F821", "UndefinedExport": "F822", "DuplicateArgument": "F831"}
Problem = tuple[int, str]


def brought(old: str, new: str, start: int, end: int, count: int) -> list[str]:
    """The problems of `new`, in which `count` lines stand in place of the old ones after `start` up to `end`, that
    `old` did not have outside of those.
    """
    later = problems(new)
    if not later:
        return []
    earlier = [
        (line if line <= start else line + count - (end - start), text)
        for line, text in problems(old)
        if not start < line <= end
    ]
    known = {(line, plain(text)) for line, text in earlier}
    return [text for line, text in later if (line, plain(text)) not in known][:MOST]


def problems(text: str) -> list[Problem]:
    """(line, text) of the problems of one file; one that cannot be parsed has only that problem."""
    from pyflakes.checker import Checker  # type: ignore[import-untyped]

    lines = [line + "\n" for line in text.split("\n")]
    try:
        tree = ast.parse(text.encode("utf-8", "surrogateescape"))
        found = [
            (each.lineno, f"{NAMES[name]} {each.message % each.message_args}")
            for each in Checker(tree).messages
            if (name := type(each).__name__) in NAMES
        ]
        found += indentation(lines)
    except SyntaxError as error:
        return [(error.lineno or 1, f"E999 {type(error).__name__}: {error.msg}")]
    except (ValueError, RecursionError, MemoryError) as error:
        return [(1, f"E902 {type(error).__name__}: {error}")]
    return sorted(each for each in found if not excused("".join(lines[each[0] - 1 : each[0]]), each[1]))


def indentation(lines: list[str]) -> list[Problem]:
    """What pycodestyle says of the indentation."""
    import pycodestyle  # type: ignore[import-untyped]

    found: list[Problem] = []

    class Report(pycodestyle.BaseReport):  # type: ignore[misc]
        """Collects in place of printing."""

        def error(self, line: int, offset: int, text: str, check: Any) -> None:
            """Keep one problem."""
            if text[:4] in INDENTATION:
                found.append((line, text))

    style = pycodestyle.StyleGuide(select=INDENTATION, reporter=Report, config_file=None, parse_argv=False)
    pycodestyle.Checker("text", lines=lines, options=style.options).check_all()
    return found


def excused(line: str, problem: str) -> bool:
    """Whether the line has a comment `noqa`, for the problem's code or for all."""
    note = re.search(r"#\s*noqa(?::\s*([A-Z][0-9]+(?:[,\s]+[A-Z][0-9]+)*))?", line, re.IGNORECASE)
    return note is not None and (note[1] is None or problem.startswith(tuple(re.split(r"[,\s]+", note[1].upper()))))


def plain(text: str) -> str:
    """The problem without the numbers of lines it may mention, which a change above it moves."""
    return text[:4] + re.sub(r"\d+", "#", text[4:])


class Handed:
    """Finds the packages and modules that lie at the places handed over."""

    def __init__(self, places: Sequence[str]) -> None:
        self.places = {Path(place).stem: Path(place) for place in places}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The module of that name; None for any other."""
        place = self.places.get(name)
        if place is None or place.suffix == ".py":
            return spec_from_file_location(name, place) if place else None
        return spec_from_file_location(name, place / "__init__.py", submodule_search_locations=[str(place)])


if __name__ == "__main__":
    sys.meta_path.insert(0, Handed(sys.argv[1:]))
    print("\n\n" + json.dumps(brought(*json.load(sys.stdin))))
