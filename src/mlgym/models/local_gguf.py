"""A GGUF file, run in this process by llama.cpp."""

import http.client
import json
import socket
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlgym.errors import ModelError
from mlgym.models.local_chat import Chat, Settings, too_long
from mlgym.records import Reply, ToolCall

QUIET = -1
BATCH = 512  # tokens of a prompt that are read before a reply under way can be ended


class Gguf:
    """The model of a GGUF file, mapped into memory. Raises ModelError where llama.cpp cannot load it.

    The library serves its model at an address too, with no way to switch that off: here that is a socket in a private
    folder which is gone once the model's facts were read from it, so nobody else can connect.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        import xllamacpp

        self.name = path.stem
        asked = xllamacpp.CommonParams()
        asked.model.path = str(path)
        asked.n_ctx, asked.n_batch, asked.n_parallel = settings.n_ctx, BATCH, 1
        asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = settings.threads
        asked.verbosity, asked.warmup, asked.ui, asked.endpoint_slots = QUIET, False, False, False
        asked.cache_ram_mib = 0  # else old conversations are kept, gigabytes of them
        with tempfile.TemporaryDirectory(prefix="mlgym-") as folder:
            address = f"{folder}/s.sock"
            asked.hostnames = [address]
            try:
                self._server: Any = xllamacpp.Server(asked)
            except RuntimeError as error:
                why = "it is damaged, of a kind that this xllamacpp does not know, or too large for the memory"
                raise ModelError(f"llama.cpp cannot load {path}: {why}.", lasting=True) from error
            facts = _facts(address)
        self.context: int = facts["default_generation_settings"]["n_ctx"]
        self.native: bool = facts["chat_template_caps"]["supports_tools"]
        self._kind: str = facts["model_ftype"]
        self._last: object = None
        self._lock, self._closed = threading.Lock(), threading.Event()

    def answer(self, chat: Chat, tools: Sequence[dict[str, Any]], settings: Settings, seed: int, who: object) -> Reply:
        """One completion. It is made in a thread of its own, for the library swallows the caller's interrupts."""
        request = {
            "messages": chat,
            "max_tokens": settings.max_tokens,
            "seed": seed,
            "stream": True,
            "return_progress": True,  # so that a long prompt can be broken off too
            "stream_options": {"include_usage": True},
        }
        request |= {
            key: getattr(settings, key) for key in ("temperature", "top_p") if getattr(settings, key) is not None
        }
        request |= {"tools": list(tools)} if tools else {}
        heard = _Heard(self._closed)

        def ask() -> None:
            with self._lock:
                request["cache_prompt"] = settings.cache and self._last is who
                self._last = who
                if self._server is not None:
                    self._server.handle_chat_completions(request, heard)

        asking = threading.Thread(target=ask, name="local model", daemon=True)
        asking.start()
        try:
            asking.join()
        except BaseException:
            heard.over = True
            asking.join()
            raise
        if heard.error:
            raise self._failed(heard.error)
        return heard.reply(self.name, self._kind)

    def close(self) -> None:
        """End a reply that is under way, and let the model go."""
        self._closed.set()
        with self._lock:
            self._server = None

    def _failed(self, error: dict[str, Any]) -> Exception:
        if error.get("type") == "exceed_context_size_error":
            return too_long(error["n_prompt_tokens"], error["n_ctx"], self.name)
        said = " ".join(str(error.get("message", error)).split())[:300].rstrip(".")
        lasting = error.get("code") == 400
        return ModelError(f"llama.cpp could not answer with {self.name} ({said}).", lasting, doubtful=True)


class _Heard:
    """What the library tells of a reply, piece by piece; calling it is to say whether the reply must end."""

    def __init__(self, closed: threading.Event) -> None:
        self.error: dict[str, Any] = {}
        self.over = False
        self._closed = closed
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._usage: dict[str, Any] = {}
        self._stop = ""

    def __call__(self, piece: dict[str, Any]) -> bool:
        if "error" in piece:
            self.error = piece["error"]
        self._usage = piece.get("usage") or self._usage
        for choice in piece.get("choices", ()):
            said = choice["delta"]
            self._text.append(said.get("content") or "")
            self._reasoning.append(said.get("reasoning_content") or "")
            self._stop = choice["finish_reason"] or self._stop
            for call in said.get("tool_calls") or ():
                self._called(call)
        return self.over or self._closed.is_set()

    def _called(self, piece: dict[str, Any]) -> None:
        call = self._calls.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
        call["id"] += piece.get("id") or ""
        for key in ("name", "arguments"):
            call[key] += piece.get("function", {}).get(key) or ""

    def reply(self, name: str, quantization: str) -> Reply:
        """All of it."""
        return Reply(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            calls=tuple(ToolCall(**call) for _, call in sorted(self._calls.items())),
            tokens_in=self._usage.get("prompt_tokens", 0),
            tokens_out=self._usage.get("completion_tokens", 0),
            tokens_cached=self._usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            stop=self._stop,
            model=name,
            quantization=quantization,
        )


def _facts(address: str) -> dict[str, Any]:
    """What llama.cpp says of its model: the window that it has, its template, its quantization."""
    connection = http.client.HTTPConnection("localhost", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(address)
        connection.request("GET", "/props")
        facts: dict[str, Any] = json.loads(connection.getresponse().read())
        return facts
    finally:
        connection.close()
