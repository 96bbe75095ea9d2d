"""Ray: episodes on the machines of a cluster, each in an actor that holds what its task asks for."""

import contextlib
import os
import pickle
import re
import secrets
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlgym.beside import CANCELLED
from mlgym.disk import write_whole
from mlgym.episode import want
from mlgym.errors import InUse, UsageError
from mlgym.launchers.actor import actor
from mlgym.launchers.flow import Launched, Say, again
from mlgym.launchers.joining import joined
from mlgym.launchers.machines import Machines
from mlgym.launchers.node import Back, Order
from mlgym.launchers.parcel import laid, packed
from mlgym.launchers.worker import TIDY_S, opened
from mlgym.records import EpisodeSpec, Failure
from mlgym.sandbox.tar import SubmissionRefused
from mlgym.status import DRIVERS
from mlgym.store import episode_folder

PACKAGE = "mlgym-env"
HAND_ON = re.compile(r".*_(API_KEY|BASE_URL)|MLGYM_MODEL_TIMEOUT")  # variables that go along with an episode
FETCH_S = 60.0  # between two looks at what an episode on a machine without the run's folder has done so far
START_S, PAUSE_S = 120.0, 2.0  # for how long no worker need come to be, and between two tries
PATIENCE_S = 600.0  # for how long a machine that can take an episode is waited for
NOTICE_S = 60.0  # until a machine that does not answer is given work again
LOOK_S = 5.0  # between two looks at the machines


@dataclass(eq=False)
class _Flight:
    """An episode on its way: first its actor gets a place (`host` is empty until then), then it runs."""

    spec: EpisodeSpec
    losses: int
    actor: Any
    ref: Any
    node: str = ""
    host: str = ""
    away: bool = False
    words: dict[str, bytes] = field(default_factory=dict)
    fetch: Any = None
    fetched: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Later:
    """An episode that begins again at the moment `due`, or when the cluster has noticed that the `node` is gone."""

    spec: EpisodeSpec
    losses: int
    due: float
    node: str = ""
    since: float = field(default_factory=time.monotonic)


