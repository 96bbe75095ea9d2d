"""A server of the host's that listens inside a sandbox.

The sandbox keeps a network of its own, with nothing in it. What starts first in there opens an address of it before the
agent has a say, and hands that socket out over a Unix socket: so nothing inside has to forward bytes, and nothing
inside can be killed or forged.
"""

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

CONNECTIONS, LISTENERS = 64, 256  # at once, for one server


class Served:
    """Takes in listening sockets at the Unix socket `path`, and has `answer` deal with each connection, in a thread of
    its own and at most CONNECTIONS at once; use it in a `with`, whose end closes what is open.
    """

    def __init__(self, path: Path, answer: Callable[[socket.socket], None]) -> None:
        self.path = path
        self.handed = threading.Event()  # whether an address was taken
        self._answer = answer
        self._lock, self._room = threading.Lock(), threading.BoundedSemaphore(CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._closing = False

    def __enter__(self) -> Self:
        control = self.kept(socket.socket(socket.AF_UNIX))
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            control.bind(f"/proc/self/fd/{folder}/{self.path.name}")  # a path of its own may be too long for a socket
        finally:
            os.close(folder)
        self.path.chmod(0o666)
        control.listen()
        self._wake, waking = map(self.kept, socket.socketpair())
        self._selector.register(control, selectors.EVENT_READ, self._handed)
        self._selector.register(waking, selectors.EVENT_READ, lambda _: None)
        self._thread = threading.Thread(target=self._serve, name="sandbox server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)  # wakes who waits for it
        self._wake.close()
        self._thread.join(5)
        with self._lock:
            for each in self._open:
                each.close()
        self._selector.close()
        self.path.unlink(missing_ok=True)

    def listen(self) -> int:
        """Listen at an address of this machine's own, 127.0.0.1; returns the port."""
        listener = self.kept(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        return int(listener.getsockname()[1])

    def kept(self, opened: socket.socket) -> socket.socket:
        """The socket, which is closed at the end."""
        with self._lock:
            self._open.add(opened)
        return opened

    def dropped(self, opened: socket.socket) -> None:
        """Close a socket that was kept."""
        with self._lock:
            self._open.discard(opened)
        opened.close()

    def _serve(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select():
                with contextlib.suppress(OSError):
                    if not self._closing:
                        key.data(key.fileobj)

    def _handed(self, control: socket.socket) -> None:
        """Take a listening socket that comes from inside, for as long as its giver is there; no other is taken."""
        talk, _ = control.accept()
        given, fds = None, list[int]()
        try:
            talk.settimeout(2)
            _, fds, _, _ = socket.recv_fds(talk, 1, 1)
            given = socket.socket(fileno=fds[0]) if fds else None
            if given is not None and self._fit(given):
                given.setblocking(False)
                talk.sendall(b".")
                self._selector.register(self.kept(given), selectors.EVENT_READ, self._accept)
                self._selector.register(self.kept(talk), selectors.EVENT_READ, partial(self._left, given))
                self.handed.set()
                return
        except OSError:
            pass
        talk.close()
        if given is not None:
            given.detach()
        for fd in fds:
            os.close(fd)

    def _fit(self, given: socket.socket) -> bool:
        listening = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return given.family == socket.AF_INET and bool(listening) and len(self._selector.get_map()) < 2 * LISTENERS

    def _left(self, listener: socket.socket, talk: socket.socket) -> None:
        """A sandbox has ended, or says what it has no reason to say: its address goes."""
        for each in (listener, talk):
            self._selector.unregister(each)
            self.dropped(each)

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        if not self._room.acquire(blocking=False):
            client.close()
            return
        threading.Thread(target=self._answered, args=(self.kept(client),), daemon=True).start()

    def _answered(self, client: socket.socket) -> None:
        try:
            self._answer(client)
        finally:
            self.dropped(client)
            self._room.release()
