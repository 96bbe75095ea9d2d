"""What happens on a machine of the cluster: an episode in a process of its own, in the run's folder or in one that is
sent back.
"""

import contextlib
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlgym.cache import cache_dir
from mlgym.launchers.flow import Job
from mlgym.launchers.parcel import free, laid, packed
from mlgym.launchers.worker import Lost, Worker, closed
from mlgym.records import EpisodeSpec, Failure, Outcome
from mlgym.sandbox.scratch import scratch
from mlgym.store import episode_folder

PATIENCE_S = 120.0  # what a lost machine's lock may last: a file server keeps it for a while
POLL_S = 0.2


@dataclass(frozen=True)
class Order:
    """What is to be done. `parcel` is None where the machine has the run's folder, else what there is of the episode,
    and `words` what the driver says in that folder now. `variables` of the environment go along; `again`: the episode
    may still be held by a worker that was lost.
    """

    job: Job
    spec: EpisodeSpec
    parcel: bytes | None = None
    words: Mapping[str, bytes] = field(default_factory=dict)
    variables: Mapping[str, str] | None = None
    again: bool = False


@dataclass(frozen=True)
class Back:
    """What came of it: the answer of the job or why its worker was lost, and the episode's folder where it is sent."""

    answer: bytes
    lost: str = ""
    parcel: bytes = b""


@dataclass(frozen=True)
class Patient:
    """A job that waits until nobody else holds the episode."""

    job: Job
    folder: Path
    patience_s: float = PATIENCE_S

    def __call__(self, spec: EpisodeSpec) -> Outcome:
        """Wait, then run it."""
        end = time.monotonic() + self.patience_s
        while not _unheld(self.folder):
            if time.monotonic() > end:
                return Failure(boundary="busy", why=f"A worker that was lost still holds {self.folder}.")
            time.sleep(POLL_S)
        return self.job(spec)


class Host:
    """The machine's side of one episode."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._folder: Path | None = None
        self._worker: Worker | None = None
        self._stopped = False

    def run(self, asked: bytes, cards: list[str]) -> bytes:
        """Carry out a pickled Order on these cards; a pickled Back."""
        order: Order = pickle.loads(asked)
        return closed(lambda: self._run(order, cards))

    def so_far(self) -> bytes:
        """The episode's folder while it runs; empty where there is none to be sent."""
        try:
            return packed(self._folder) if self._folder and (self._folder / "spec.json").exists() else b""
        except (OSError, ValueError):
            return b""  # it is being removed

    def tell(self, words: Mapping[str, bytes]) -> None:
        """Lay what the driver says now into the run's folder of this machine."""
        if self._root:
            with contextlib.suppress(OSError):  # it is being removed
                _say(self._root, words)

    def stop(self) -> None:
        """Interrupt the episode and wait until it has tidied up; `run` returns then."""
        self._stopped = True
        if self._worker:
            self._worker.interrupt()

    def _run(self, order: Order, cards: list[str]) -> Back:
        job, spec = _fitted(order.job, cards), order.spec
        if order.parcel is None:
            run = getattr(job, "run", None)
            waits = Patient(job, episode_folder(run, spec)) if run and order.again else job
            return self._ask(waits, spec, order.variables)
        with scratch(cache_dir() / "scratch") as root:
            folder = episode_folder(root, spec)
            if order.parcel:
                laid(order.parcel, folder, spec)
            _say(root, order.words)
            self._root, self._folder = root, folder
            there = job.at(root)
            there = replace(there, driver=job.driver) if hasattr(job, "driver") else there
            back = self._ask(there, spec, order.variables)
            self._root = self._folder = None
            return replace(back, parcel=packed(folder) if (folder / "spec.json").exists() else b"")

    def _ask(self, job: Job, spec: EpisodeSpec, variables: Mapping[str, str] | None) -> Back:
        self._worker = worker = Worker(variables)
        try:
            if self._stopped:
                raise Lost("It was stopped.")
            worker.send(job, spec)
            return Back(worker.raw())
        except Lost as lost:
            return Back(b"", str(lost))
        finally:
            worker.close()


def _fitted(job: Any, cards: list[str]) -> Any:
    """The job with what is this machine's in the place of what is another's: its cards, and who gives it out."""
    changes: dict[str, Any] = {}
    if hasattr(job, "allocator"):
        changes["allocator"] = None
    if hasattr(job, "gpus") and cards:
        changes["gpus"] = ",".join(cards)
    return replace(job, **changes) if changes else job


def _say(root: Path, words: Mapping[str, bytes]) -> None:
    """Write these files, each at once as a whole."""
    for name, content in words.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(content)
        part.replace(path)


def _unheld(folder: Path) -> bool:
    if not folder.exists():
        return True
    with (folder / "lock").open("w") as lock:
        return free(lock)
