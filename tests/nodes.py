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
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults import ROOT, descendants

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
}
SIZES = ["--memory=16000000000", "--object-store-memory=80000000", "--num-gpus=0"]
PORTS = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]  # two nodes, one machine
STARTED = "Ray runtime started"
START_S = 90

Node = subprocess.Popen[bytes]


class Nodes:
    """A head node and those that were added, which this process ends again."""

    def __init__(self, cpus: float) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="nodes-", dir="/tmp"))  # the sockets of Ray need a short path
        self.nodes: list[Node] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        port = self.address.partition(":")[2]
        where = ["--head", f"--port={port}", f"--temp-dir={self.place}", "--include-dashboard=false"]
        self.head = self._start(cpus, where, {}, [])

    def add(self, cpus: float, env: Mapping[str, object] = {}, before: Sequence[str] = ()) -> Node:
        """One more node, with `before` before its command; returns when it has joined."""
        return self._start(cpus, [f"--address={self.address}"], env, before)

    def settings(self) -> dict[str, str]:
        """The environment of a program that uses the cluster."""
        return {**os.environ, **SETTINGS, "RAY_ADDRESS": self.address}

    def close(self) -> None:
        """End all nodes."""
        for node in reversed(self.nodes):
            kill(node)
        shutil.rmtree(self.place, ignore_errors=True)

    def _start(self, cpus: float, where: Sequence[str], env: Mapping[str, object], before: Sequence[str]) -> Node:
        log = self.place / f"{len(self.nodes)}.log"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cpus:g}"]
        with log.open("wb") as out:
            node = subprocess.Popen(
                [*before, *command, *where, *SIZES, *PORTS],
                env={**os.environ, **SETTINGS, **{key: str(value) for key, value in env.items()}},
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


def raylet(node: Node) -> int:
    """The process of a node that all its others end with."""
    return next(pid for pid, _, _, line in descendants(node.pid) if b"/raylet/raylet" in line)


def kill(node: Node) -> None:
    """End all of a node at once, as if its machine had lost its power."""
    for pid in [node.pid, *(pid for pid, *_ in descendants(node.pid))]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()
