"""Actions that every set of tools understands: a shell command, a file written, the end."""

import shlex
from collections.abc import Mapping

from mlgym.records import Action, Brief


def tool_names(brief: Brief) -> list[str]:
    """The names of the tools that the brief offers."""
    return [tool["function"]["name"] for tool in brief.tools]


def shell(brief: Brief, command: str, thought: str = "") -> Action:
    """A shell command: by the tool `bash`, or as text where the set has none."""
    if "bash" in tool_names(brief):
        return Action(tool="bash", args={"command": command}, thought=thought)
    return Action(tool="", args={"text": command}, thought=thought)


def write(files: Mapping[str, str], then: str = "") -> str:
    """The command that writes text files, by here-documents, and then runs `then`."""
    parts = []
    for path, text in files.items():
        end = "END_OF_FILE"
        while end in text:
            end += "_"
        body = text if text.endswith("\n") or not text else text + "\n"
        folder = f"mkdir -p {shlex.quote(path.rpartition('/')[0])} && " if "/" in path else ""
        parts.append(f"{folder}cat > {shlex.quote(path)} <<'{end}'\n{body}{end}")
    return "\n".join([*parts, then] if then else parts)
