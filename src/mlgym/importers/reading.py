"""Files of somebody else's folder: regular files, no link followed, bounded in bytes, JSON bounded in depth."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEEPEST = 4  # folders below the one that was named
MOST = 100_000  # folders looked at
MEGABYTE = 1_000_000


class Unreadable(Exception):
    """A recorded run cannot be read; the text says why, as the end of a sentence that begins with the run's name."""


def folders(top: Path) -> Iterator[Path]:
    """`top` and the folders below it, in order; links are not followed."""
    waiting, seen = [(top, 0)], 0
    while waiting and seen < MOST:
        folder, depth = waiting.pop()
        seen += 1
        yield folder
        if depth == DEEPEST:
            continue
        try:
            with os.scandir(folder) as entries:
                below = sorted((entry.name for entry in entries if entry.is_dir(follow_symlinks=False)), reverse=True)
        except OSError:
            continue
        waiting += [(folder / name, depth + 1) for name in below]


def content(path: Path, megabytes: float) -> bytes | None:
    """The bytes of a file, None where there is none; raises Unreadable for a large one, a link or no regular file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        what = "is a link, and links are not followed" if path.is_symlink() else f"cannot be read ({error.strerror})"
        raise Unreadable(f"{path.name} {what}") from error
    with open(file, "rb") as opened:  # noqa: PTH123
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable(f"{path.name} is not a regular file")
        if about.st_size > megabytes * MEGABYTE:
            raise Unreadable(f"{path.name} has {about.st_size / MEGABYTE:.0f} MB, and at most {megabytes:g} are read")
        return opened.read(int(megabytes * MEGABYTE) + 1)


def table(path: Path, megabytes: float) -> dict[str, Any] | None:
    """The JSON object of a file, None where there is no file; raises Unreadable for anything else."""
    data = content(path, megabytes)
    if data is None:
        return None
    if not data.strip():
        raise Unreadable(f"{path.name} is empty")
    try:
        found = json.loads(data)
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path.name} is not text") from error
    except RecursionError as error:
        raise Unreadable(f"{path.name} is nested too deep") from error
    except ValueError as error:
        if not data.rstrip().endswith(b"}"):
            raise Unreadable(f"{path.name} is cut off after {len(data)} bytes") from error
        raise Unreadable(f"{path.name} is not JSON ({str(error)[:80]})") from error
    if not isinstance(found, dict):
        raise Unreadable(f"{path.name} holds no JSON object")
    return found
