"""Answers of the literature's services: from a few hosts over https, one request at a time, each kept for ever.

Every address on the way is checked: its host is one of `HOSTS`, and what the name leads to is no private network; the
very address that was checked is connected to. What came is kept in the cache's folder `papers`, by its request.
"""

import contextlib
import email.utils
import fcntl
import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from mlgym.addresses import public
from mlgym.cache import cache_dir, made, offline
from mlgym.errors import SourceError
from mlgym.papers.text import clean, short

T = TypeVar("T")
HOSTS = frozenset({"api.semanticscholar.org", "export.arxiv.org", "arxiv.org"})
HOPS, TRIES = 4, 3  # addresses that one request may be led to; requests before a service counts as away
CONNECT_S, SILENT_S, WHOLE_S = 10.0, 20.0, 90.0  # to be reached; that a server may say nothing; for a whole answer
ADDRESSES = 4  # of a host that are tried
PATIENCE_S, POLL_S = 60.0, 0.1  # how long a turn is waited for, and how often a lock is looked at
LONGEST_S = 3600.0  # that a service is left alone at its wish
REQUESTS = 200  # that one episode may make
BUSY = (429, 500, 502, 503, 504)
CHUNK = 1 << 16


@dataclass(frozen=True)
class Service:
    """A service at `base`, asked once in `gap_s` seconds, and in `keyless_s` where none of the variables has a key."""

    name: str
    base: str
    gap_s: float
    keyless_s: float
    keys: tuple[str, ...] = ()

    def key(self) -> str:
        """The user's key, empty where there is none; raises SourceError for what can be none."""
        for name in self.keys:
            if key := os.environ.get(name, "").strip():
                if not key.isascii() or not key.isprintable():
                    raise SourceError(f"{name} has signs that no key has.")
                return key
        return ""


@dataclass(frozen=True)
class Answer:
    """What a server sent: `rest_s` are the seconds that it wants to be left alone, None where it does not say."""

    status: int
    location: str
    rest_s: float | None
    body: bytes


