"""A Ray cluster on this machine for tests and benchmarks: each node is a `ray start` of its own that can be killed."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlgym.allocator import Allocator
from mlgym.bench import run_grid
from mlgym.launchers import on_ray
from mlgym.records import EpisodeSpec, Result
from mlgym.store import episode_folder, lines
from tests.faults import ROOT, descendants
from tests.grids import Grid
from tests.policy import CALLS

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
}
SIZES = ["--memory=16000000000", "--object-store-memory=80000000"]
PORTS = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]  # two nodes, one machine
STARTED = "Ray runtime started"
START_S = 90
HIDE = 'mount -t tmpfs none "$0" && exec "$@"'  # in a place of its own for mounts

Node = subprocess.Popen[bytes]


class Nodes:
    """A head node and those that were added, which this process ends again."""

    def __init__(self, cpus: float, env: Mapping[str, str] = {}) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="nodes-", dir="/tmp"))  # the sockets of Ray need a short path
        self.nodes: list[Node] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        port = self.address.partition(":")[2]
        where = ["--head", "--num-gpus=1", f"--port={port}", f"--temp-dir={self.place}", "--include-dashboard=false"]
        self.head = self._start(cpus, where, env, [])

    def add(self, cpus: float, env: Mapping[str, str] = {}, before: Sequence[str] = ()) -> Node:
        """One more node, with `before` before its command; returns when it has joined."""
        return self._start(cpus, ["--num-gpus=0", f"--address={self.address}"], env, before)

    def settings(self) -> dict[str, str]:
        """The environment of a program that uses the cluster."""
        return {**os.environ, **SETTINGS, "RAY_ADDRESS": self.address}

    def close(self) -> None:
        """End all nodes."""
        for node in reversed(self.nodes):
            kill(node)
        shutil.rmtree(self.place, ignore_errors=True)

    def _start(self, cpus: float, where: Sequence[str], env: Mapping[str, str], before: Sequence[str]) -> Node:
        log = self.place / f"{len(self.nodes)}.log"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cpus:g}"]
        with log.open("wb") as out:
            node = subprocess.Popen(
                [*before, *command, *where, *SIZES, *PORTS],
                env={**os.environ, **SETTINGS, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.nodes.append(node)
        end = time.monotonic() + START_S
        while STARTED not in log.read_text():
            if node.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"A node of Ray did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        return node


def apart(folder: Path) -> list[str]:
    """What is put before a node's command so that it sees another, empty folder in the place of this one."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", HIDE, str(folder)]


def workers(node: Node) -> list[int]:
    """The processes of a node that run episodes."""
    return [pid for pid, _, _, line in descendants(node.pid) if b"mlgym.launchers.worker" in line]


def raylet(node: Node) -> int:
    """The process of a node that all its others end with."""
    return next(pid for pid, _, _, line in descendants(node.pid) if b"/raylet/raylet" in line)


def raylet_alone(node: Node) -> None:
    """Kill the process of a node that all its others are to end with."""
    os.kill(raylet(node), signal.SIGKILL)


def kill(node: Node) -> None:
    """End all of a node at once, as if its machine had lost its power."""
    for pid in [node.pid, *(pid for pid, *_ in descendants(node.pid))]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


@dataclass
class Loss:
    """A grid run on a cluster that loses a node, and what was said."""

    specs: list[EpisodeSpec]
    run: Path
    victim: Node
    lose: Callable[[Node], None]
    midst_s: float = 4.0
    began: float = field(default_factory=time.monotonic)
    log: list[tuple[float, str]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def go(self, address: str, share: float = 0.25) -> float:
        """Run it; the node is lost when so much of it has ended. Gives the seconds that it took."""
        launcher, struck = on_ray(address=address, say=self._say), None
        for spec, outcome in run_grid(self.specs, self.run, launcher=launcher, allocator=Allocator()):
            assert isinstance(outcome, Result), f"{named(spec)}: {outcome.why}"
            self.ended.append(named(spec))
            print(f"{time.monotonic() - self.began:.0f} s: {len(self.ended)}/{len(self.specs)}", file=sys.stderr)
            if not struck and len(self.ended) >= share * len(self.specs):
                struck = threading.Thread(target=self._strike, daemon=True)
                struck.start()
        return time.monotonic() - self.began

    def _strike(self) -> None:
        """Have the node lost as soon as one of its episodes has run for a while."""
        seen: dict[int, float] = {}
        while not any(time.monotonic() - since > self.midst_s for since in seen.values()):
            pids = workers(self.victim)
            seen = {pid: seen.get(pid, time.monotonic()) for pid in pids}
            time.sleep(0.05)
        self._note(f"the node is lost, with {len(pids)} episode{'s' * (len(pids) > 1)}")
        self.lose(self.victim)

    def _say(self, spec: EpisodeSpec, note: str) -> None:
        steps = len(lines(episode_folder(self.run, spec) / "steps.jsonl"))
        self._note(f"{named(spec)}, {steps} steps recorded: {note}")

    def _note(self, note: str) -> None:
        self.log.append((time.monotonic() - self.began, note))
        print(note, file=sys.stderr)


def named(spec: EpisodeSpec) -> str:
    """An episode in a few words."""
    return f"{spec.task} {spec.agent.partition('?')[0]} seed {spec.seed}"


def surroundings(grid: Grid, calls: Path) -> dict[str, str]:
    """The environment of a node that works in a grid's folders; the file `calls` counts the model's answers."""
    own = {"MLGYM_CACHE": grid.cache, "TMPDIR": grid.temporary, "MLGYM_RUNTIME": grid.root / "runtime"}
    return {**{key: str(value) for key, value in own.items()}, CALLS: str(calls)}
