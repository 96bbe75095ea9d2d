"""What a program is told of its task, and how it reaches the tools."""

from mlgym.records import Brief, Observation

TASK = """\
# {title}

{instruction}

Score: {metric}, to be {direction}d. {baseline}
The task has a Linux sandbox of its own; your workspace in it is {workspace}. All that counts happens there.
Limits: {limits}.
`validate` scores the submission as it stands in the workspace and shows the score. `submit` hands it in and ends the
episode; the workspace is graded on hidden test data, in whatever state it is when the episode ends.
"""

HOW = """\
Everything is done by the command `task`, since your own files and the task's are in different sandboxes:
`task bash 'ls -la'` runs a command in the task's, `task tools` lists all tools, `task validate` and `task submit` are
two of them; `task do -` takes a longer command from standard input.
"""


def told(brief: Brief) -> str:
    """The task as text."""
    scores, command = brief.baseline["scores"], brief.baseline["command"]
    known = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    baseline = f"The baseline has {known} on {brief.feedback} data." if known else ""
    baseline += f" It is run with `{command}`." if command else ""
    return TASK.format(
        title=brief.title,
        instruction=brief.instruction.strip(),
        metric=brief.metric,
        direction=brief.direction,
        baseline=baseline.strip(),
        workspace=brief.machine.get("workspace", ""),
        limits=_limits(brief),
    )


def left(seen: Observation) -> str:
    """What is left of the episode after a step, in brackets; empty where nothing is limited."""
    parts = [
        f"{seen.steps_left} steps" if seen.steps_left is not None else "",
        f"{seen.seconds_left:.0f} seconds of commands" if seen.seconds_left is not None else "",
        f"{seen.money_left:.2f} dollars" if seen.money_left is not None else "",
    ]
    told = ", ".join(filter(None, parts))
    return f"[{told} left]" if told else ""


def _limits(brief: Brief) -> str:
    limits = brief.limits
    parts = [
        f"{limits.steps} steps, each use of a tool being one" if limits.steps is not None else "",
        f"{limits.seconds:g} seconds of commands in all" if limits.seconds is not None else "",
        limits.of_a_command,
        f"{limits.money:.2f} dollars for the model's replies" if limits.money is not None else "",
    ]
    return "; ".join(filter(None, parts))
