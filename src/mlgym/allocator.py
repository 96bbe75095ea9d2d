"""Processors and cards of this machine, given out among all runs of this user on it.

A claim is a file in one folder, locked (flock) as long as its maker lives: a killed run frees what it had. Who does
not fit waits in line; what an earlier one waits for is kept free for it, so that small claims cannot starve a large
one, and may still pass where they take nothing that it needs. A share of one processor (below 1) shares that processor
with other shares, up to 1 together; anything above is whole processors that nobody else gets.
"""

import fcntl
import json
import math
import os
import secrets
import socket
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlgym.cards import Card, cards
from mlgym.errors import UsageError

TOPOLOGY = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup")
POLL_S, LOOK_S = 0.2, 2.0  # seconds between two looks at the names of the claims, and at the claims and cards
SLACK = 1e-9  # shares such as 0.1 do not add up to 1 exactly
Say = Callable[[str], None]


@dataclass(frozen=True)
class Want:
    """What an episode asks for: processors (a share below 1), cards, and gigabytes that must be free on each card."""

    processors: float = 2.0
    gpus: int = 0
    gpu_memory: float = 0.0


@dataclass(frozen=True)
class Share:
    """What a claim has: numbers of processors, how much of them together, and cards with the megabytes promised."""

    cpus: tuple[int, ...] = ()
    processors: float = 0.0
    gpus: tuple[int, ...] = ()
    promised_mb: int = 0

    def __str__(self) -> str:
        names = f"processor{'s' * (len(self.cpus) > 1)} {', '.join(map(str, self.cpus))}"
        what = f"{self.processors:g} of {names}" if self.processors < 1 else names
        return f"{what}, cards {', '.join(map(str, self.gpus))}" if self.gpus else what

    def starved(self) -> str:
        """Which card can no longer give what was promised, since other processes took it; empty while all can."""
        for card in cards() if self.gpus else []:
            foreign = card.foreign_mb()
            if card.index in self.gpus and foreign and card.total_mb - foreign < self.promised_mb:
                return f"card {card.index}, of which other processes hold {foreign} of {card.total_mb} MB"
        return ""


@dataclass
class Room:
    """What is free while claims are laid on it: what is taken of each processor, megabytes of each card not taken."""

    cpus: dict[int, float]
    cards: dict[int, int] = field(default_factory=dict)
    cores: dict[int, int] = field(default_factory=dict)  # processor -> its physical core

    def take(self, share: Share) -> None:
        """Count a share as taken."""
        each = share.processors if share.processors < 1 else 1.0
        for cpu in share.cpus:
            self.cpus[cpu] = self.cpus.get(cpu, 0.0) + each
        for card in share.gpus:
            self.cards.pop(card, None)

    def find(self, want: Want, among: Iterable[int], allowed: Iterable[int] = ()) -> tuple[Share, bool]:
        """As much of what is wanted as is free now on these processors and cards, and whether that is all."""
        mine, count = set(among), math.ceil(want.processors)
        found = self._shared(want.processors, mine) if want.processors < 1 else self._whole(mine)[:count]
        complete, part = len(found) == count, want.processors if want.processors < 1 else float(len(found))
        if not found and want.processors < 1:  # keep what there is of the emptiest, so that it gets no fuller
            found = sorted((cpu for cpu in self.cpus if cpu in mine), key=lambda cpu: self.cpus[cpu])[:1]
            part = max(0.0, 1 - self.cpus[found[0]]) if found else part
        needed = int(want.gpu_memory * 1000)
        fitting = [card for card, free in sorted(self.cards.items()) if free >= needed and card in set(allowed)]
        given = tuple(fitting[: want.gpus])
        promised = needed or min((self.cards[card] for card in given), default=0)
        return Share(tuple(found), part, given, promised), complete and len(given) == want.gpus

    def _whole(self, mine: set[int]) -> list[int]:
        """Free processors, those of wholly free cores first and siblings together."""
        free = [cpu for cpu, taken in self.cpus.items() if taken < SLACK and cpu in mine]
        busy = {self.cores.get(cpu, cpu) for cpu, taken in self.cpus.items() if taken >= SLACK}
        return sorted(free, key=lambda cpu: (self.cores.get(cpu, cpu) in busy, self.cores.get(cpu, cpu), cpu))

    def _shared(self, part: float, mine: set[int]) -> list[int]:
        """The fullest shared processor that has room, else a free one."""
        room = [cpu for cpu, taken in self.cpus.items() if SLACK <= taken <= 1 - part + SLACK and cpu in mine]
        return sorted(room, key=lambda cpu: (-self.cpus[cpu], cpu))[:1] or self._whole(mine)[:1]


