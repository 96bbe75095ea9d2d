"""The one way from a sandbox to a network: an HTTP proxy of the host, for the hosts that are allowed.

It listens inside the sandbox (see `served`). Every name is resolved here, every address checked, and the very address
that was checked is connected to; this machine and private networks are refused, whatever is allowed.
"""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from mlgym.addresses import public
from mlgym.errors import UsageError
from mlgym.sandbox.served import Served

PORTS = (80, 443)  # that a host without a port means
HEAD, HEAD_S, CONNECT_S = 65536, 30, 20  # bytes and seconds that a request's head may take, seconds to reach a host
LOGGED = 10_000  # requests that are told of
NAME = re.compile(r"(\*\.)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::(\d{1,5}))?")
HOST = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)"
TUNNEL = re.compile(rf"CONNECT {HOST}:(\d{{1,5}}) HTTP/1\.[01]")
PLAIN = re.compile(rf"([A-Z]+) http://{HOST}(?::(\d{{1,5}}))?(/\S*)? HTTP/1\.[01]")
DROPPED = ("proxy-", "connection:", "keep-alive:", "host:")  # headers that are the proxy's own


class Rule(NamedTuple):
    """A host that is allowed; `below` means the names below it and not itself, port 0 the ports 80 and 443."""

    host: str
    below: bool
    port: int

    def allows(self, host: str, port: int) -> bool:
        """Whether it is this host and port."""
        same = host.endswith(f".{self.host}") if self.below else host == self.host
        return same and (port == self.port if self.port else port in PORTS)


@dataclass(frozen=True)
class Asked:
    """One host that the sandbox asked for, `at` seconds since 1970; `why` says what refused it, or that it is away."""

    at: float
    host: str
    port: int
    allowed: bool
    why: str = ""


class Refused(Exception):
    """A request that is not carried out: the status and the sentence that the inside gets."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


def rules(hosts: Iterable[str]) -> tuple[Rule, ...]:
    """`pypi.org` is that host alone, `*.pypi.org` every name below it, `pypi.org:8443` that port alone.

    Raises UsageError for anything else.
    """
    found = []
    for text in hosts:
        match = NAME.fullmatch(text.strip().lower().rstrip("."))
        if not match or int(match[3] or 0) > 65535:
            raise UsageError(f"'{text}' is no host of a network: give names such as pypi.org, *.pypi.org or host:port.")
        found.append(Rule(match[2], bool(match[1]), int(match[3] or 0)))
    return tuple(found)


class Proxy:
    """A proxy for one sandbox or a few: use it in a `with`; `path` is the socket that a specification names.

    `hosts` are allowed (none named: all), `tell` gets each request from a thread of the proxy. `private` lets private
    addresses through: for tests, whose servers have no others. `lookup` gives the addresses of a name.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        folder: Path,
        tell: Callable[[Asked], None],
        *,
        private: bool = False,
        lookup: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo,
    ) -> None:
        self.rules, self.path, self.private = rules(hosts), folder / "proxy", private
        self._tell, self._lookup = tell, lookup
        self._told, self._lock = 0, threading.Lock()
        self._served = Served(self.path, self._answer)

    def __enter__(self) -> Self:
        self._served.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._served.__exit__(*error)

    def _answer(self, client: socket.socket) -> None:
        """One connection from inside."""
        server = None
        try:
            client.settimeout(HEAD_S)
            head, rest = _head(client)
            method, host, port, first = _target(head)
            server = self._served.kept(self._reach(host, port))
            client.settimeout(None)
            server.settimeout(None)
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            server.sendall(first + rest)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()
        except Refused as refused:
            body = f"{refused}\n".encode()
            text = f"HTTP/1.1 {refused.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            with contextlib.suppress(OSError):
                client.sendall(f"{text}Connection: close\r\n\r\n".encode() + body)
        except OSError:
            pass  # one of the two has gone
        finally:
            if server:
                self._served.dropped(server)

    def _reach(self, host: str, port: int) -> socket.socket:
        """A connection to the host, if it is allowed; raises Refused."""
        try:
            if not self._allowed(host, port):
                raise Refused("403 Forbidden", f"{host}:{port} is not among the hosts that this sandbox may reach.")
            try:
                found = self._lookup(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                raise Refused("502 Bad Gateway", f"{host} has no address: {error}.") from error
            open_ = [each for each in found if self.private or public(str(each[4][0]))]
            if not open_:
                raise Refused("403 Forbidden", f"{host} is an address of this machine or of a private network.")
            return self._connected(host, port, open_)
        except Refused as refused:
            self._say(Asked(time.time(), host, port, not refused.status.startswith("403"), str(refused)))
            raise

    def _connected(self, host: str, port: int, found: Sequence[tuple[Any, ...]]) -> socket.socket:
        """A connection to the first of the addresses that answers."""
        why = ""
        for family, kind, protocol, _, address in found:
            server = socket.socket(family, kind, protocol)
            try:
                server.settimeout(CONNECT_S)
                server.connect(address)
                if self.private or server.getsockname()[0] != server.getpeername()[0]:
                    self._say(Asked(time.time(), host, port, True))
                    return server
                why = "it is this machine"
            except OSError as error:
                why = str(error)
            server.close()
        raise Refused("502 Bad Gateway", f"{host}:{port} cannot be reached: {why}.")

    def _allowed(self, host: str, port: int) -> bool:
        return any(rule.allows(host, port) for rule in self.rules) if self.rules else port in PORTS

    def _say(self, asked: Asked) -> None:
        with self._lock:
            self._told += 1
            if self._told <= LOGGED:
                self._tell(asked)


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    """The head of a request, and what came after it."""
    data = b""
    end = time.monotonic() + HEAD_S
    while b"\r\n\r\n" not in data:
        part = client.recv(HEAD)
        data += part
        if not part or len(data) > HEAD or time.monotonic() > end:
            raise Refused("400 Bad Request", "This is no request that a proxy understands.")
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _target(head: bytes) -> tuple[str, str, int, bytes]:
    """The method, host and port of a request, and the head to send on (none for a tunnel)."""
    first, *lines = head.decode("latin-1").split("\r\n")
    tunnel, plain = TUNNEL.fullmatch(first), PLAIN.fullmatch(first)
    host, port = tunnel.groups() if tunnel else plain.group(2, 3) if plain else ("", "")
    number = int(port or 80)
    if not host or number > 65535 or any(line[:1] in (" ", "\t") for line in lines):
        raise Refused("400 Bad Request", "This proxy takes CONNECT host:port and http:// addresses only.")
    name = host.strip("[]").lower().rstrip(".")
    if not plain:
        return "CONNECT", name, number, b""
    kept = [line for line in lines if not line.lower().startswith(DROPPED)]
    to = host if number == 80 else f"{host}:{number}"
    rebuilt = [f"{plain[1]} {plain[4] or '/'} HTTP/1.1", f"Host: {to}", "Connection: close", *kept, "", ""]
    return plain[1], name, number, "\r\n".join(rebuilt).encode("latin-1")


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes from one to the other until the first ends; then the other is told."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
