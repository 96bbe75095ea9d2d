"""What a dialogue that is made from recorded steps begins with: the rules, and the task, as far as its records tell."""

from mlgym.exporters.dialogue import Protocol
from mlgym.records import EpisodeSpec, Message, Result
from mlgym.task import Task

SYSTEM = (
    "You do machine-learning research in a sandbox. You improve on a baseline: look at the workspace, change what you "
    "think is best, run it, and look at what came of it. `validate` grades what stands in the workspace and shows the "
    "score; `submit` hands it in, and that is the end. "
)
HOW: dict[Protocol, str] = {
    "tools": "Call one tool at a time and wait for its answer.",
    "text": "Say what you want to do and write one command, or validate or submit alone, between lines of three "
    "backticks.",
    "plain": "Your whole reply is one command, or validate or submit alone.",
}


def head(task: Task, spec: EpisodeSpec, result: Result | None, protocol: Protocol = "tools") -> tuple[Message, Message]:
    """The system's message and the user's."""
    scores = (result.baseline if result else {}).get("validation")
    score = f"{scores[task.metric]:.6g}" if scores and task.metric in scores else "not measured"
    command = f"`{task.baseline.command}` runs it" if task.baseline.command else "it lies in the workspace"
    handed = ", ".join(task.submission.paths)
    lines = [
        f"# {task.title}",
        "",
        task.told,
        "",
        f"The score is {task.metric}, to {task.direction}. The baseline has {score} on validation data; {command}. "
        f"Handed in is {handed}.",
        f"Limits: {spec.limits.told}.",
        f"Packages: {', '.join(task.packages) or 'none beside Python'}.",
    ]
    return Message(role="system", content=SYSTEM + HOW[protocol]), Message(role="user", content="\n".join(lines))
