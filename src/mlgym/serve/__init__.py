"""`mlgym serve`: environments for clients elsewhere, over OpenEnv's wire protocol (docs/serve.md)."""

import asyncio
import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import stat
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from mlgym.errors import UsageError
from mlgym.guard import Guard, patient
from mlgym.offer import Offer
from mlgym.serve.app import application
from mlgym.serve.sessions import AT_ONCE_S, Bounds, House

__all__ = ["Bounds", "Offer", "Server", "read_tokens", "served"]

SHORTEST = 16  # characters of a token


class Server(uvicorn.Server):
    """A server of an offer, bound to `host` and `port` (0: any that is free) but not yet running.

    `tokens` are those that let a client in; one is drawn where none is given. `names` are further host names by which
    clients speak to it, `options` those of every session (sandbox …). `address` is where the holder of the first token
    finds it. Raises UsageError where the port is taken.
    """

    def __init__(
        self,
        offer: Offer,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Sequence[str] = (),
        bounds: Bounds | None = None,
        names: Sequence[str] = (),
        options: dict[str, Any] | None = None,
    ) -> None:
        bounds = bounds or Bounds()
        self.tokens = tuple(tokens) or (secrets.token_urlsafe(24),)
        if any(len(token) < SHORTEST or not token.isascii() for token in self.tokens):
            raise UsageError(f"A token must have {SHORTEST} characters or more, all ASCII.")
        self.socket = _bound(host, port)
        self.house = House(offer, bounds, options or {})
        self.loop: asyncio.AbstractEventLoop | None = None
        app = Guard(application(self.house), self.tokens, [host, *names])
        config = uvicorn.Config(
            app,
            http=patient(bounds.connections),
            ws="websockets-sansio",
            ws_max_size=bounds.message,
            ws_per_message_deflate=False,
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,  # a path may hold a token
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=int(AT_ONCE_S),
            limit_concurrency=None,
        )
        super().__init__(config)

    @property
    def address(self) -> str:
        """The address with the first token."""
        host, port = self.socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/{self.tokens[0]}"

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `stop`, or a signal in the main thread."""
        super().run(sockets or [self.socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def stop(self) -> None:
        """Close all sandboxes at once and end, from any thread."""
        self.should_exit = True
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                asyncio.run_coroutine_threadsafe(self.house.shut(), self.loop)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGHUP, of a terminal that is closed, stops it as the others do; one that is ignored stays so (nohup)."""
        main = threading.current_thread() is threading.main_thread()
        hears = main and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
        before = signal.signal(signal.SIGHUP, self.handle_exit) if hears else None
        try:
            with super().capture_signals():
                yield
        finally:
            if hears:
                signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the sandboxes are closed before the connections, whose requests wait for them."""
        super().handle_exit(sig, frame)
        self.stop()


@contextlib.contextmanager
def served(offer: Offer, **settings: Any) -> Iterator[Server]:
    """A server in a thread of this process, as long as the context is open; settings as those of Server."""
    server = Server(offer, **settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield server
    finally:
        server.stop()
        thread.join()


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens of a file, one a line; raises UsageError where others can read it, or where there is none."""
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise UsageError(f"Others can read the tokens in {path}: make it yours alone with chmod 600.")
            tokens = tuple(line.strip() for line in file if line.strip())
    except (OSError, ValueError) as error:
        raise UsageError(f"The tokens in {path} cannot be read: {error}.") from error
    if not tokens:
        raise UsageError(f"There is no token in {path}: write one a line.")
    return tokens


def is_local(host: str) -> bool:
    """Whether only this machine can reach what is bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise UsageError(f"The address {host}:{port} cannot be listened at: {error.strerror or error}.") from error
    # Those accepted inherit it. asyncio would set it for its own sockets only; without, an answer waits 40 ms.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
