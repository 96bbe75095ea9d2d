"""What a program is served at its address: OpenAI's interface, the task's tools, and the same tools by MCP."""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

from mlgym.agents.budget import left
from mlgym.outside import chat, mcp
from mlgym.outside.desk import Desk, Refused

MOST, AT_ONCE = 4_000_000, 4  # bytes of a request's body, and how many of those are held
ALL = 1_000_000_000  # bytes of all bodies of an episode, some of which are recorded
SILENT_S = 30.0  # seconds that a client may be silent within a request
COMPLETIONS = ("/v1/chat/completions", "/chat/completions")
MODELS = ("/v1/models", "/models")


class Service:
    """Answers the connections of one program; `key` must come with each request, where there is one."""

    def __init__(self, desk: Desk, key: str = "") -> None:
        self.desk, self.key = desk, key
        self.room = threading.BoundedSemaphore(AT_ONCE)
        self.count = self.posted = 0

    def answer(self, client: socket.socket) -> None:
        """One connection, which has one request."""
        # ValueError: the server's own on a file that is closed; RecursionError: what came is just too deep to be told
        with contextlib.suppress(OSError, ValueError, RecursionError):
            _Handler(client, self)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SILENT_S

    def __init__(self, client: socket.socket, service: Service) -> None:
        self.service = service
        super().__init__(client, ("program", 0), cast(Any, service))  # which is only kept

    def do_GET(self) -> None:
        """What there is: models and tools."""
        self._answered({**dict.fromkeys(MODELS, self._models), "/tools": self._tools})

    def do_POST(self) -> None:
        """A conversation, a tool call, or a message of MCP."""
        with self.service.room:
            ways = {**dict.fromkeys(COMPLETIONS, self._chat), "/tools": self._call, "/mcp": self._mcp}
            self._answered(ways)

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _answered(self, ways: dict[str, Any]) -> None:
        self.close_connection = True
        try:
            way = ways.get(self.path.partition("?")[0].rstrip("/"))
            if way is None:
                raise Refused(404, "not_found", f"There is nothing at {self.path[:100]}; the base URL ends in /v1.")
            if self.service.key and self.headers.get("Authorization") != f"Bearer {self.service.key}":
                raise Refused(401, "invalid_api_key", "The key is in the variable OPENAI_API_KEY.")
            way()
        except Refused as refused:
            kind = "insufficient_quota" if refused.status == 429 else "invalid_request_error"
            about = {"message": str(refused), "type": kind, "param": None, "code": refused.code}
            self._send(refused.status, {"error": about})

    def _models(self) -> None:
        model = {"id": self.service.desk.model, "object": "model", "created": 0, "owned_by": "mlgym"}
        self._send(200, {"object": "list", "data": [model] if self.service.desk.model else []})

    def _tools(self) -> None:
        self._send(200, self.service.desk.tools)

    def _chat(self) -> None:
        body = self._body()
        reply = self.service.desk.chat(body)
        self.service.count += 1
        whole = chat.answer(reply, self.service.count)
        if not body.get("stream"):
            self._send(200, whole)
            return
        options = body.get("stream_options")
        with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._send(200, chat.streamed(whole, with_usage), "text/event-stream")

    def _call(self) -> None:
        body = self._body()
        name, args = (body.get("tool"), body.get("args", {})) if isinstance(body, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(args, dict):
            raise Refused(400, "invalid_request", 'A call is {"tool": NAME, "args": {…}}.')
        seen = self.service.desk.tool(name, args)
        self._send(200, {"text": seen.text, "status": seen.status, "left": left(seen)})

    def _mcp(self) -> None:
        said = mcp.answered(self._body(), self.service.desk.tools, self.service.desk.called)
        if said is None:
            self._send(202, b"")
        else:
            self._send(200, said)

    def _body(self) -> Any:
        size = self.headers.get("Content-Length", "")
        if not (size.isascii() and size.isdigit()):
            raise Refused(411, "length_required", "A request tells its Content-Length.")
        if len(size) > 9 or int(size) > MOST:
            raise Refused(413, "too_large", f"A request has at most {MOST} bytes.")
        self.service.posted += int(size)
        if self.service.posted > ALL:
            raise Refused(413, "too_large", f"All requests of an episode have at most {ALL} bytes together.")
        try:
            return json.loads(self.rfile.read(int(size)))
        except (ValueError, RecursionError) as error:
            raise Refused(400, "invalid_json", "The request's body is no JSON.") from error

    def _send(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.send_header("x-should-retry", "false")  # OpenAI's clients go by it
        self.end_headers()
        self.wfile.write(data)
