"""What the agent `react` tells a model: plain templates, filled from the brief."""

import json

from mlgym.agents.commands import tool_names
from mlgym.records import Brief, Limits

SYSTEM = """\
You are a machine-learning researcher at work in a sandbox: a Linux machine with a shell, without network access.
In your workspace there is a task with a working baseline. Make it score better on the hidden test data.

How to work:
- Look at the files first, then change one thing at a time and measure it.
- `validate` scores the submission of your workspace and shows the score. Use it often: it shows what helped.
- The score on the test data is what counts. Prefer changes that should hold on new data.
- Keep commands short enough for the limits. Save your work as you go: the workspace is graded as it stands when the
  episode ends, however it ends.
- Before the steps run out, bring the workspace back to the best version you validated, and call `submit`. It ends the
  episode.
{protocol}"""

NATIVE = """\

Act by calling the tools. Say in a sentence what you are about to do and why, then call one."""

TEXT = """\

Act by writing commands. Each of your replies has a sentence or two of thought, and then exactly one command in a block
fenced by three backticks, like this:

```
ls -la
```

The block is run and you are shown what it printed.
{commands}"""

TEXT_MODERN = """\
It is run by bash, and may be a script of many lines; write files by here-documents. `validate` and `submit`, alone in a
block, are commands of their own."""

TEXT_CLASSIC = """\
If its first word is one of the following commands it is that one; anything else is run by bash.

{manual}"""

TASK = """\
# {title}

{instruction}

Score: {metric}, to be {direction}d. {scores}
{baseline}Limits: {limits}.
Machine: {machine}.
"""


def system(brief: Brief, native: bool) -> str:
    """The system message, for native tool calls or for the text protocol."""
    return SYSTEM.format(protocol=NATIVE if native else TEXT.format(commands=_commands(brief)))


def task(brief: Brief) -> str:
    """The message that gives the task."""
    files, command = brief.baseline["files"], brief.baseline["command"]
    known = _pairs(brief.baseline["scores"])
    baseline = f"The baseline is {', '.join(files)}" if files else ""
    baseline += f"; `{command}` makes its submission" if files and command else ""
    return TASK.format(
        title=brief.title,
        instruction=brief.instruction.strip(),
        metric=brief.metric,
        direction=brief.direction,
        scores=f"The baseline has {known} on {brief.feedback} data." if known else "The baseline was not measured.",
        baseline=f"{baseline}.\n" if baseline else "",
        limits=_limits(brief.limits),
        machine=_pairs(brief.machine),
    )


def _commands(brief: Brief) -> str:
    if "bash" in tool_names(brief):
        return TEXT_MODERN
    functions = [tool["function"] for tool in brief.tools]
    manual = "\n\n".join(f"{function['name']}: {function.get('description', '').strip()}" for function in functions)
    return TEXT_CLASSIC.format(manual=manual)


def _limits(limits: Limits) -> str:
    parts = [
        f"{limits.steps} steps, each tool call or command being one" if limits.steps is not None else "",
        f"{limits.seconds:g} seconds of commands in all" if limits.seconds is not None else "",
        limits.of_a_command,
        f"{limits.money:.2f} dollars for your replies" if limits.money is not None else "",
    ]
    return "; ".join(filter(None, parts))


def _pairs(values: dict[str, object]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)
