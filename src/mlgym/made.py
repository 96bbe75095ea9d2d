"""Made tasks: a family is a task folder with a `family.py`, of which each seed and difficulty makes one task.

The id FAMILY-sSEED-dDIFFICULTY names it: `tabular-s17-d0.4` of a shipped family, `./mine-s17-d0.4` of the folder
`./mine`. `generate(seed, difficulty)` of the family's `family.py` returns what differs from its task.toml. That module
is run in this process, so it imports the standard library only, and it is trusted as a package is.
"""

import ast
import functools
import importlib.util
import json
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgym.errors import TaskError, UsageError
from mlgym.records import Made, merged

FAMILIES = Path(__file__).resolve().parent / "families"
MAKER = "family.py"
MOST = 2**31 - 1  # seeds are 0 to this
ID = re.compile(r"(.+)-s([^-]*)-d(-?[^-]*)")
SEED, DIFFICULTY = re.compile(r"0|[1-9][0-9]{0,9}"), re.compile(r"0|1|0\.[0-9]{0,2}[1-9]")


@dataclass(frozen=True)
class Family:
    """A family as it is listed: its name and folder, the version of its tasks, and in a line what they are."""

    name: str
    folder: Path
    version: int
    about: str


def list_families() -> list[Family]:
    """The shipped families, by name."""
    return [_family(path.parent) for path in sorted(FAMILIES.glob(f"*/{MAKER}"))]


def find_family(family: str | Path) -> Family:
    """The shipped family of that name, or the one in that folder; raises UsageError where there is none."""
    return _family(_place(family))


def task_id(family: str | Path, seed: int, difficulty: float) -> str:
    """The id of a task; raises UsageError for a seed or a difficulty out of bounds."""
    return f"{family}-s{_seed(str(seed))}-d{_difficulty(f'{difficulty:g}')}"


def find(task: str) -> tuple[Path, Made] | None:
    """Family folder and place in it that an id means; None for what is no id, such as a folder that is a task itself.

    Raises UsageError for an id with another seed or difficulty than there are, or of a family that there is not.
    """
    given = _expanded(task)
    parts = ID.fullmatch(given.name)
    if parts is None or (given.name != task and (given / "task.toml").is_file()):
        return None
    path = parts[1] if given.name == task else given.with_name(parts[1])
    try:
        folder = _place(path)
    except UsageError:
        if SEED.fullmatch(parts[2]) and not (given / "task.toml").is_file():
            raise
        return None
    seed, difficulty = _seed(parts[2]), _difficulty(parts[3])
    return folder, Made(family=folder.name, seed=seed, difficulty=float(difficulty))


def overrides(folder: Path, made: Made) -> dict[str, Any]:
    """What the family lays over its task.toml; raises TaskError where its code fails or gives no table."""
    path = folder / MAKER
    about = path.stat()
    try:
        found = _loaded(path, about.st_mtime_ns, about.st_size)(made.seed, made.difficulty)
        found = json.loads(json.dumps(found, allow_nan=False))
    except Exception as error:
        what = f"generate({made.seed}, {made.difficulty:g})"
        raise TaskError(f"{path}: {what} failed: {type(error).__name__}: {error}.") from error
    if not isinstance(found, dict):
        raise TaskError(f"{path}: generate() must return a dictionary of what differs from task.toml.")
    return found


def written(task: str, folder: Path) -> Path:
    """Write the task of an id out as a task folder of its own, in `folder` (no longer made, so it can be changed).

    Raises UsageError for what is no id, and where that folder is there already.
    """
    found = find(task)
    if found is None:
        raise UsageError(f"'{task}' is no id of a made task, such as tabular-s17-d0.4.")
    source, made = found
    target = folder / Path(task).name
    if target.exists():
        raise UsageError(f"{target} is there already: give another folder.")
    whole = merged(tomllib.loads((source / "task.toml").read_text("utf-8")), overrides(source, made))
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(MAKER, "task.toml", "__pycache__"))
    (target / "task.toml").write_text("\n".join(_toml(whole)) + "\n", "utf-8")
    return target


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the home of a user that there is not
        return Path(path)


def _place(family: str | Path) -> Path:
    here = _expanded(family)
    for folder in [here] if here.name != str(family) else [FAMILIES / family, here]:
        if (folder / MAKER).is_file():
            return folder.resolve()
    known = ", ".join(path.parent.name for path in sorted(FAMILIES.glob(f"*/{MAKER}")))
    raise UsageError(f"There is no family '{family}'; known: {known}, or give a folder that has a {MAKER}.")


def _family(folder: Path) -> Family:
    try:
        about = ast.get_docstring(ast.parse((folder / MAKER).read_text("utf-8"))) or ""
        version = int(tomllib.loads((folder / "task.toml").read_text("utf-8"))["version"])
    except (OSError, ValueError, SyntaxError, LookupError, TypeError) as error:
        raise TaskError(f"The family in {folder} cannot be read: {error}.") from error
    return Family(folder.name, folder, version, about.partition("\n")[0])


def _seed(text: str) -> int:
    if not SEED.fullmatch(text) or int(text) > MOST:
        raise UsageError(f"The seed of a made task is a whole number from 0 to {MOST}, not '{text}'.")
    return int(text)


def _difficulty(text: str) -> str:
    if not DIFFICULTY.fullmatch(text):
        raise UsageError(
            f"The difficulty of a made task is a number from 0 to 1 such as 0.4 (three decimals at most, no zeros at "
            f"its end), not '{text}'."
        )
    return text


@functools.cache
def _loaded(path: Path, changed: int, size: int) -> Callable[[int, float], Any]:
    """The `generate` of the file as it is now, told apart by when it was changed."""
    spec = importlib.util.spec_from_file_location(f"mlgym_family_{path.parent.name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # no __pycache__ beside it
    found: Callable[[int, float], Any] = module.generate
    return found


def _toml(data: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """A table as lines of TOML: what JSON writes for a value is TOML too, but for tables, which come last."""
    for key, value in data.items():
        if not isinstance(value, dict) and not _tables(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in data.items():
        for each in _tables(value) or ([value] if isinstance(value, dict) else []):
            head = f"{at}{_key(key)}"
            yield from ("", f"[[{head}]]" if _tables(value) else f"[{head}]", *_toml(each, f"{head}."))


def _tables(value: Any) -> list[Any]:
    """The tables of an array that is made of nothing else."""
    return value if isinstance(value, list) and value and all(isinstance(each, dict) for each in value) else []


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    return json.dumps(value).replace("\x7f", "\\u007f") if isinstance(value, str) else json.dumps(value, default=str)
