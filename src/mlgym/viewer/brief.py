"""What an action did, in one line."""

from collections.abc import Callable, Mapping
from typing import Any

from mlgym.viewer.commands import gist
from mlgym.viewer.visible import visible
from mlgym.viewer.windows import inside

LONGEST = 100


def brief(tool: str, args: Mapping[str, Any], opened: str = "") -> str:
    """What an action does, in at most LONGEST characters; `opened` is the classic tools' open file."""
    words = {key: value if isinstance(value, str) else str(value) for key, value in args.items()}
    told = _TOLD.get(tool, _other)(tool, words, opened)
    line = " ".join(visible(told[: 10 * LONGEST]).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _other(tool: str, args: dict[str, str], opened: str) -> str:
    return f"{tool} {' '.join(args.values())}"


def _shell(tool: str, args: dict[str, str], opened: str) -> str:
    return gist(args.get("command", args.get("text", ""))) or tool


def _file(tool: str, args: dict[str, str], opened: str) -> str:
    path = inside(args.get("path") or opened)
    verb = "edit" if tool == "str_replace" else tool
    first, _, last = (args.get("lines") or args.get("line") or args.get("start") or "").partition(":")
    last = last or args.get("end") or first
    place = f"lines {first} to {last}" if last != first else f"line {first}" if first else ""
    return f"{verb} {path}{', ' if path and place else ' '}{place}"


def _job(tool: str, args: dict[str, str], opened: str) -> str:
    action = args.get("action", "")
    return f"job start: {gist(args.get('command', ''))}" if action == "start" else f"job {action} {args.get('id', '')}"


def _end(tool: str, args: dict[str, str], opened: str) -> str:
    return ": ".join(filter(None, ("ended", args.get("reason"), args.get("why"))))


_TOLD: dict[str, Callable[[str, dict[str, str], str], str]] = {
    "bash": _shell,
    "": _shell,
    **dict.fromkeys(("create", "str_replace", "view", "open", "edit", "insert", "goto"), _file),
    "job": _job,
    "end": _end,
}
