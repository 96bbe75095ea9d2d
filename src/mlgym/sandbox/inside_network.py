"""The host's server given an address inside a sandbox; sent in with `inside.py`, and for programs that are agents."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def hand_out(path: str, port: int) -> Any:
    """Give the host's server an address of this network, 127.0.0.1, to listen at: nothing in here has to serve it.

    It listens as long as the socket is open that comes back.
    """
    import socket

    proxy = socket.socket(socket.AF_UNIX)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        proxy.settimeout(10)
        proxy.connect(path)
        socket.send_fds(proxy, [b"."], [listener.fileno()])
        if not proxy.recv(1):
            raise OSError(5, "the host's server did not take its address")
    return proxy
