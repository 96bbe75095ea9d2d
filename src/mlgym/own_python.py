"""A Python environment of the user's (conda, a module, a virtual environment) in the place of a task's own."""

import ast
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mlgym.errors import UsageError

OLDEST = (3, 11)
SYSTEM = ("/", "/usr", "/usr/local")  # prefixes that hold more than Python
LOOK_S = 60.0
# What the interpreter itself says; -I: without the caller's folder and variables, as it will run inside.
LOOK = """
import importlib.metadata, importlib.util, json, sys
def found(name):
    try:
        place = importlib.util.find_spec(name).origin or ""
    except (ImportError, ValueError, AttributeError):
        return False
    return "-packages" not in place or place.startswith(sys.prefix)  # those of the base Python are hidden inside
packages = importlib.metadata.packages_distributions()
names = {n: (packages.get(n) or [""])[0] for n in json.load(sys.stdin) if found(n)}
versions = {n: importlib.metadata.version(d) if d else "" for n, d in names.items()}
about = [sys.prefix, sys.base_prefix, list(sys.version_info[:3]), names, versions]
print(json.dumps(about))
"""


@dataclass(frozen=True)
class OwnPython:
    """An environment to be shown inside: its folder, the folder of its base Python, those of that one's packages.

    `about` says, for results, what it has of what the task needs.
    """

    prefix: Path
    base: Path
    hidden: tuple[Path, ...]
    about: str


def own_python(python: Path, pins: Sequence[str], starter: Path) -> OwnPython:
    """What a user's interpreter has for a task with these pins, whose starter is in that folder.

    Raises UsageError for what does not run, is too old, lacks a module that the starter imports, or has mlgym itself,
    which must not be seen inside.
    """
    wanted = {name for path in sorted(starter.rglob("*.py")) for name in imports(path)}
    wanted -= {path.stem for path in starter.rglob("*.py")}
    asked = json.dumps(sorted({*wanted, "mlgym"}))
    prefix, base, version, names, versions = _look(python.expanduser().absolute(), asked)
    said = ".".join(map(str, version))
    if tuple(version) < OLDEST:
        raise UsageError(f"{python} is Python {said}; mlgym needs {OLDEST[0]}.{OLDEST[1]} or newer inside too.")
    if prefix in SYSTEM:
        raise UsageError(f"{python} is the system's own, which shows more than packages: give a virtual environment.")
    if "mlgym" in names:
        raise UsageError(f"{python} has mlgym in it, whose tasks an agent must not see: give an environment without.")
    if missing := sorted(wanted - set(names)):
        raise UsageError(f"{python} cannot import {', '.join(missing)}, which the task's starter needs: install that.")
    pinned = {pin.partition("[")[0].partition("==")[0].lower(): pin.partition("==")[2] for pin in pins}
    differs = [
        f"{names[name]} {versions[name]} instead of {pinned[names[name].lower()]}"
        for name in sorted(names)
        if pinned.get(names[name].lower(), versions[name]).split("+")[0] != versions[name].split("+")[0]
    ]
    about = f"Python {said} of the user's" + (f": {', '.join(differs)}" if differs else "")
    packages = ("site-packages", "dist-packages") if base not in (prefix, *SYSTEM) else ()
    hidden = tuple(path for name in packages for path in Path(base).glob(f"lib/python*/{name}"))
    return OwnPython(Path(prefix), Path(base), hidden, about)


def imports(path: Path) -> Iterator[str]:
    """The top-level modules that a file imports, in functions too; none of a file that cannot be parsed."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@cache
def _look(python: Path, wanted: str) -> tuple[str, str, list[int], dict[str, str], dict[str, str]]:
    try:
        ran = subprocess.run(
            [str(python), "-I", "-c", LOOK], input=wanted, capture_output=True, text=True, timeout=LOOK_S, check=True
        )
        prefix, base, version, names, versions = json.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UsageError(f"{python} is not a Python that runs here ({str(error).splitlines()[0]}).") from error
    return prefix, base, version, names, versions
