"""What an action did, in one line."""

import posixpath
import re

from mlgym.records import Action
from mlgym.viewer.visible import visible

LONGEST = 100


def brief(action: Action) -> str:
    """One line of at most LONGEST characters that says what an action does."""
    args = action.args
    told = _TOLD.get(action.tool, _other)(action.tool, {key: str(value) for key, value in args.items()})
    line = " ".join(visible(told[: 10 * LONGEST]).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _other(tool: str, args: dict[str, str]) -> str:
    return f"{tool} {args.get('text') or ' '.join(args.values())}"


def _shell(tool: str, args: dict[str, str]) -> str:
    command = args.get("command") or args.get("text") or ""
    if written := re.match(r"\s*cat\s+>{1,2}\s*(\S+)\s*<<", command):
        return f"write {posixpath.basename(written[1])}"
    return next((line for line in command[:2000].split("\n") if line.strip()), tool or "(nothing)")


def _file(tool: str, args: dict[str, str]) -> str:
    return f"{'edit' if tool == 'str_replace' else tool} {posixpath.basename(args.get('path', ''))}"


_TOLD = {
    "bash": _shell,
    "": _shell,
    "create": _file,
    "str_replace": _file,
    "view": _file,
    "open": _file,
}
