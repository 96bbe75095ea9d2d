"""Who may speak to a server: the holders of a token, from no web page, in time.

A page in a browser on this machine can send requests to loopback addresses, and by DNS rebinding read the answers too;
another user of the machine can connect as well. So every request needs a token, on loopback too; the name by which it
was sent must be an address or `localhost`, which no DNS answers for; and none may come with an Origin, which only
browsers send, but for the server's own pages.
"""

import contextlib
import hmac
import ipaddress
import os
import re
import secrets
import signal
import socket
import stat
import threading
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mlgym.errors import UsageError

HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::[0-9]{0,5})?")
REQUEST_S = 10.0  # seconds in which a request's head must have come
EVERYWHERE = ("0.0.0.0", "::")
SHORTEST = 16  # characters of a token


class Guard:
    """Lets a request with a token through to `app`, with the token's number as `owner` in its scope.

    The token is the first part of the path, which is taken away, or in the header `Authorization: Bearer TOKEN`.
    `/health` needs none. `names` are further host names by which the server is known. A server of `pages` lets its own
    through, which come with its own address as their Origin.
    """

    def __init__(
        self, app: ASGIApp, tokens: Sequence[str], names: Collection[str] = (), *, pages: bool = False
    ) -> None:
        self.app, self.pages = app, pages
        self.tokens = [token.encode() for token in tokens]
        self.names = {"localhost", *(_called(name).lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        refusal = self._admitted(scope)
        if refusal is None:
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            await receive()
            return await send({"type": "websocket.close", "code": 1008, "reason": ""})
        status, why = refusal
        headers = {"Connection": "close"}  # what it still sends is not read
        await JSONResponse({"detail": why, "error": "UsageError"}, status, headers)(scope, receive, send)

    def _admitted(self, scope: Scope) -> tuple[int, str] | None:
        """Why not; None where it may pass."""
        hosts = [value for key, value in scope["headers"] if key == b"host"]
        if len(hosts) != 1 or not self._known(hosts[0].decode("latin-1")):
            return 403, "This is not a name of the server: speak to it by its address or as localhost."
        own = b"http://" + hosts[0].lower() if self.pages else None
        if any(key == b"origin" and value.lower() != own for key, value in scope["headers"]):
            return 403, "Other web pages are not served." if self.pages else "Web pages are not served."
        first, _, rest = scope["path"].removeprefix("/").partition("/")
        owner = self._owner(first)
        if owner is not None:
            scope["path"] = "/" + rest
        else:
            sent = [value for key, value in scope["headers"] if key == b"authorization"]
            kind, _, given = sent[0].decode("latin-1").partition(" ") if len(sent) == 1 else ("", "", "")
            owner = self._owner(given.strip()) if kind.lower() == "bearer" else None
        scope["owner"] = owner
        if owner is None and scope["path"] != "/health":
            return 401, "The token is missing or wrong: it is in the address that the server showed when it began."
        return None

    def _owner(self, given: str) -> int | None:
        """The number of a token; the time that it takes tells nothing of how much of one was right."""
        found, text = None, given.encode("utf-8", "surrogatepass")
        for number, token in enumerate(self.tokens):
            if hmac.compare_digest(text, token):
                found = number
        return found

    def _known(self, host: str) -> bool:
        parts = HOST.fullmatch(host)
        if parts is None:
            return False
        name = parts[1] or parts[2]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self.names
        return True


def patient(most: int) -> type[H11Protocol]:
    """uvicorn's HTTP, with at most so many connections, and none that does not get on with its request."""

    class Patient(H11Protocol):
        def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
            super().connection_made(transport)
            self.late = self.loop.call_later(REQUEST_S, transport.abort)
            if len(self.connections) > most:
                transport.abort()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self.late.cancel()
            elif self.late.cancelled() and not self.transport.is_closing():
                self.late = self.loop.call_later(REQUEST_S, self.transport.abort)

        def handle_websocket_upgrade(self, event) -> None:  # type: ignore[no-untyped-def]
            self.late.cancel()
            super().handle_websocket_upgrade(event)

        def connection_lost(self, exc: Exception | None) -> None:
            self.late.cancel()
            super().connection_lost(exc)

    return Patient


class Hearing(uvicorn.Server):
    """uvicorn's server, which hears SIGHUP too, and can be stopped."""

    def stop(self) -> None:
        """End, from any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: what its connections wait for ends before them."""
        super().handle_exit(sig, frame)
        self.stop()

    @contextlib.contextmanager
    def aside(self) -> Iterator[Self]:
        """It in a thread of this process, as long as the context is open."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            while not self.started and thread.is_alive():
                time.sleep(0.01)
            yield self
        finally:
            self.stop()
            thread.join()

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


def drawn() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


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


def sound(tokens: Sequence[str]) -> tuple[str, ...]:
    """The tokens as they were given; raises UsageError where one could be guessed."""
    if any(len(token) < SHORTEST or not token.isascii() for token in tokens):
        raise UsageError(f"A token must have {SHORTEST} characters or more, all ASCII.")
    return tuple(tokens)


def is_local(host: str) -> bool:
    """Whether only this machine can reach what is bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; raises UsageError where that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]  # which would say the address once more
        raise UsageError(f"The address {host}:{port} cannot be listened at: {why}.") from error
    # Those accepted inherit it. asyncio would set it for its own sockets only; without, an answer waits 40 ms.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def address(bound: socket.socket, token: str) -> str:
    """Where the holder of a token finds what listens at a socket."""
    host, port = _called(bound.getsockname()[0]), bound.getsockname()[1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{token}"


def _called(host: str) -> str:
    """What to call a server that listens at a host: this machine's name where it does so everywhere."""
    return socket.gethostname() if host in EVERYWHERE else host
