"""Changed tasks: a task's name, then `~KEY=VALUE` for each change, is a task too, wherever a task's name is.

| change | what it does |
|---|---|
| `most=METRIC`, `least=METRIC` | another metric of the grader counts, and more, or less, of it is better |
| `rows=SHARE` | that share of the rows of data/train.csv is there |
| `drop=SEED` | a drawn column of the tables is left out |
| `corrupt=SEED` | a drawn place of the starter's code is broken: a line, a name or a setting |
| `budget=SHARE` | that share of the steps and seconds |

`house-price~corrupt=7~budget=0.3` has two changes. In a task's own name they come in the order of the alphabet. The
scale stays that of the unchanged task, so that 0 is its whole starter; with another metric there is none.
"""

import ast
import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mlgym.cache import cache_dir, made
from mlgym.errors import UsageError

CHANGED = re.compile(r"([^~]+(?:~[^~=]*)*?)((?:~[a-z]+=[^~/]*)+)")
METRIC, SHARE, SEED = (
    re.compile(r"[A-Za-z_][\w.-]*"),
    re.compile(r"0\.[0-9]{0,2}[1-9]"),
    re.compile(r"0|[1-9][0-9]{0,9}"),
)
KINDS = {
    "budget": (SHARE, "a share between 0 and 1 such as 0.3"),
    "corrupt": (SEED, "a seed, a whole number"),
    "drop": (SEED, "a seed, a whole number"),
    "least": (METRIC, "a metric's name"),
    "most": (METRIC, "a metric's name"),
    "rows": (SHARE, "a share between 0 and 1 such as 0.3"),
}
DATA = ("drop", "rows")  # what is done to the tables when the data is made
Changes = Mapping[str, str]


def parse(task: str) -> tuple[str, dict[str, str]]:
    """The name without its changes, and these in order; raises UsageError for what is no change."""
    given = Path(task)
    found = CHANGED.fullmatch(given.name)
    if found is None or (given / "task.toml").is_file():
        return task, {}
    changes: dict[str, str] = {}
    for part in found[2].split("~")[1:]:
        key, _, value = part.partition("=")
        if key not in KINDS:
            raise UsageError(f"'~{part}' is no change of a task; known: {', '.join(KINDS)}.")
        if key in changes:
            raise UsageError(f"The change '{key}' stands twice in '{task}'.")
        if not KINDS[key][0].fullmatch(value):
            raise UsageError(f"The change '{key}' of a task takes {KINDS[key][1]}, not '{value}'.")
        changes[key] = value
    if {"most", "least"} <= set(changes):
        raise UsageError(f"'{task}' has two metrics: give 'most' or 'least'.")
    return task.rstrip("/").removesuffix(found[2]), dict(sorted(changes.items()))


def suffix(changes: Changes) -> str:
    """What the changes add to a task's name."""
    return "".join(f"~{key}={value}" for key, value in sorted(changes.items()))


