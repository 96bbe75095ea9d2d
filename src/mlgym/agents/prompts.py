"""What the agent `react` tells a model: the files of `templates/`, filled from the brief; a user can replace each.

A template is plain text with fields such as `$title`; a dollar sign of its own is written `$$`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from mlgym.agents.commands import tool_names
from mlgym.errors import UsageError
from mlgym.records import Brief, Step

SHIPPED = Path(__file__).parent / "templates"
BY_NAME = ("bash", "validate", "submit")  # what can be written in a block as it is, with the modern set
MOST = 20_000  # characters of an example
MOST_SEEN = 1_000  # and of an observation in it


class Prompts:
    """The templates in force: those of `folder`, and the shipped ones for those that it lacks.

    Raises UsageError for a folder that is not there or has no template, for a file that is none, and for a field that
    the shipped template of that name has not.
    """

    def __init__(self, folder: str = "") -> None:
        self._texts = {path.stem: _checked(path) for path in in_force({"prompts": folder})}

    def __call__(self, name: str, **fields: Any) -> str:
        """The template of that name, its fields filled in."""
        return self._texts[name].substitute(fields).rstrip()

    def system(self, brief: Brief, native: bool) -> str:
        """The system message, for native tool calls or for the text protocol."""
        return self("system", protocol=self("tools") if native else self("text", commands=self._commands(brief)))

    def task(self, brief: Brief) -> str:
        """The message that gives the task."""
        files, command = brief.baseline["files"], brief.baseline["command"]
        known = _pairs(brief.baseline["scores"])
        baseline = f"The baseline is {', '.join(files)}" if files else "There is no baseline"
        baseline += f"; `{command}` makes its submission" if files and command else ""
        return self(
            "task",
            title=brief.title,
            instruction=brief.instruction.strip(),
            metric=brief.metric,
            direction=brief.direction,
            scores=f"The baseline has {known} on {brief.feedback} data." if known else "The baseline was not measured.",
            baseline=f"{baseline}.",
            limits=brief.limits.told,
            machine=_pairs(brief.machine),
        )

    def _commands(self, brief: Brief) -> str:
        if "bash" not in tool_names(brief):
            return self("text_classic", manual=_manual(brief, ()))
        further = _manual(brief, BY_NAME)
        return self("text_modern", more=self("text_more", manual=further) if further else "")


def in_force(options: Mapping[str, Any]) -> list[Path]:
    """The files that an agent's words come from, by its options `prompts` and `demonstration`; raises UsageError."""
    shipped = {path.name: path for path in sorted(SHIPPED.glob("*.txt"))}
    folder, example = Path(str(options.get("prompts") or "")), str(options.get("demonstration") or "")
    own: dict[str, Path] = {}
    if options.get("prompts"):
        own = {path.name: path for path in sorted(folder.glob("*.txt"))}
        if not own:
            raise UsageError(f"The folder '{folder}' has no prompt; prompts are named {', '.join(shipped)}.")
        if wrong := [name for name in own if name not in shipped]:
            raise UsageError(f"There is no prompt {wrong[0]} ({folder}); prompts are named {', '.join(shipped)}.")
    return [*{**shipped, **own}.values(), *([_recorded(example)] if example else [])]


def example(where: str) -> str:
    """The text of an example: a text file's, or what an agent thought, did and saw in a recorded episode.

    Raises UsageError where it cannot be read.
    """
    path = _recorded(where)
    try:
        text = path.read_text("utf-8")
        lines = text.split("\n")[:-1] if path.name == "steps.jsonl" else None
        steps = None if lines is None else [Step.model_validate_json(line) for line in lines]
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"The demonstration '{where}' is no text file and no recorded episode: {why}.") from error
    return middle_out(text.strip() if steps is None else "\n\n".join(map(_told, steps)), MOST)


def middle_out(text: str, most: int, hint: Callable[[str], str] = "[… {} characters left out …]".format) -> str:
    """The text with both ends kept where it is longer than `most` characters; `hint` says how many are left out."""
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]}\n{hint(f'{len(text) - head - tail:,}')}\n{text[len(text) - tail :]}"


def _checked(path: Path) -> Template:
    try:
        template = Template(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"The prompt {path} cannot be read: {error}.") from error
    if not template.is_valid():
        raise UsageError(f"The prompt {path} has a dollar sign that begins no field; one of its own is written $$.")
    known = Template((SHIPPED / path.name).read_text("utf-8")).get_identifiers()
    if unknown := [name for name in template.get_identifiers() if name not in known]:
        fields = ", ".join(f"${name}" for name in known) or "none"
        raise UsageError(
            f"The prompt {path} has a field ${unknown[0]} that is not known; it can have: {fields}. (A dollar sign of "
            "its own is written $$.)"
        )
    return template


def _recorded(where: str) -> Path:
    """The file of a demonstration: of a recorded episode its steps."""
    path = Path(where) / "steps.jsonl" if Path(where).is_dir() else Path(where)
    if not path.is_file():
        raise UsageError(f"The demonstration '{where}' is not there: it is a text file, or the folder of an episode.")
    return path


def _told(step: Step) -> str:
    args = step.action.args
    did = str(args.get("command") or args.get("text") or json.dumps(args)) if args else ""
    action = f"{'' if step.action.tool in ('', 'bash') else step.action.tool} {did}".strip()
    return "\n".join(filter(None, (step.action.thought, f"> {action}", middle_out(step.observation.text, MOST_SEEN))))


def _manual(brief: Brief, but: tuple[str, ...]) -> str:
    """What each tool does, and with which arguments where it is not written by name."""
    functions = [tool["function"] for tool in brief.tools if tool["function"]["name"] not in but]
    told = []
    for function in functions:
        arguments = ", ".join(function.get("parameters", {}).get("properties", {})) if but else ""
        told.append(
            f"{function['name']}: {function.get('description', '').strip()}"
            + (f" Arguments: {arguments}." if arguments else "")
        )
    return "\n\n".join(told)


def _pairs(values: dict[str, object]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)
