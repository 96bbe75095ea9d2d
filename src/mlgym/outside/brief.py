"""What a program is told of its task, and how it reaches the tools."""

from mlgym.records import Brief

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
        limits=brief.limits.told,
    )
