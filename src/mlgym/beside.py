"""What lies beside the records of an episode or a run: tries that failed, a cancellation, what was put aside.

`failed.jsonl` has a line for each try that the infrastructure lost; `cancelled.json` in a run's or an episode's folder
stops it and keeps it stopped; `RUN/aside/` keeps episodes that were run again.
"""

import fcntl
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlgym.disk import append_line, guarded, write_whole
from mlgym.errors import InUse

FAILED, CANCELLED, ASIDE = "failed.jsonl", "cancelled.json", "aside"


def add_try(
    folder: Path,
    boundary: str,
    why: str,
    *,
    result: dict[str, Any] | None = None,
    steps: Sequence[bytes] = (),
    at: float | None = None,
) -> None:
    """Keep a failed try of the episode in `folder`: when, why, and the result and the last steps that it took back.

    Raises StorageError.
    """
    row = {"n": len(tries(folder)) + 1, "time": stamp(at), "boundary": boundary, "why": why}
    row |= {"steps": [json.loads(line) for line in steps], "result": result}
    path = folder / FAILED
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as torn:
            torn.write(b"\n")
    append_line(path, json.dumps(row).encode())


def tries(folder: Path) -> list[dict[str, Any]]:
    """The failed tries of an episode in order; lines that cannot be read are left out."""
    path, found = folder / FAILED, []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def cancel(folder: Path) -> None:
    """Mark a run's or an episode's folder as cancelled; who runs it sees that within seconds, on any machine."""
    write_whole(folder / CANCELLED, json.dumps({"time": stamp()}).encode())


def undo(folder: Path) -> bool:
    """Take the mark away; whether there was one."""
    there = (folder / CANCELLED).exists()
    (folder / CANCELLED).unlink(missing_ok=True)
    return there


def cancelled(folder: Path) -> str:
    """When the folder was cancelled, empty where it was not."""
    try:
        return str(json.loads((folder / CANCELLED).read_bytes())["time"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, LookupError, TypeError):
        return "an unknown time"


def put_aside(run: Path, name: str) -> Path:
    """Move an episode's folder, RUN/`name`, out of the way; where it lies now.

    Raises InUse where a process runs it: it would go on writing where the new one does.
    """
    number = 1
    while (target := run / ASIDE / f"{name}-{number}").exists():
        number += 1
    with guarded(run), (run / name / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InUse(f"Another process is running the episode in {run / name}; wait for it or stop it.") from error
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(run / name, target)  # noqa: PTH104 - atomic, also where pathlib would copy
    return target


def stamp(at: float | None = None) -> str:
    """A moment in words that sort: UTC, to the second."""
    return datetime.fromtimestamp(time.time() if at is None else at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
