"""What a server tells of its models without being asked to answer: names, window, native tool calls, quantization."""

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from http.client import HTTPException
from typing import Any, NamedTuple

from mlgym.errors import UsageError
from mlgym.models.endpoint import Endpoint
from mlgym.models.prices import listed, own_price

WAIT_S = 5.0
MOST_BYTES = 20_000_000
# In the lists of LM Studio (what is loaded before what could be), OpenRouter and Together, Groq, vLLM and SGLang,
# Mistral, and Anthropic.
_WINDOWS = (
    *("loaded_context_length", "context_length", "context_window", "max_model_len"),
    *("max_context_length", "max_input_tokens"),
)
# By the `owned_by` of their lists.
_OWNERS = {"llamacpp": "llamacpp", "library": "ollama", "organization_owner": "lmstudio"}


class Facts(NamedTuple):
    """What is known of a model where it is served, None and empty where nobody tells; `names` are all that are served,
    None where there is no list of them.
    """

    context: int | None = None
    native: bool | None = None
    quantization: str = ""
    names: tuple[str, ...] | None = None


@cache
def facts(place: Endpoint) -> Facts:
    """What the server tells of a model, asked once in a process. A window in the user's own price list goes before what
    the server tells, and where it tells none, that of the shipped list counts for the provider's own address.
    """
    found, own, price = ask(place), own_price(place.name), listed(place.name) if place.usual else None
    context = (own.context if own else None) or found.context or (price.context if price else None)
    return found._replace(context=context)


def ask(place: Endpoint, wait_s: float = WAIT_S) -> Facts:
    """Ask the server, in a few short requests; never raises."""
    try:
        key = place.key()
    except UsageError:
        return Facts()
    server = _Server(place, key, wait_s)
    path = "/v1/models?limit=1000" if place.speaks == "anthropic" else "/models"
    answer = server.get(place.url + path)
    rows = answer.get("data") if isinstance(answer, dict) else answer  # Together's is a bare list
    if not isinstance(rows, list):
        return Facts()
    named = [row for row in rows if isinstance(row, dict) and "id" in row]
    entries = {str(row["id"]).removeprefix("models/"): row for row in named}  # as Gemini's begin
    only = next(iter(entries)) if len(entries) == 1 else ""  # llama.cpp answers to any name
    mine = next((entries[name] for name in (place.model, f"{place.model}:latest", only) if name in entries), {})
    kind = place.provider if place.own else _OWNERS.get(str(mine.get("owned_by")), "")
    more = {"llamacpp": _llamacpp, "ollama": _ollama, "lmstudio": _lmstudio}.get(kind)
    if more and (place.own or place.local):
        with suppress(AttributeError, TypeError):  # an answer of another shape
            mine = {**mine, **more(server, place)}
    quantization = mine.get("quantization") or _at(mine, "meta", "ftype")
    return Facts(_window(mine), _native(mine), str(quantization or ""), tuple(entries))


def _window(entry: Mapping[str, Any]) -> int | None:
    found = [entry.get(key) for key in _WINDOWS] + [_at(entry, "meta", key) for key in ("n_ctx", "n_ctx_train")]
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _native(entry: Mapping[str, Any]) -> bool | None:
    """As OpenRouter, Ollama and Mistral tell it."""
    able = entry.get("supported_parameters") or entry.get("capabilities")
    if isinstance(able, list):
        return "tools" in able
    calls = able.get("function_calling") if isinstance(able, dict) else None
    return calls if isinstance(calls, bool) else None


def _llamacpp(server: "_Server", place: Endpoint) -> dict[str, Any]:
    """The window that it was started with, which may be smaller than the model's."""
    told = server.get(f"{_root(place)}/props")
    settings = told.get("default_generation_settings") if isinstance(told, dict) else None
    return {"context_length": settings.get("n_ctx")} if isinstance(settings, dict) else {}


def _lmstudio(server: "_Server", place: Endpoint) -> dict[str, Any]:
    told = server.get(f"{_root(place)}/api/v0/models/{place.model}")
    return told if isinstance(told, dict) else {}


def _ollama(server: "_Server", place: Endpoint) -> dict[str, Any]:
    """The window of the loaded model, else that which its file sets, else the model's own, which it may not get."""
    told = server.get(f"{_root(place)}/api/show", {"model": place.model})
    if not isinstance(told, dict):
        return {}
    running = server.get(f"{_root(place)}/api/ps")
    found = {"capabilities": told.get("capabilities"), "quantization": _at(told, "details", "quantization_level")}
    return {**found, "context_length": next(_ollama_windows(place, told, running), None)}


def _ollama_windows(place: Endpoint, told: Mapping[str, Any], running: Any) -> Iterator[Any]:
    for model in running.get("models") or () if isinstance(running, dict) else ():
        if str(model.get("name")).removesuffix(":latest") == place.model.removesuffix(":latest"):
            yield model.get("context_length")
    if set_ := re.search(r"^num_ctx\s+(\d+)", str(told.get("parameters", "")), re.MULTILINE):
        yield int(set_[1])
    info = told.get("model_info")
    yield from (value for key, value in (info or {}).items() if key.endswith(".context_length"))


def _at(told: Any, *keys: str) -> Any:
    for key in keys:
        told = told.get(key) if isinstance(told, dict) else None
    return told


def _root(place: Endpoint) -> str:
    return place.url.removesuffix("/v1")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, which would take the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Server:
    """Short requests to one address, with its key; an answer that is none is None."""

    def __init__(self, place: Endpoint, key: str, wait_s: float) -> None:
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "User-Agent": "mlgym"}
        if place.speaks == "anthropic":
            self._headers |= {"x-api-key": key, "anthropic-version": "2023-06-01"}
        self._wait_s = wait_s
        proxies = [urllib.request.ProxyHandler({})] if place.local else []
        self._open = urllib.request.build_opener(_Stay, *proxies).open

    def get(self, url: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the server answers; a request with a body is a POST."""
        sent = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(url, data=sent, headers=self._headers)
            with self._open(request, timeout=self._wait_s) as answer:
                return json.loads(answer.read(MOST_BYTES))
        except (OSError, ValueError, HTTPException, RecursionError):
            return None
