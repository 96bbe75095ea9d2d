"""The data files of this package, each with the user's own of the same name laid over it, row by row."""

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from mlgym.errors import UsageError
from mlgym.mistakes import mistake
from mlgym.records import Record

CONFIG = "MLGYM_CONFIG"
R = TypeVar("R", bound=Record)


def config_folder() -> Path:
    """Where the user's own files are: MLGYM_CONFIG, else `mlgym` in the usual folder for configuration."""
    return Path(os.environ.get(CONFIG) or Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "mlgym")).expanduser()


def shipped(file: str, kind: type[R], under: str = "") -> dict[str, R]:
    """The rows of a file of this package; those of the table `under`, if that is named."""
    return _rows(Path(__file__).parent / file, 0, kind, under)


def own(file: str, kind: type[R], under: str = "") -> dict[str, R]:
    """The rows of the user's file of that name, if there is one; raises UsageError where it is not of that form."""
    path = config_folder() / file
    try:
        return _rows(path, path.stat().st_mtime_ns, kind, under)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


@cache
def _rows(path: Path, changed: int, kind: type[R], under: str) -> dict[str, R]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
        rows = table.get(under, {}) if under else table
        if not isinstance(rows, dict):
            raise ValueError(f"'{under}' should be a table")
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as TOML: {str(error).rstrip('.')}.") from error
    found = {}
    for name, row in rows.items():
        try:
            found[name] = kind.model_validate(row)
        except ValidationError as error:
            raise UsageError(f"{path}, '{name}': {mistake(error, kind)}.") from error
    return found