@dataclass(frozen=True)
class Allocator:
    """Gives out this machine. `gpus` are the cards that may be used: empty for all, to those that ask; `none`; `all`
    or numbers such as `0,1`, of which every episode gets one at least. `cpus` are the processors that may be used:
    empty for all that this process may run on.
    """

    gpus: str = ""
    folder: Path | None = None
    cpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.gpus not in ("", "none", "all") and not all(part.isdigit() for part in self.gpus.split(",")):
            raise UsageError(f"--gpus is none, all, or numbers of cards such as 0,1, not '{self.gpus}'.")

    @contextmanager
    def claim(self, want: Want, say: Say = lambda _: None, check: Callable[[], None] = lambda: None) -> Iterator[Share]:
        """What is wanted, for the time of the `with`; waits in line for it, which `say` is told once.

        `check` is called while it waits, and ends that by what it raises. Raises UsageError for what this machine can
        never give; of too many processors it gives all, and says so.
        """
        want = self._fitted(want, say)
        place = self.folder or runtime()
        place.mkdir(parents=True, exist_ok=True)
        about = {"want": vars(want), "among": self._among(), "pid": os.getpid()}
        about["cards"] = [card.index for card in self._cards()] if want.gpus else []
        with _locked(place):
            number = 1 + max((int(path.name.split("-")[0]) for path in place.glob("*-claim")), default=0)
            path = place / f"{number:012d}-{secrets.token_hex(4)}-claim"
            held = path.open("w")
            fcntl.flock(held, fcntl.LOCK_EX)
            path.write_text(json.dumps(about))
        try:
            yield _wait(place, path, want, say, check)
        finally:
            path.unlink(missing_ok=True)
            held.close()

    def sweep(self) -> None:
        """Take away what killed runs have left; a claim does so too."""
        place = self.folder or runtime()
        if place.is_dir():
            with _locked(place):
                _claims(place)

    def impossible(self, want: Want) -> str:
        """Why this machine can never give what is wanted, in a sentence; empty where it can."""
        want = self._asked(want)
        if not want.gpus:
            return ""
        fitting = [card for card in self._cards() if card.total_mb >= want.gpu_memory * 1000]
        if len(fitting) >= want.gpus:
            return ""
        size = f" with {want.gpu_memory:g} GB" if want.gpu_memory else ""
        among = "" if self.gpus in ("", "all") else f" that --gpus {self.gpus} allows"
        asked = f"{want.gpus} graphics card{'s' * (want.gpus > 1)}{size}"
        return f"It needs {asked}, and of those{among} this machine has {len(fitting) or 'none'}."

    def _asked(self, want: Want) -> Want:
        """Cards that were named go to every episode, one at least."""
        named = self.gpus not in ("", "none")
        return Want(want.processors, max(1, want.gpus), want.gpu_memory) if named else want

    def _fitted(self, want: Want, say: Say) -> Want:
        if why := self.impossible(want):
            raise UsageError(why)
        want, most = self._asked(want), len(self._among())
        if math.ceil(want.processors) <= most:
            return want
        say(f"{want.processors:g} processors are asked for, and this machine has {most}: it gets {most}.")
        return Want(float(most), want.gpus, want.gpu_memory)

    def _among(self) -> list[int]:
        return sorted(self.cpus or usable())

    def _cards(self) -> list[Card]:
        if self.gpus == "none":
            return []
        named = None if self.gpus in ("", "all") else set(map(int, self.gpus.split(",")))
        return [card for card in cards() if named is None or card.index in named]


