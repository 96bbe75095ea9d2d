"""The viewer's server: the page's files, the documents, and word of what changes. It only reads.

Whatever it sends says that nothing from elsewhere may be loaded, and that no other page may look at it.
"""

import contextlib
import gzip
import hashlib
import logging
import re
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlgym import guard
from mlgym.errors import UsageError
from mlgym.viewer.documents import NotFound, answer, as_json
from mlgym.viewer.live import Live
from mlgym.viewer.store import Store

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
JSON = {"Content-Type": "application/json"}
AT_ONCE = 4  # documents that are made at the same time
SMALL = 1000  # bytes that are not worth compressing
CONNECTIONS = 200
TOKEN = re.compile(r"[A-Za-z0-9._~-]+")
log = logging.getLogger("mlgym")


class Sealed:
    """Lets `app` be read only, and puts the headers on all that leaves, refusals too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            refusal = Response("The viewer only reads.\n", 405, {"Allow": "GET, HEAD", "Connection": "close"})
            return await refusal(scope, receive, sealed)
        await self.app(scope, receive, sealed)


class Once:
    """An address that leads to the page one time: other users see what a browser is started with."""

    def __init__(self, app: ASGIApp, target: str) -> None:
        self.app, self.target, self.path = app, target, "/" + guard.drawn()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or not secrets.compare_digest(scope["path"].encode(), self.path.encode()):
            return await self.app(scope, receive, send)
        self.path = "/" + guard.drawn()
        await RedirectResponse(self.target, 303)(scope, receive, send)


class Routes:
    """The endpoints over a store."""

    def __init__(self, store: Store) -> None:
        self.store, self.live = store, Live(store)
        self.limiter: anyio.CapacityLimiter | None = None

    async def file(self, request: Request) -> Response:
        """A file of the page; the browser asks each time whether it has changed."""
        name = request.path_params.get("name", "index.html")
        path, kind = PAGE / name, TYPES.get(Path(name).suffix)
        if request.url.path == "/" and not request.scope["raw_path"].endswith(b"/"):  # addresses are relative to it
            return RedirectResponse(request.scope["raw_path"].decode("ascii") + "/", 308)
        if kind is None or not re.fullmatch(r"[a-z_-]+\.[a-z]+", name) or not path.is_file():
            return _packed(request, as_json({"error": f"There is no page '{name}'."}), 404, JSON)
        data = path.read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Type": f"{kind}; charset=utf-8"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return _packed(request, data, 200, headers)

    async def document(self, request: Request) -> Response:
        """A document, made in a thread: others are served meanwhile."""
        self.limiter = self.limiter or anyio.CapacityLimiter(AT_ONCE)
        return await anyio.to_thread.run_sync(self._document, request, limiter=self.limiter)

    async def changes(self, request: Request) -> Response:
        """Word of what changes, as server-sent events, until the client goes or the server stops."""
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(self.live.listen(), media_type="text/event-stream")

    def _document(self, request: Request) -> Response:
        try:
            self.live.look()
            told, status = answer(self.store, request.path_params["path"], dict(request.query_params)), 200
        except NotFound as error:
            told, status = {"error": str(error)}, 404
        except UsageError as error:
            told, status = {"error": str(error)}, 400
        except Exception as error:  # records may be anybody's, and what they break is one document
            log.debug("A document cannot be made", exc_info=True)
            told, status = {"error": f"This cannot be read here ({type(error).__name__}: {error!s:.200})."}, 500
        return _packed(request, as_json(told), status, JSON)


class Server(guard.Hearing):
    """A server of a store, bound to `host` and `port` (0: any that is free) but not yet running.

    `tokens` are those that let a client in; one is drawn where none is given. `names` are further host names by which
    clients speak to it. `address` is where the page is, `once` leads there a single time. Raises UsageError where the
    port is taken.
    """

    def __init__(
        self,
        store: Store,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Sequence[str] = (),
        names: Sequence[str] = (),
    ) -> None:
        self.tokens = guard.sound(tokens) or (guard.drawn(),)
        if any(not TOKEN.fullmatch(token) for token in self.tokens):
            raise UsageError("A token stands in an address: letters, digits and the signs . _ ~ - only.")
        self.socket = guard.bound(host, port)
        self.routes = Routes(store)
        app = guard.Guard(application(self.routes), self.tokens, [host, *names], pages=True)
        self._once = Once(app, f"/{self.tokens[0]}/")
        config = uvicorn.Config(
            Sealed(self._once),
            http=guard.patient(CONNECTIONS),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,  # a path holds a token
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)

    @property
    def address(self) -> str:
        """The address with the first token."""
        return guard.address(self.socket, self.tokens[0]) + "/"

    @property
    def once(self) -> str:
        """An address that leads to the page the first time that somebody asks."""
        return guard.address(self.socket, self._once.path.removeprefix("/"))

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.socket.getsockname()[1])

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `stop`, or a signal in the main thread."""
        self.routes.store.start()
        try:
            super().run(sockets or [self.socket])
        finally:
            self.routes.store.close()

    def stop(self) -> None:
        """Let those go that listen for changes, and end, from any thread."""
        super().stop()
        self.routes.live.stop()


def application(routes: Routes) -> Starlette:
    """The application, without its guard."""
    document = Route("/api/{path:path}", routes.document)
    document.path_regex = re.compile("^/api/(?P<path>.*)$", re.DOTALL)  # a folder's name may hold a newline
    return Starlette(
        routes=[
            Route("/", routes.file),
            Route("/api/live", routes.changes),
            document,
            Route("/{name}", routes.file),
        ]
    )


def served(store: Store, **settings: Any) -> contextlib.AbstractContextManager[Server]:
    """A server in a thread of this process, as long as the context is open; settings as those of Server."""
    return Server(store, **settings).aside()


def _packed(request: Request, data: bytes, status: int, headers: dict[str, str]) -> Response:
    """An answer, compressed where the client takes that."""
    if len(data) > SMALL and "gzip" in request.headers.get("accept-encoding", ""):
        data, headers = gzip.compress(data, 5, mtime=0), {**headers, "Content-Encoding": "gzip"}
    return Response(data, status, {**headers, "Vary": "Accept-Encoding"})