class Cluster:
    """The pool of actors. At the end a cluster is left that was joined for it, and one that was started is ended."""

    def __init__(self, job: Any, n: int | None, address: str, shared: bool | None, say: Say) -> None:
        self._ray, self._joined = joined(address)
        self._n, self._shared, self._say = n, shared, say
        self._run: Path | None = job.run.resolve() if hasattr(job, "run") else None
        self._job = replace(job, run=self._run) if self._run else job
        self._flights: list[_Flight] = []
        self._machines, self._looked = Machines(self._ray), time.monotonic()
        self._later: list[_Later] = []
        self._over: list[tuple[EpisodeSpec, Failure]] = []
        self._kind = self._ray.remote(actor())
        self._variables = {key: value for key, value in os.environ.items() if HAND_ON.fullmatch(key)}
        self._mark: Path | None = None
        if self._run and shared is None:
            self._run.mkdir(parents=True, exist_ok=True)
            self._mark = self._run / f".seen-{secrets.token_hex(8)}"
            write_whole(self._mark, b"")

    def __len__(self) -> int:
        return len(self._flights) + len(self._later) + len(self._over)

    def free(self) -> bool:
        """Whether there is room: of those without a place yet there may be one a machine while a processor is free."""
        if self._n is not None and len(self._flights) + sum(each.losses > 0 for each in self._later) >= self._n:
            return False
        waiting = sum(not flight.host for flight in self._flights)
        return not waiting or (
            waiting < len(self._machines.alive()) and self._ray.available_resources().get("CPU", 0) >= 1
        )

    def start(self, spec: EpisodeSpec, losses: int = 0, since: float | None = None) -> None:
        """Ask the cluster for a place for an episode; `since` when that has been tried."""
        asked, why = self._machines.fitted(spec)
        if why:
            self._wait(_Later(spec, losses, time.monotonic() + LOOK_S, since=since or time.monotonic()), why)
            return
        actor = self._kind.options(**asked, max_restarts=0, max_concurrency=4, scheduling_strategy="SPREAD").remote()
        hello = actor.hello.remote(str(self._mark or ""))
        self._flights.append(_Flight(spec, losses, actor, hello, since=since or time.monotonic()))

    def ended(self, seconds: float) -> Launched:
        """Those that have ended, and those that the cluster has no place for."""
        if time.monotonic() - self._looked > LOOK_S:
            self._machines.alive()
            self._looked = time.monotonic()
        while self._over:
            yield self._over.pop()
        for flight in [flight for flight in self._flights if not flight.host]:
            if self._machines.fitted(flight.spec)[1]:  # the machine that could have done it is gone
                self._leave(flight)
                self.start(flight.spec, flight.losses)
        self._begin_again()
        self._look()
        flights = {flight.ref: flight for flight in self._flights}
        flights |= {flight.fetch: flight for flight in self._flights if flight.fetch is not None}
        if not flights:
            time.sleep(min(seconds, PAUSE_S / 10))
            return
        for ref in self._ray.wait(list(flights), num_returns=1, timeout=seconds)[0]:
            flight = flights[ref]
            if ref == flight.fetch:
                self._take_fetched(flight)
            elif not flight.host:
                yield from self._begin(flight)
            else:
                yield from self._end(flight)

    def close(self) -> None:
        """Interrupt what runs, take what it has done, and leave the cluster, or end it where this has started it."""
        ray = self._ray
        try:
            running = [flight for flight in self._flights if flight.host]
            stops = [flight.actor.stop.remote() for flight in running]
            if stops:
                ray.wait(stops, num_returns=len(stops), timeout=TIDY_S + 2)
                done, _ = ray.wait([flight.ref for flight in running], num_returns=len(running), timeout=2)
                for flight in running:
                    if flight.ref in done and flight.away:
                        with contextlib.suppress(Exception):  # the next run goes on from less
                            self._lay(flight, opened(ray.get(flight.ref)).parcel)
            for flight in list(self._flights):
                self._leave(flight)
        finally:
            if self._mark:
                self._mark.unlink(missing_ok=True)
            if self._joined:
                ray.shutdown()

    def _wait(self, later: _Later, why: str) -> None:
        """Wait for a machine that can take an episode, which may be joining or coming back, but not for ever.

        Raises UsageError where there never was one.
        """
        waited = time.monotonic() - later.since
        if waited < PATIENCE_S:
            self._later.append(later)
            if waited < LOOK_S:
                self._say(later.spec, f"{why} It waits for one.")
        elif want(later.spec).gpus > self._machines.most_cards:
            raise UsageError(f"{why} {later.spec.task} needs it: leave it out, or have such a machine join.")
        else:
            self._over.append((later.spec, Failure(boundary="sandbox", why=why)))

    def _begin(self, flight: _Flight) -> Launched:
        """Send an episode to the place that its actor got."""
        try:
            node, host, theirs, sees = self._ray.get(flight.ref)
        except self._ray.exceptions.RayError as error:
            if time.monotonic() - flight.since < START_S:  # a machine that is gone is given work until that is noticed
                self._leave(flight)
                due = time.monotonic() + PAUSE_S
                self._later.append(_Later(flight.spec, flight.losses, due, since=flight.since))
                return
            yield from self._lost(flight, f"No worker could be started for it ({type(error).__name__}).")
            return
        if theirs != version(PACKAGE):
            has = f"mlgym {theirs}" if theirs else "no mlgym"
            raise UsageError(f"The machine {host} has {has}, this one {version(PACKAGE)}: install the same on all.")
        flight.node, flight.host = node, host
        flight.away = bool(self._run) and not (sees if self._shared is None else self._shared)
        parcel = None
        if flight.away:
            folder = self._folder(flight.spec)
            parcel = packed(folder) if (folder / "spec.json").exists() else b""
            flight.words = self._words(flight.spec)
        order = Order(self._job, flight.spec, parcel, flight.words, self._variables, flight.losses > 0)
        flight.ref = flight.actor.run.remote(pickle.dumps(order))

    def _end(self, flight: _Flight) -> Launched:
        """The outcome of an episode, unless it was lost and runs again."""
        try:
            back: Back = opened(self._ray.get(flight.ref))
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            gone = not self._machines.reached(flight.node)
            yield from self._lost(flight, self._why(flight, error, gone), gone)
            return
        try:
            self._lay(flight, back.parcel)
        except SubmissionRefused as error:
            self._leave(flight)
            why = f"What {flight.host} sent back was refused: {error}."
            yield flight.spec, Failure(boundary="sandbox", why=why)
            return
        except InUse as error:
            self._leave(flight)
            yield flight.spec, Failure(boundary="busy", why=str(error))
            return
        if back.lost:
            yield from self._lost(flight, f"{back.lost.removesuffix('.')} on {flight.host}.")
            return
        self._leave(flight)
        yield flight.spec, opened(back.answer)

    def _lost(self, flight: _Flight, why: str, gone: bool = False) -> Launched:
        """Begin an episode again whose worker, or machine (`gone`), was lost, or give it up."""
        self._leave(flight)
        failure = again(flight.spec, flight.losses + 1, why, self._say)
        if failure is None:
            due = time.monotonic() + (NOTICE_S if gone else 0)
            self._later.append(_Later(flight.spec, flight.losses + 1, due, flight.node if gone else ""))
        else:
            yield flight.spec, failure

    def _begin_again(self) -> None:
        """Start those whose time has come."""
        alive = {node["NodeID"] for node in self._machines.alive()} if self._later else set[str]()
        for each in list(self._later):
            if time.monotonic() >= each.due or (each.node and each.node not in alive):
                self._later.remove(each)
                self.start(each.spec, each.losses, each.since)

    def _why(self, flight: _Flight, error: Exception, gone: bool) -> str:
        """What is known of a loss, in a sentence."""
        if gone:
            return f"The node {flight.node[:8]} on {flight.host} was lost."
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            return f"{flight.host} ran out of memory, and Ray ended its worker."
        return f"Its worker on {flight.host} was lost."

    def _look(self) -> None:
        """Tell machines without the run's folder what lies in it, and ask once in a while what they have done."""
        for flight in [flight for flight in self._flights if flight.away]:
            if (words := self._words(flight.spec)) != flight.words:
                flight.words = words
                flight.actor.tell.remote(words)
            if flight.fetch is None and time.monotonic() - flight.fetched > FETCH_S:
                flight.fetch = flight.actor.so_far.remote()

    def _words(self, spec: EpisodeSpec) -> dict[str, bytes]:
        """What the driver of the run says in its folder, and whether that or the episode was cancelled."""
        assert self._run is not None
        paths = [self._run / CANCELLED, self._folder(spec) / CANCELLED]
        paths += [self._run / DRIVERS / self._job.driver] if getattr(self._job, "driver", "") else []
        words = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                words[path.relative_to(self._run).as_posix()] = path.read_bytes()
        return words

    def _take_fetched(self, flight: _Flight) -> None:
        ref, flight.fetch, flight.fetched = flight.fetch, None, time.monotonic()
        with contextlib.suppress(self._ray.exceptions.RayError, SubmissionRefused, InUse):
            self._lay(flight, self._ray.get(ref))

    def _lay(self, flight: _Flight, parcel: bytes) -> None:
        if parcel:
            laid(parcel, self._folder(flight.spec), flight.spec)

    def _folder(self, spec: EpisodeSpec) -> Path:
        assert self._run is not None
        return episode_folder(self._run, spec)

    def _leave(self, flight: _Flight) -> None:
        self._flights.remove(flight)
        with contextlib.suppress(Exception):
            self._ray.kill(flight.actor)