def _wait(place: Path, path: Path, want: Want, say: Say, check: Callable[[], None]) -> Share:
    """What the claim gets, when its turn has come."""
    told = False
    while True:
        free = {card.index: card.free_mb for card in cards()} if want.gpus else {}
        with _locked(place):
            claims = {other: _read(other) for other in _claims(place)}
            share = _turn(claims, path, free)
            if share is not None:
                path.write_text(json.dumps({"share": vars(share), "pid": os.getpid()}))
                return share
        if not told:
            pids = sorted({str(about.get("pid", "?")) for other, about in claims.items() if other != path})
            too = f" and {want.gpus} card{'s' * (want.gpus > 1)}" if want.gpus else ""
            by = f", which others have (process {', '.join(pids)})" if pids else ""
            say(f"Waiting for {want.processors:g} processor{'s' * (want.processors > 1)}{too}{by}.")
            told = True
        _pause(place, set(claims), check)


def _pause(place: Path, claims: set[Path], check: Callable[[], None]) -> None:
    """Wait until one of the claims has been given back, or some seconds: a killed one's stays, a freed card has none.

    The folder's time is looked at, then names: with a hundred in line, reading every claim each time would keep a
    processor busy.
    """
    seen = 0
    end = time.monotonic() + LOOK_S * (1 + len(claims) / 20)
    while time.monotonic() < end:
        time.sleep(POLL_S)
        check()
        changed = place.stat().st_mtime_ns
        if changed != seen and claims - set(place.iterdir()):
            return
        seen = changed


def _turn(claims: dict[Path, dict[str, Any]], path: Path, free: dict[int, int]) -> Share | None:
    """What the claim at `path` gets now, None while it must wait; `free` megabytes of each card."""
    if path not in claims:
        raise UsageError(f"{path} was removed while a run used it; start the run again.")
    every = {cpu for about in claims.values() for cpu in about.get("among", ())}
    room = Room(dict.fromkeys(sorted(every), 0.0), dict(free), cores())
    for about in claims.values():
        if "share" in about:
            room.take(_share(about["share"]))
    for other, about in claims.items():  # in line
        if "want" in about:
            share, complete = room.find(Want(**about["want"]), about["among"], about["cards"])
            if other == path:
                return share if complete else None
            room.take(share)
    return None


def runtime() -> Path:
    """The folder of this user's claims on this machine: `MLGYM_RUNTIME`, else one in /tmp that is the user's alone."""
    if given := os.environ.get("MLGYM_RUNTIME"):
        return Path(given)
    top = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
    folder = top / f"mlgym-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if folder.is_symlink() or not folder.is_dir() or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise UsageError(f"{folder} is not a folder of yours alone: remove it, or set MLGYM_RUNTIME to another.")
    return folder


def usable(groups: Path = QUOTA) -> list[int]:
    """The numbers of the processors that this process may run on.

    A container with a quota of processor time below that has so many of them, not the same ones in each container.
    """
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    count, start = quota(groups), zlib.crc32(socket.gethostname().encode()) % len(mine)
    return sorted((mine[start:] + mine[:start])[:count]) if count and count < len(mine) else mine


def quota(groups: Path = QUOTA) -> int:
    """How many processors a control group allows, rounded up; 0 where it sets no bound."""
    with suppress(OSError, ValueError, IndexError):
        limit, period = (groups / "cpu.max").read_text().split()
        return math.ceil(int(limit) / int(period))
    with suppress(OSError, ValueError):
        limit, period = ((groups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return max(0, math.ceil(int(limit) / int(period)))
    return 0


def cores(topology: Path = TOPOLOGY) -> dict[int, int]:
    """The physical core of each processor, as its lowest number; empty where the system does not tell."""
    found = {}
    for about in topology.glob("cpu[0-9]*/topology/thread_siblings_list"):
        with suppress(OSError, ValueError):
            cpu = int(about.parent.parent.name.removeprefix("cpu"))
            found[cpu] = int(about.read_text().replace("-", ",").split(",")[0])
    return found


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """The one lock of the folder, held for moments only."""
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _claims(place: Path) -> list[Path]:
    """The claims whose makers live, in their order; the others' files are removed. The lock is held."""
    alive = []
    for path in sorted(place.glob("*-claim")):
        with suppress(FileNotFoundError), path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            except BlockingIOError:
                alive.append(path)
    return alive


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}  # its maker has just ended it


def _share(about: dict[str, Any]) -> Share:
    return Share(tuple(about["cpus"]), float(about["processors"]), tuple(about["gpus"]), int(about["promised_mb"]))
