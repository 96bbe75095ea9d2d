"""The machines of a cluster: which live, and what an episode can ask of them."""

import contextlib
import socket
import time
from typing import Any

from mlgym.episode import want
from mlgym.errors import Stopped
from mlgym.launchers.joining import knock
from mlgym.records import EpisodeSpec
from mlgym.task import load_task

HEAD_S, PAUSE_S = 30.0, 1.0  # a head that is silent for so long is lost: Ray would end this process without a word
REACH_S = 2.0  # what a machine may take to answer
MEGABYTE = 1_000_000


class Machines:
    """The machines. `most_cards` is what one of them has had, at most, as long as this has looked."""

    def __init__(self, ray: Any) -> None:
        self._ray, self._head = ray, ray.get_runtime_context().gcs_address
        self._headless, self.most_cards = False, 0

    def alive(self) -> list[dict[str, Any]]:
        """The nodes that live. Without its head nothing can be asked of a cluster: raises Stopped where it is lost."""
        end = time.monotonic() + HEAD_S
        while not self._headless:
            try:
                knock(self._head)
                return [node for node in self._ray.nodes() if node["Alive"]]
            except OSError:
                self._headless = time.monotonic() > end
                time.sleep(PAUSE_S)
        raise Stopped(f"The head of the Ray cluster at {self._head} was lost: with a new one the same command goes on.")

    def reached(self, name: str) -> bool:
        """Whether a node answers; the cluster itself takes a while to notice that one does not."""
        for node in self.alive():
            if node["NodeID"] == name:
                with contextlib.suppress(OSError):
                    where = node["NodeManagerAddress"], node["NodeManagerPort"]
                    socket.create_connection(where, timeout=REACH_S).close()
                    return True
        return False

    def fitted(self, spec: EpisodeSpec) -> tuple[dict[str, Any], str]:
        """What is asked of the cluster, of processors and memory no more than its largest machine has; or why none has
        the cards.
        """
        wanted, memory = want(spec), load_task(spec.task).limits.memory_mb * MEGABYTE
        every = [node["Resources"] for node in self.alive()]
        self.most_cards = max([self.most_cards, *(int(node.get("GPU", 0)) for node in every)])
        nodes = [node for node in every if node.get("CPU", 0) and node.get("GPU", 0) >= wanted.gpus]
        if not nodes:
            cards = f" with {wanted.gpus} graphics card{'s' * (wanted.gpus > 1)}" if wanted.gpus else ""
            return {}, f"The cluster has no machine{cards} now."
        asked = {
            "num_cpus": min(wanted.processors, max(node["CPU"] for node in nodes)),
            "num_gpus": wanted.gpus,
            "memory": int(min(memory, max(node.get("memory", 0) for node in nodes))),
        }
        return asked, ""