class Web:
    """The way to the services for one episode.

    For tests, whose servers are on this machine: `exempt` are the servers (host:port) that may be reached as they are,
    `lookup` gives the addresses of a name, `pause` waits.
    """

    def __init__(
        self,
        *,
        exempt: frozenset[str] = frozenset(),
        lookup: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo,
        pause: Callable[[float], None] = time.sleep,
        whole_s: float = WHOLE_S,
        requests: int = REQUESTS,
    ) -> None:
        self.left = requests
        self._exempt, self._lookup, self._pause, self._whole_s = exempt, lookup, pause, whole_s

    def get(self, service: Service, path: str, parse: Callable[[bytes], T], most: int) -> T:
        """What `parse` makes of the service's answer of at most `most` bytes, asked for once and kept.

        `parse` raises ValueError for an answer that is none. Raises SourceError.
        """
        name = f"{service.name}-{sha256(path.encode()).hexdigest()[:32]}"

        def fill(part: Path) -> None:
            body = self._fetched(service, path, most)
            try:
                parse(body)
            except ValueError as error:
                raise SourceError(f"{service.name} answered what cannot be used: {error}.") from error
            (part / "request").write_text(path + "\n")
            (part / "answer").write_bytes(body)

        folder = made(cache_dir() / "papers" / name, fill, what="a request", say=lambda _: None)
        return parse((folder / "answer").read_bytes())

    def _fetched(self, service: Service, path: str, most: int) -> bytes:
        """The body of the answer, after further tries where the service is busy."""
        if offline():
            raise SourceError(f"MLGYM_OFFLINE is set, and {service.name} was not asked this before.")
        key = service.key()
        gap = service.gap_s if key else service.keyless_s
        for trial in range(TRIES):
            if self.left <= 0:
                raise SourceError("This episode has used up its requests to the literature's services.")
            with _turn(service.name, self._pause) as rest:
                rest(gap)
                self.left -= 1
                answer = self._asked(service, path, key, most)
                if answer.status == 200:
                    return answer.body
                rest(gap * 2**trial if answer.rest_s is None else max(gap, answer.rest_s))
            if answer.status not in BUSY:
                break
        if answer.status == 404:
            raise SourceError(f"{service.name} knows no such paper.")
        raise SourceError(f"{service.name} cannot be used now: it answers with the status {answer.status}.")

    def _asked(self, service: Service, path: str, key: str, most: int) -> Answer:
        """The answer, wherever the service sends one for it."""
        url = service.base + path
        try:
            for _ in range(HOPS):
                own = key if url.startswith(service.base + "/") else ""
                answer = self._request(urlsplit(url), own, most)
                if answer.status not in (301, 302, 303, 307, 308):
                    return answer
                url = urljoin(url, answer.location)
                if url.startswith("http://") and urlsplit(url).netloc in HOSTS:  # they come to https in the end
                    url = url.replace("http", "https", 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = short(clean(str(error)), 200).rstrip(".") or type(error).__name__
            raise SourceError(f"{service.name} cannot be reached: {why}.") from error
        raise SourceError(f"{service.name} cannot be reached: it leads from one address to the next.")

    def _request(self, url: SplitResult, key: str, most: int) -> Answer:
        """One request for one address, if it may be asked."""
        own = url.netloc in self._exempt
        if not own and (url.scheme != "https" or url.netloc not in HOSTS):
            raise ValueError(f"it leads to {url.scheme}://{url.netloc}, which is none of the hosts that are asked")
        host, port = url.hostname or "", url.port or 443
        headers = {"Host": url.netloc, "User-Agent": "mlgym-env", "Connection": "close"}
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(self._reached(host, port, own))
            timer = threading.Timer(self._whole_s, _cut, (stack.enter_context(raw.dup()),))
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
            if url.scheme == "https":
                raw = stack.enter_context(ssl.create_default_context().wrap_socket(raw, server_hostname=host))
            connection = http.client.HTTPConnection(host, port)
            connection.sock = raw
            target = f"{url.path or '/'}?{url.query}".removesuffix("?")
            connection.request("GET", target, headers=headers | ({"x-api-key": key} if key else {}))
            answer = connection.getresponse()
            stack.callback(answer.close)
            body = _body(answer, most)
            status = 429 if body.startswith(b"Rate exceeded") else answer.status  # arXiv says it with the status 200
            told = answer.headers
            return Answer(status, told.get("Location", ""), _seconds(told.get("Retry-After", "")), body)

    def _reached(self, host: str, port: int, own: bool) -> socket.socket:
        """A connection to the first of the host's addresses that answers and is public."""
        why: Exception = OSError(f"{host} is an address of a private network")
        found = self._lookup(host, port, type=socket.SOCK_STREAM)
        open_ = [each for each in found if own or public(str(each[4][0]))]
        for family, kind, protocol, _, address in open_[:ADDRESSES]:
            reached = socket.socket(family, kind, protocol)
            try:
                reached.settimeout(CONNECT_S)
                reached.connect(address)
                reached.settimeout(SILENT_S)
                return reached
            except OSError as error:
                reached.close()
                why = error
        raise why


def _body(answer: http.client.HTTPResponse, most: int) -> bytes:
    """All of an answer's body, if it is at most `most` bytes."""
    body = answer.read(most + 1)
    if len(body) > most:
        raise OSError(f"its answer is larger than {most >> 20} MB")
    if answer.length:
        raise OSError("its answer broke off")
    return body


def _cut(connection: socket.socket) -> None:
    """End a connection whose time is over: whoever reads from it gets no more."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _seconds(told: str) -> float | None:
    """The seconds that a header Retry-After tells, as a number or as a date."""
    try:
        seconds = float(told) if told.isdecimal() else email.utils.parsedate_to_datetime(told).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_S)


@contextlib.contextmanager
def _turn(name: str, pause: Callable[[float], None]) -> Iterator[Callable[[float], None]]:
    """A turn to ask the service: one at a time for all processes of this machine, and not before it has rested.

    Gives a function that says how many seconds from now it is to rest. Raises SourceError when the turn is far off.
    """
    folder = cache_dir() / "papers"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.turn").open("a+") as file:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise SourceError(f"{name} is busy with other episodes of this machine; try later.") from None
                time.sleep(POLL_S)
        file.seek(0)
        wait = _number(file.read()) - time.time()
        if PATIENCE_S < wait <= LONGEST_S:  # what lies further ahead was written by a wrong clock
            raise SourceError(f"{name} asks for a pause of {wait:.0f} more seconds; try later.")
        if 0 < wait <= PATIENCE_S:
            pause(wait)

        def rest(seconds: float) -> None:
            file.truncate(0)
            file.write(str(time.time() + seconds))
            file.flush()

        yield rest


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
