"""The cache folder, a lock between processes, and folders that are made once under it.

A lock is a folder that comes into being together with its owner's file (one atomic rename), so it never stands there
without an owner; taking away a dead owner's file, by name, frees the lock for exactly one of those who wait.
"""

import errno
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlgym.disk import full, is_full, settle, settle_all
from mlgym.errors import SourceError

Say = Callable[[str], None]
SAY: Say = logging.getLogger("mlgym").warning  # reaches stderr unless the caller set logging up otherwise

MARKER = ".made"
BEAT_S = 5.0  # how often an owner touches its file
SILENT_S = 60.0  # an owner that cannot be looked up (another machine or container) is dead after this silence
POLL_S = 0.1
TOLD_S = 1.0  # a shorter wait is not worth a line


def cache_dir() -> Path:
    """The cache folder, made private on first use: `MLGYM_CACHE`, else `mlgym` in the platform's cache folder."""
    places = {"darwin": Path("~/Library/Caches"), "win32": Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")}
    platform = places.get(sys.platform, Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    try:
        folder = Path(os.environ.get("MLGYM_CACHE") or platform / "mlgym").expanduser().absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise SourceError(f"The cache folder cannot be made ({error}): set MLGYM_CACHE to another.") from error
    return folder


def offline() -> bool:
    """Whether `MLGYM_OFFLINE` forbids every connection."""
    return os.environ.get("MLGYM_OFFLINE", "") not in ("", "0")


def made(folder: Path, make: Callable[[Path], None], *, what: str, say: Say = SAY) -> Path:
    """`folder`, filled by `make` once for all processes; `what` names it to those who wait.

    `make` gets a folder of its own that becomes `folder` when it returns, marked complete; when it raises nothing
    stays, and what a killed process left is taken away by the next.
    """
    if (folder / MARKER).exists():
        tidy(folder)
        return folder
    with lock(folder.with_name(f"{folder.name}.lock"), what=what, say=say):
        if (folder / MARKER).exists():
            return folder
        for left in [folder, *folder.parent.glob(f"{folder.name}.part-*")]:
            shutil.rmtree(left, ignore_errors=True)
        part = folder.with_name(f"{folder.name}.part-{uuid.uuid4().hex}")
        try:
            part.mkdir()
            part.chmod(0o755)
            make(part)
            settle_all(part)  # else a power cut could leave the marker and empty files
            (part / MARKER).touch()
            (part / MARKER).chmod(0o644)
            part.rename(folder)
            settle(folder.parent)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if is_full(error):
                raise full(folder.parent) from error
            raise
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return folder


def tidy(folder: Path) -> None:
    """Take away what killed processes left beside a made folder, locks and parts: nobody else would come for them."""
    _sweep(folder.parent.glob(f"{folder.name}.lock*"), SILENT_S)
    for part in folder.parent.glob(f"{folder.name}.part-*"):
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def lock(folder: Path, *, what: str, say: Say = SAY, silent_s: float = SILENT_S) -> Iterator[None]:
    """Hold the lock `folder`, waiting for its owner and taking over from a dead one; a long wait is said once."""
    token = uuid.uuid4().hex
    mine = folder.with_name(f"{folder.name}.{token}")
    seen: dict[tuple[str, float], float] = {}
    told, began = False, time.monotonic()
    try:
        mine.mkdir(parents=True)
        about = {"pid": os.getpid(), "start": _started(os.getpid()), "host": _host(), "since": time.time()}
        (mine / token).write_text(json.dumps(about))
        while not _taken(mine, folder):
            if _freed(folder, seen, silent_s):
                continue
            if not told and time.monotonic() - began > TOLD_S:
                say(f"Waiting for {_owner(folder)}, which is making {what}.")
                told = True
            time.sleep(POLL_S)
    except BaseException as error:
        shutil.rmtree(mine, ignore_errors=True)
        if isinstance(error, OSError) and is_full(error):
            raise full(folder.parent) from error
        raise
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(folder / token, done), daemon=True)
    beat.start()
    try:
        _sweep(folder.parent.glob(f"{folder.name}.*"), silent_s)  # of those killed while they waited
        yield
    finally:
        done.set()
        beat.join()
        (folder / token).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def _taken(mine: Path, folder: Path) -> bool:
    try:
        mine.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES) and mine.exists():
            return False
        raise
    return True


def _freed(folder: Path, seen: dict[tuple[str, float], float], silent_s: float) -> bool:
    """Take dead owners out of the lock; whether it may be free now."""
    with suppress(FileNotFoundError):
        for owner in folder.iterdir():
            if _gone(owner, seen, silent_s):
                owner.unlink(missing_ok=True)
    try:
        folder.rmdir()  # refuses a folder that holds an owner
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _sweep(places: Iterable[Path], silent_s: float) -> None:
    for left in places:
        with suppress(OSError):
            if any(left.iterdir()):
                _freed(left, {}, silent_s)
            elif time.time() - left.stat().st_mtime > SILENT_S:  # killed before it could put its file there
                left.rmdir()


def _gone(owner: Path, seen: dict[tuple[str, float], float], silent_s: float) -> bool:
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads(owner.read_text())
        if about["host"] == _host() and about["start"]:
            return bool(_started(int(about["pid"])) != about["start"])
    try:
        beat = owner.stat().st_mtime
    except OSError:
        return False
    now = time.monotonic()
    return now - seen.setdefault((owner.name, beat), now) > silent_s


def _owner(folder: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError, StopIteration):
        about = json.loads(next(folder.iterdir()).read_text())
        host = about["host"].partition(" ")[0]
        if (about["host"], about["pid"]) == (_host(), os.getpid()):
            return "another thread of this process"
        return f"process {about['pid']} on {host} (since {max(0.0, time.time() - about['since']):.0f} s)"
    return "another process"


def _beat(owner: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_S):
        with suppress(OSError):
            os.utime(owner)


def _host() -> str:
    """This machine and its space of process numbers: containers may share a name, but not what a number means."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {space}"


def _started(pid: int) -> str:
    """When the process began, in the system's own terms; empty when there is none, or none that can be looked up."""
    try:
        if Path("/proc/self/stat").exists():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return "" if fields[0] in "ZX" else fields[19]
        return subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
