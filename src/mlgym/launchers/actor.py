"""The class of the actors, which holds a place in the cluster for one episode."""

from collections.abc import Mapping
from typing import Any


def actor() -> type:
    """The class. It is sent as it stands, with nothing of this module, so that a machine with another mlgym, or none,
    can say so.
    """

    class Episode:
        def __init__(self) -> None:
            self.host: Any = None

        def hello(self, mark: str) -> tuple[str, str, str, bool]:
            """Where this is: the node, the host, its version of mlgym, and whether it sees that file."""
            import importlib.metadata
            import pathlib
            import socket

            import ray

            theirs = ""
            try:
                theirs = importlib.metadata.version("mlgym-env")
                from mlgym.launchers.node import Host

                self.host = Host()
            except importlib.metadata.PackageNotFoundError:
                pass
            except Exception as error:
                theirs += f", which cannot be imported there ({error})"
            node = ray.get_runtime_context().get_node_id()
            return node, socket.gethostname(), theirs, bool(mark) and pathlib.Path(mark).exists()

        def run(self, asked: bytes) -> bytes:
            import ray

            answer: bytes = self.host.run(asked, [str(card) for card in ray.get_gpu_ids()])
            return answer

        def so_far(self) -> bytes:
            found: bytes = self.host.so_far()
            return found

        def tell(self, words: "Mapping[str, bytes]") -> None:
            self.host.tell(words)

        def stop(self) -> None:
            self.host.stop()

    return Episode
