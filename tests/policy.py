"""A model without chance for the tests of faults: what comes next is read off the conversation; calls are counted."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

AGAIN = "was started anew"  # what the tools say when the shell was lost under a command: it is sent once more
CALLS = "MLGYM_TEST_CALLS"


def _write(value: int) -> str:
    text = f"def answer(numbers):\n    return [{value}]\n"
    return f"cat > strategy.py <<'END'\n{text}END\nsleep 0.05; cat data/hint.txt strategy.py"


PLAN: list[tuple[str, dict[str, Any]]] = [
    ("bash", {"command": _write(20)}),
    ("validate", {}),
    ("bash", {"command": _write(37)}),
    ("validate", {}),
    ("bash", {"command": _write(45)}),
    ("submit", {}),
]


def due(messages: Sequence[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
    """The next tool call, from the (role, content) of each message."""
    return PLAN[sum(role == "tool" and AGAIN not in content for role, content in messages)]


def reply(messages: Sequence[Any], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The script of `scripted/tests.policy:reply`; the file that CALLS names grows by a byte."""
    with Path(os.environ[CALLS]).open("ab") as calls:
        calls.write(b".")
    name, arguments = due([(message.role, message.content) for message in messages])
    return {"text": f"Now {name}.", "calls": [{"name": name, "arguments": arguments}]}