def applied(data: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The fields of a task with the changes; raises UsageError for one that does not fit it."""
    out: dict[str, Any] = {**data, "name": data["name"] + suffix(changes), "changes": dict(changes)}
    if set(DATA) & set(changes):
        if data["kind"] != "table":
            raise UsageError(f"The changes {' and '.join(DATA)} fit tasks of tables; {data['name']} is none.")
        out["settings"] = {**data["settings"], "changes": {key: changes[key] for key in DATA if key in changes}}
    if metric := changes.get("most") or changes.get("least"):
        out |= {"metric": metric, "direction": "maximize" if "most" in changes else "minimize", "anchors": None}
    elif data["anchors"]:
        about = f"the scale of {data['name']}, unchanged: {data['anchors']['source']}"
        out["anchors"] = {**data["anchors"], "source": about}
    if share := float(changes.get("budget", 0)):
        limits = data["limits"]
        out["limits"] = {
            **limits,
            "steps": max(1, round(share * limits["steps"])),
            "seconds": limits["seconds"] and share * limits["seconds"],
        }
    out["instruction"] = data["instruction"].rstrip() + "\n\n" + _told(changes, out)
    return out


def _told(changes: Changes, data: Mapping[str, Any]) -> str:
    """What the agent reads of the changes."""
    better = "higher" if data["direction"] == "maximize" else "lower"
    metric = f"The score is {data['metric']}: {better} is better."
    lines = {
        "budget": f"There are {data['limits']['steps']} steps.",
        "corrupt": "Something in the starter's code is broken: repair it first.",
        "drop": "One column of the tables is left out.",
        "least": metric,
        "most": metric,
        "rows": f"data/train.csv has a share of {changes.get('rows')} of its rows.",
    }
    return "This is a changed task, and what is said here counts:\n" + "".join(f"- {lines[key]}\n" for key in changes)


def corrupted(starter: Path, files: Iterable[str], seed: str) -> Path:
    """A copy of the starter's folder, made once into the cache, in which one place is broken.

    The place is in one of `files` that is Python, or in any Python file where none of them is. Raises UsageError where
    there is none.
    """
    paths = sorted(path for path in starter.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    python = [path for path in paths if path.suffix == ".py"]
    chosen = [path for path in python if path.relative_to(starter).as_posix() in set(files)] or python
    rng = random.Random(f"corrupt {seed}")
    rng.shuffle(chosen)
    for path in chosen:
        if text := broken(path.read_text("utf-8"), rng):
            break
    else:
        raise UsageError(f"{starter} has no Python code that could be broken.")
    about = [(each.relative_to(starter).as_posix(), each.read_bytes().hex()) for each in paths]
    name = hashlib.sha256(json.dumps([about, text]).encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        shutil.copytree(starter, folder / "starter", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "starter" / path.relative_to(starter)).write_text(text, "utf-8")

    return made(cache_dir() / "corrupted" / name, make, what="a broken starter") / "starter"


def broken(source: str, rng: random.Random) -> str:
    """The source with one place broken; empty where there is nothing to break."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    lines = source.splitlines(keepends=True)
    ways: list[Callable[[], tuple[int, str]]] = []
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and len(n.id) > 2]
    settings = [n for n in tree.body if isinstance(n, ast.Assign) and _number(n.value) is not None]
    ends = [n for n, line in enumerate(lines) if line.rstrip().endswith((":", ")", "]")) and not _parses(lines, n)]
    if names:
        ways.append(lambda: _misspelt(rng.choice(names), lines))
    if settings:
        ways.append(lambda: _spoiled(rng.choice(settings), lines, rng))
    if ends:
        ways.append(lambda: _cut(rng.choice(ends), lines))
    if not ways:
        return ""
    at, line = rng.choice(ways)()
    return "".join([*lines[:at], line, *lines[at + 1 :]])


def _number(node: ast.expr) -> float | None:
    """The value of a number that is written out, other than 0, which no factor changes."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value:
        return node.value  # type: ignore[return-value]
    return None


def _misspelt(node: ast.Name, lines: list[str]) -> tuple[int, str]:
    return _put(node, node.id + node.id[-1], lines)


def _spoiled(node: ast.Assign, lines: list[str], rng: random.Random) -> tuple[int, str]:
    value = _number(node.value)
    assert value is not None
    return _put(node.value, repr(rng.choice((-value, 0 * value, 1000 * value))), lines)


def _cut(at: int, lines: list[str]) -> tuple[int, str]:
    return at, lines[at].rstrip()[:-1] + "\n"


def _parses(lines: list[str], at: int) -> bool:
    """Whether the code is whole without the end of that line: it is one of words."""
    try:
        ast.parse("".join([*lines[:at], _cut(at, lines)[1], *lines[at + 1 :]]))
    except SyntaxError:
        return False
    return True


def _put(node: ast.expr, text: str, lines: list[str]) -> tuple[int, str]:
    """The line of a node with `text` in its place (columns count bytes)."""
    assert node.end_col_offset is not None
    line = lines[node.lineno - 1].encode()
    return node.lineno - 1, (line[: node.col_offset] + text.encode() + line[node.end_col_offset :]).decode()
