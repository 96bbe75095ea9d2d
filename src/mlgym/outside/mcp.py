"""The Model Context Protocol, as far as a server of tools needs it: one JSON-RPC message in, at most one out."""

from collections.abc import Callable, Iterable
from typing import Any

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # the newest first
Call = Callable[[str, dict[str, Any]], tuple[str, bool]]


def answered(message: Any, tools: Iterable[dict[str, Any]], call: Call) -> dict[str, Any] | None:
    """The answer to a message; None where it wants none. `call` runs a tool: its text, and whether it failed."""
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        return _failure(None, -32600, "This is no request.")
    if "id" not in message:
        return None  # a notification
    method, given = message["method"], message.get("params")
    params = given if isinstance(given, dict) else {}
    if method == "initialize":
        wanted = params.get("protocolVersion")
        about = {"name": "mlgym", "version": "1"}
        version = wanted if wanted in VERSIONS else VERSIONS[0]
        return _result(message, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about})
    if method == "ping":
        return _result(message, {})
    if method == "tools/list":
        return _result(message, {"tools": [_told(tool["function"]) for tool in tools]})
    if method == "tools/call":
        name, args = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not isinstance(args or {}, dict):
            return _failure(message["id"], -32602, "A call has the name of a tool, and an object of arguments.")
        text, failed = call(name, args or {})
        return _result(message, {"content": [{"type": "text", "text": text}], "isError": failed})
    return _failure(message["id"], -32601, f"There is no method {method[:60]}.")


def _told(function: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": function["name"],
        "description": function.get("description", ""),
        "inputSchema": function["parameters"],
    }


def _result(message: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _failure(id: Any, code: int, why: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": why}}
