"""The word of a process that drives a run: `RUN/drivers/NAME.json` says what it runs, whether its episodes must stop,
and what is left of the run's money. Its episodes read it between their steps, also in other processes and on other
machines; `mlgym status` sees by it who lives.
"""

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from mlgym import beside
from mlgym.disk import append_line, guarded
from mlgym.errors import MlgymError
from mlgym.status import CELLS, DRIVERS, drivers, here

BEAT_S = 1.0  # seconds between two signs of life


def stop_word(run: Path, name: str, folder: Path) -> str:
    """Why the episode in `folder` must stop, by what lies in the run's folder; empty: it need not. `name` is its
    driver's, empty where it has none that can be read from here.
    """
    for place, what in ((run, "run"), (folder, "episode")):
        if at := beside.cancelled(place):
            return f"The {what} was cancelled at {at}."
    return word(run, name, "stop")


def word(run: Path, name: str, kind: str) -> str:
    """What a driver says: `stop`, why its episodes must stop; `broke`, why they may ask no model that costs money."""
    if not name:
        return ""
    try:
        return str(json.loads((run / DRIVERS / name).read_bytes())[kind])
    except FileNotFoundError:
        return "The process that began it has ended."
    except (OSError, ValueError, LookupError):
        return ""


class Driver:
    """Leaves the word of this process while it is open. `tick` is called at every beat, from a thread of its own."""

    def __init__(self, run: Path, tick: Callable[[], None] = lambda: None) -> None:
        self.run, self.name = run, f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.json"
        self._tick, self._over, self._lock = tick, threading.Event(), threading.RLock()
        self._told: dict[str, Any] = {**here(), "host": socket.gethostname(), "running": [], "stop": "", "broke": ""}
        self._told["began"] = beside.stamp()
        self._thread = threading.Thread(target=self._beat, name="driver of the run", daemon=True)

    def __enter__(self) -> Self:
        with guarded(self.run):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        for path, _, lives in list(drivers(self.run)):
            if not lives:
                path.unlink(missing_ok=True)
        try:
            self._write()
        except BaseException:
            self._leave()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._leave()

    @property
    def path(self) -> Path:
        """Where the word lies."""
        return self.run / DRIVERS / self.name

    @property
    def stopping(self) -> str:
        """Why it stops, empty while it does not."""
        return str(self._told["stop"])

    def stop(self, why: str) -> None:
        """Have all its episodes stop; they can go on."""
        if not self.stopping:
            self._tell(stop=why)

    def broke(self, why: str) -> None:
        """Have its episodes ask no model any more that costs money, or, where `why` is empty, let them again."""
        if why != self._told["broke"]:
            self._tell(broke=why)

    def runs(self, names: list[str]) -> None:
        """Say what it runs now."""
        if names != self._told["running"]:
            self._tell(running=names)

    def _leave(self) -> None:
        """Take the word back."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()

    def _tell(self, **word: Any) -> None:
        with self._lock:
            self._told |= word
            self._write()

    def _write(self) -> None:
        """Without waiting for the disk: what a power cut takes, it takes with the process that it speaks of."""
        part = self.path.with_name(f"{self.name}.part")
        try:
            with guarded(self.run):
                self.path.parent.mkdir(exist_ok=True)  # another driver that ended may have taken it away just now
                part.write_text(json.dumps(self._told))
                part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(OSError, MlgymError):  # a disk that is full or away for a moment; the next beat looks again
                self._tick()
            with suppress(OSError, MlgymError), self._lock:
                try:
                    os.utime(self.path)
                except FileNotFoundError:  # taken for dead by a machine whose clock is ahead: its episodes would stop
                    self._write()


def plan(run: Path, cells: dict[str, tuple[str, str, str]]) -> None:
    """Add to the run's list of cells those that it lacks; each with its metric, direction and the method in words."""
    path, known = run / CELLS, set[str]()
    text = path.read_text() if path.exists() else ""
    for line in text.splitlines():
        with suppress(ValueError, LookupError, TypeError):
            known.add(str(json.loads(line)["cell"]))
    rows = [
        json.dumps({"cell": name, "metric": metric, "direction": direction, "method": method})
        for name, (metric, direction, method) in cells.items()
        if name not in known
    ]
    if rows:
        with guarded(run):
            run.mkdir(parents=True, exist_ok=True)
        torn = "\n" * bool(text and not text.endswith("\n"))
        append_line(path, (torn + "\n".join(rows)).encode())  # at once: others may add theirs now
