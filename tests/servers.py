"""Small local servers that speak like OpenAI's and Anthropic's, scripted; for tests, on a free port of this machine.

A script is a list or a function of the request's body. The n-th item of a list answers a conversation with n - 1
replies in it, so that a continued episode gets the same answers; a function can do anything else. An item is text, or
a dictionary with: text, calls [(name, arguments)] (arguments as an object, or as text to be sent as it stands), stop,
usage (tokens in, out; None leaves it out), more_usage, more (fields of the answer), more_message (fields of the
message), status and error (a failure), headers, raw (a body sent as it stands), hang (seconds before the answer) and
cut (the connection is closed after half of the body).
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Script = Sequence[Any] | Callable[[dict[str, Any]], Any]

TOOLS_REFUSED: dict[str, tuple[int, Any]] = {
    "vllm": (
        400,
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "ollama": (
        400,
        {"error": {"message": "registry.ollama.ai/library/tiny:latest does not support tools", "type": "api_error"}},
    ),
    "llama.cpp": (
        500,
        {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}},
    ),
    "llama.cpp-old": (500, {"error": {"code": 500, "message": "Unsupported param: tools", "type": "server_error"}}),
    "openrouter": (
        404,
        {"error": {"message": "No endpoints found that support tool use. To learn more, visit: …", "code": 404}},
    ),
    "openai": (
        400,
        {"error": {"message": "'tools' is not supported with this model.", "type": "invalid_request_error"}},
    ),
}


def is_preflight(body: dict[str, Any]) -> bool:
    """Whether a request is the short call before a run."""
    tools = body.get("tools") or [{}]
    return "ready" in (tools[0].get("name"), tools[0].get("function", {}).get("name"))


class Server:
    """A server in a thread; `url` is its base URL, `requests` what it was sent: path, headers and body of each.

    The short call before a run is kept apart, in `preflights`. `tells` has the answers to requests for what is served,
    by path (text is an address to go to instead); their paths are kept in `asked`.
    """

    suffix = ""

    def __init__(
        self, script: Script = (), *, refuse_tools: str = "", delay_s: float = 0.0, tells: dict[str, Any] | None = None
    ) -> None:
        self.tells = tells or {}
        self.asked: list[str] = []
        self.preflights: list[dict[str, Any]] = []
        self.script = script
        self.refuse_tools = refuse_tools
        self.delay_s = delay_s
        self.requests: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path in outer.tells:
                    return self.tell()
                headers = {key.lower(): value for key, value in self.headers.items()}
                kept = outer.preflights if is_preflight(body) else outer.requests
                kept.append({"path": self.path, "headers": headers, "body": body})
                time.sleep(outer.delay_s)
                status, headers, answer = outer.answer(self.path, body)
                time.sleep(float(headers.pop("hang", 0)))
                cut = headers.pop("cut", "")
                data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                for key, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                try:
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                except OSError:
                    cut = "gone"
                self.close_connection |= bool(cut)

            def do_GET(self) -> None:
                self.tell()

            def tell(self) -> None:
                outer.asked.append(self.path)
                told = outer.tells.get(self.path, {"detail": "Not Found"})
                data = json.dumps(told).encode()
                self.send_response(302 if isinstance(told, str) else 200 if self.path in outer.tells else 404)
                if isinstance(told, str):
                    self.send_header("Location", told)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Stay silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The base URL that a client is given."""
        return f"http://127.0.0.1:{self._http.server_address[1]}{self.suffix}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body for one request."""
        if not path.endswith(self.endpoint):
            return 404, {}, {"detail": "Not Found"}
        if self.refuse_tools and body.get("tools"):
            status, answer = TOOLS_REFUSED[self.refuse_tools]
            return status, {}, answer
        number = sum(message["role"] == "assistant" for message in body["messages"])
        item = self.script(body) if callable(self.script) else self.script[number]
        if isinstance(item, str):
            item = {"text": item}
        headers = {**item.get("headers", {}), **{key: item[key] for key in ("hang", "cut") if key in item}}
        if "raw" in item:
            return item.get("status", 200), headers, item["raw"]
        if "status" in item:
            return item["status"], headers, self.failure(item)
        return 200, headers, self.reply(item, number, body)

    endpoint = ""

    def failure(self, item: dict[str, Any]) -> Any:
        """The body of a failure."""
        raise NotImplementedError

    def reply(self, item: dict[str, Any], number: int, body: dict[str, Any]) -> Any:
        """The body of a reply."""
        raise NotImplementedError


class OpenAIServer(Server):
    """An OpenAI-compatible server of chat completions."""

    suffix = "/v1"
    endpoint = "/v1/chat/completions"

    def failure(self, item: dict[str, Any]) -> Any:
        """An error as OpenAI writes it; a dictionary in `error` is sent as it stands."""
        error = item.get("error", "failed")
        return error if isinstance(error, dict) else {"error": {"message": error, "type": "error", "code": None}}

    def reply(self, item: dict[str, Any], number: int, body: dict[str, Any]) -> Any:
        """A chat completion."""
        calls = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": name, "arguments": args if isinstance(args, str) else json.dumps(args)},
            }
            for place, (name, args) in enumerate(item.get("calls", ()))
        ]
        message = {"role": "assistant", "content": item.get("text"), **({"tool_calls": calls} if calls else {})}
        message |= item.get("more_message", {})
        stop = item.get("stop", "tool_calls" if calls else "stop")
        answer = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": stop, "logprobs": None}],
        }
        usage = item.get("usage", (100, 10))
        if usage:
            told = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
            answer["usage"] = {**told, **item.get("more_usage", {})}
        return answer | item.get("more", {})


class AnthropicServer(Server):
    """A server of messages as Anthropic's; an item may have `blocks` to put before its text, such as thinking."""

    endpoint = "/v1/messages"

    def failure(self, item: dict[str, Any]) -> Any:
        """An error as Anthropic writes it."""
        return {"type": "error", "error": {"type": item.get("kind", "api_error"), "message": item.get("error", "")}}

    def reply(self, item: dict[str, Any], number: int, body: dict[str, Any]) -> Any:
        """A message."""
        text = [{"type": "text", "text": item["text"]}] if item.get("text") else []
        calls = [
            {"type": "tool_use", "id": f"toolu_{number}_{place}", "name": name, "input": args}
            for place, (name, args) in enumerate(item.get("calls", ()))
        ]
        usage = item.get("usage", (100, 10))
        return {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [*item.get("blocks", ()), *text, *calls],
            "stop_reason": item.get("stop", "tool_use" if calls else "end_turn"),
            "stop_sequence": None,
            "usage": {"input_tokens": usage[0], "output_tokens": usage[1], **item.get("more_usage", {})},
        }
