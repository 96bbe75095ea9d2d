"""Ray: episodes on the machines of a cluster, each in an actor that holds what its task asks for."""

import contextlib
import importlib.util
import logging
import os
import pickle
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlgym.disk import write_whole
from mlgym.episode import want
from mlgym.errors import UsageError
from mlgym.launchers.flow import Job, Launched, Say, again
from mlgym.launchers.node import Back, Order
from mlgym.launchers.parcel import laid, packed
from mlgym.launchers.worker import TIDY_S, opened
from mlgym.records import EpisodeSpec, Failure
from mlgym.sandbox.tar import SubmissionRefused
from mlgym.store import episode_folder
from mlgym.task import load_task

PACKAGE = "mlgym-env"
HAND_ON = re.compile(r".*_(API_KEY|BASE_URL)|MLGYM_MODEL_TIMEOUT")  # variables that go along with an episode
KNOCK_S = 10.0
FETCH_S = 60.0  # between two looks at what an episode on a machine without the run's folder has done so far
MEGABYTE = 1_000_000


def installed() -> None:
    """Raise UsageError where Ray is not there."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--launcher ray needs Ray, which is not installed here: pip install 'mlgym-env[ray]'.")


def connected(job: Job, n: int | None, address: str, shared: bool | None, say: Say) -> "Cluster":
    """The cluster at that address, or the one that runs on this machine, joined, or with `local` started.

    Where this program has joined one already, that is taken, and left as it is. Raises UsageError where there is none.
    """
    installed()
    for name, value in _settings(address).items():
        os.environ.setdefault(name, value)  # read when Ray is imported
    import ray

    if ray.is_initialized():
        return Cluster(ray, job, n, shared, say, joined=False)
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        _knock(address)
        with _handlers_kept(), _unheard():
            ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(_unreachable(address, error)) from error
    _hush(ray)
    return Cluster(ray, job, n, shared, say, joined=True)


def _settings(address: str) -> dict[str, str]:
    """Variables for Ray, where the user has set none: no statistics for its makers, few lines of its own on the
    terminal, and for a cluster that is started here a token, so that nobody else on the machine can use it.
    """
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {**quiet, **token} if address == "local" and "RAY_AUTH_MODE" not in os.environ else quiet


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def _unreachable(address: str, error: BaseException) -> str:
    """Why no cluster was joined, in a sentence."""
    why = " ".join(f"{error} {error.__cause__ or ''}".split())
    where = f"at {address}" if address and address != "auto" else "on this machine"
    if "ersion mismatch" in why:
        return f"The Ray cluster {where} has another Ray or Python than this machine: {why}"
    if "uthentication" in why:
        return (
            f"The Ray cluster {where} asks for its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token "
            "that it was started with."
        )
    return (
        f"No Ray cluster was found {where}: start one with 'ray start --head', give its address with --ray-address, "
        "or have one started for this run with --ray-address local."
    )


def _hush(ray: Any) -> None:
    """Ray prints what it has noticed to standard output, also where it is asked not to; what was lost we say."""
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Drop what is written to standard error meanwhile: Ray's parts in C++ do, whatever they are asked."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes signals for itself; what the caller does with them stays."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        with contextlib.suppress(ValueError, TypeError):  # another thread than the main one, or not Python's
            signal.signal(number, handler)


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
    fetch: Any = None
    fetched: float = field(default_factory=time.monotonic)


class Cluster:
    """The pool of actors; `joined` says whether this is to leave the cluster at the end."""

    def __init__(self, ray: Any, job: Job, n: int | None, shared: bool | None, say: Say, joined: bool) -> None:
        self._ray, self._n, self._shared, self._say, self._joined = ray, n, shared, say, joined
        self._run: Path | None = getattr(job, "run", None)
        self._job = job.at(self._run.resolve()) if self._run else job  # type: ignore[attr-defined]
        self._flights: list[_Flight] = []
        self._over: list[tuple[EpisodeSpec, Failure]] = []
        self._kind = ray.remote(_actor())
        self._variables = {key: value for key, value in os.environ.items() if HAND_ON.fullmatch(key)}
        self._mark: Path | None = None
        if self._run and shared is None:
            self._run.mkdir(parents=True, exist_ok=True)
            self._mark = self._run.resolve() / f".seen-{secrets.token_hex(8)}"
            write_whole(self._mark, b"")

    def __len__(self) -> int:
        return len(self._flights) + len(self._over)

    def free(self) -> bool:
        """Whether there is room: of those without a place yet there may be one a machine while a processor is free."""
        if self._n is not None and len(self) >= self._n:
            return False
        waiting = sum(not flight.host for flight in self._flights)
        return not waiting or (waiting < len(self._nodes()) and self._ray.available_resources().get("CPU", 0) >= 1)

    def start(self, spec: EpisodeSpec, losses: int = 0) -> None:
        """Ask the cluster for a place for an episode."""
        asked, why = self._fitted(spec)
        if why:
            self._over.append((spec, Failure(boundary="sandbox", why=why)))
            return
        actor = self._kind.options(**asked, max_restarts=0, max_concurrency=4, scheduling_strategy="SPREAD").remote()
        self._flights.append(_Flight(spec, losses, actor, actor.hello.remote(str(self._mark or ""))))

    def ended(self, seconds: float) -> Launched:
        """Those that have ended, and those that the cluster has no place for."""
        while self._over:
            yield self._over.pop()
        for flight in [flight for flight in self._flights if not flight.host]:
            if why := self._fitted(flight.spec)[1]:  # the machine that could have done it is gone
                self._leave(flight)
                yield flight.spec, Failure(boundary="sandbox", why=why)
        self._look()
        flights = {flight.ref: flight for flight in self._flights}
        flights |= {flight.fetch: flight for flight in self._flights if flight.fetch is not None}
        ready, _ = self._ray.wait(list(flights), num_returns=1, timeout=seconds) if flights else ([], [])
        for ref in ready:
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

    def _nodes(self) -> list[dict[str, Any]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _fitted(self, spec: EpisodeSpec) -> tuple[dict[str, Any], str]:
        """What is asked of the cluster, of processors and memory no more than its largest machine has; or why none has
        the cards.
        """
        wanted, memory = want(spec), load_task(spec.task).limits.memory_mb * MEGABYTE
        nodes = [node for node in self._nodes() if node.get("CPU", 0) and node.get("GPU", 0) >= wanted.gpus]
        if not nodes:
            cards = f" with {wanted.gpus} graphics card{'s' * (wanted.gpus > 1)}" if wanted.gpus else ""
            return {}, f"The cluster has no machine{cards} now."
        asked = {
            "num_cpus": min(wanted.processors, max(node["CPU"] for node in nodes)),
            "num_gpus": wanted.gpus,
            "memory": int(min(memory, max(node.get("memory", 0) for node in nodes))),
        }
        return asked, ""

    def _begin(self, flight: _Flight) -> Launched:
        """Send an episode to the place that its actor got."""
        try:
            node, host, theirs, sees = self._ray.get(flight.ref)
        except self._ray.exceptions.RayError as error:
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
        order = Order(self._job, flight.spec, parcel, self._variables, flight.losses > 0)
        flight.ref = flight.actor.run.remote(pickle.dumps(order))

    def _end(self, flight: _Flight) -> Launched:
        """The outcome of an episode, unless it was lost and runs again."""
        try:
            back: Back = opened(self._ray.get(flight.ref))
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            yield from self._lost(flight, self._why(flight, error))
            return
        try:
            self._lay(flight, back.parcel)
        except SubmissionRefused as error:
            self._leave(flight)
            why = f"What {flight.host} sent back was refused: {error}."
            yield flight.spec, Failure(boundary="sandbox", why=why)
            return
        if back.lost:
            yield from self._lost(flight, f"{back.lost.removesuffix('.')} on {flight.host}.")
            return
        self._leave(flight)
        yield flight.spec, opened(back.answer)

    def _lost(self, flight: _Flight, why: str) -> Launched:
        """Begin an episode again whose worker or machine is gone, or give it up."""
        self._leave(flight)
        failure = again(flight.spec, flight.losses + 1, why, self._say)
        if failure is None:
            self.start(flight.spec, flight.losses + 1)
        else:
            yield flight.spec, failure

    def _why(self, flight: _Flight, error: Exception) -> str:
        """What is known of a loss, in a sentence."""
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            return f"{flight.host} ran out of memory, and Ray ended its worker."
        alive = any(node["NodeID"] == flight.node and node["Alive"] for node in self._ray.nodes())
        return f"Its worker on {flight.host} was lost." if alive else f"The node {_short(flight)} was lost."

    def _look(self) -> None:
        """Ask for what has been done on machines without the run's folder, once in a while."""
        for flight in self._flights:
            due = time.monotonic() - flight.fetched > FETCH_S
            if flight.away and flight.fetch is None and due:
                flight.fetch = flight.actor.so_far.remote()

    def _take_fetched(self, flight: _Flight) -> None:
        ref, flight.fetch, flight.fetched = flight.fetch, None, time.monotonic()
        with contextlib.suppress(self._ray.exceptions.RayError, SubmissionRefused):
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


def _short(flight: _Flight) -> str:
    return f"{flight.node[:8]} on {flight.host}"


def _actor() -> type:
    """The class of the actors. It is sent as it stands, so that a machine with another mlgym, or none, can say so."""

    class Episode:
        def __init__(self) -> None:
            self.host: Any = None

        def hello(self, mark: str) -> tuple[str, str, str, bool]:
            """Where this is: the node, the host, its version of mlgym, and whether it sees that file."""
            import contextlib
            import importlib.metadata
            import pathlib
            import socket

            import ray

            theirs = ""
            with contextlib.suppress(Exception):
                theirs = importlib.metadata.version("mlgym-env")
                from mlgym.launchers.node import Host

                self.host = Host()
            node = ray.get_runtime_context().get_node_id()
            return node, socket.gethostname(), theirs, bool(mark) and pathlib.Path(mark).exists()

        def run(self, asked: bytes) -> bytes:
            import ray

            answer: bytes = self.host.run(asked, [str(card) for card in ray.get_gpu_ids()])
            return answer

        def so_far(self) -> bytes:
            found: bytes = self.host.so_far()
            return found

        def stop(self) -> None:
            self.host.stop()

    return Episode
