"""Who may speak to a server: the holders of a token, from no web page, in time.

A page in a browser on this machine can send requests to loopback addresses, and by DNS rebinding read the answers too;
another user of the machine can connect as well. So every request needs a token, on loopback too; the name by which it
was sent must be an address or `localhost`, which no DNS answers for; and none may come with an Origin, which only
browsers send.
"""

import hmac
import ipaddress
import re
from collections.abc import Collection, Sequence

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::[0-9]{0,5})?")
REQUEST_S = 10.0  # seconds in which a request's head must have come


class Guard:
    """Lets a request with a token through to `app`, with the token's number as `owner` in its scope.

    The token is the first part of the path, which is taken away, or in the header `Authorization: Bearer TOKEN`.
    `/health` needs none. `names` are further host names by which the server is known.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[str], names: Collection[str] = ()) -> None:
        self.app = app
        self.tokens = [token.encode() for token in tokens]
        self.names = {"localhost", *(name.lower() for name in names)}

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
        if any(key == b"origin" for key, _ in scope["headers"]):
            return 403, "Web pages are not served."
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
