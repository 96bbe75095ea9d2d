"""The command `task`: the task's tools, for a program that is the agent.

  task tools               what there is
  task NAME VALUE…         call a tool, its arguments in order; - takes one from standard input
  task call NAME JSON      call a tool, its arguments as a JSON object
  task do TEXT             a command line: `validate` and `submit` are tools, anything else is run by bash
  task mcp                 serve the tools over standard input and output (Model Context Protocol)

The result goes to standard output, what is left to standard error. The exit code is 0 where it went well, 1 where the
tool says that it did not, 2 where the call was malformed, 124 after a timeout, 3 where the episode was over before.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

URL = os.environ.get("MLGYM_URL", "http://127.0.0.1:3128")
CODES = {"ok": 0, "end": 0, "error": 1, "timeout": 124, "format": 2}


def ask(path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """What the host answers: status and body."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ.get("OPENAI_API_KEY", "")}
    request = urllib.request.Request(URL + path, body, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError as error:
        return 0, json.dumps({"error": {"message": f"The host does not answer: {error}."}}).encode()


def tools() -> dict[str, dict[str, Any]]:
    """The tools by name, as functions in OpenAI's form."""
    return {tool["function"]["name"]: tool["function"] for tool in json.loads(ask("/tools")[1])}


def manual() -> None:
    """What the tools are."""
    for name, tool in tools().items():
        known = tool["parameters"]["properties"].items()
        print(name, *(key.upper() for key, _ in known))
        print("   ", tool["description"])
        for key, about in known:
            print(f"    {key.upper()}: {about.get('description', about.get('type', ''))}")


def call(name: str, args: dict[str, Any]) -> None:
    """Call a tool, print what came of it, and exit."""
    status, body = ask("/tools", json.dumps({"tool": name, "args": args}).encode())
    answer = json.loads(body)
    if status != 200:
        print(answer["error"]["message"], file=sys.stderr)
        sys.exit(3)
    sys.stdout.buffer.write(answer["text"].encode())
    if not answer["text"].endswith("\n"):
        print()
    sys.stdout.flush()
    if answer["left"]:
        print(answer["left"], file=sys.stderr)
    sys.exit(CODES[answer["status"]])


def placed(name: str, values: list[str]) -> dict[str, Any]:
    """The values as arguments, in the order of the tool's."""
    known = list(tools().get(name, {}).get("parameters", {}).get("properties", {}))
    if len(values) > len(known):
        print(f"`{name}` takes {' '.join(known).upper() or 'no argument'}; see `task tools`.", file=sys.stderr)
        sys.exit(2)
    return dict(zip(known, [sys.stdin.read() if value == "-" else value for value in values], strict=False))


def mcp() -> None:
    """Hand each message of standard input to the host, and its answer back."""
    for line in sys.stdin.buffer:
        status, body = ask("/mcp", line) if line.strip() else (202, b"")
        if status == 200:
            sys.stdout.buffer.write(body + b"\n")
            sys.stdout.buffer.flush()


def main(words: list[str]) -> None:
    """Do what the words say."""
    if words[:1] == ["tools"]:
        manual()
    elif words[:1] == ["mcp"]:
        mcp()
    elif words[:1] == ["call"] and len(words) in (2, 3):
        try:
            args = json.loads(words[2] if len(words) == 3 else "{}")
        except ValueError as error:
            print(f"The arguments of `{words[1]}` are no JSON: {error}.", file=sys.stderr)
            sys.exit(2)
        call(words[1], args)
    elif words[:1] == ["do"] and len(words) == 2:
        call("", {"text": sys.stdin.read() if words[1] == "-" else words[1]})
    elif words and not words[0].startswith("-") and words[0] not in ("call", "do", "help"):
        call(words[0], placed(words[0], words[1:]))
    else:
        print(__doc__)


main(sys.argv[1:])
