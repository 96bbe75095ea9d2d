"""What the agent `tree` tells a model: each message is a whole question, answered by a whole solution."""

from collections.abc import Mapping, Sequence

from mlgym.agents.budget import left
from mlgym.agents.nodes import Next, Node
from mlgym.agents.prompts import Prompts, middle_out
from mlgym.records import Brief, Observation

MOST = 20_000  # characters of a file that are shown
TOLD = 40  # earlier solutions that are told of
PLAN, OUTPUT = 300, 2_500  # characters of a plan there, and of what a run printed

SYSTEM = """\
You are a machine-learning researcher who looks for the best solution of a task. Each time you are shown a solution and
what was tried before, you write one new solution. It is run in a sandbox without network access, its submission is
scored, and the best is handed in. The score on hidden test data is what counts: prefer what should hold on new data.

Write one to three sentences of plan: what you change and why it should help. Then write each file that is new or
changed, whole, in a block fenced by three backticks; the path follows the language:

```python path/of_file.py
print("the whole file")
```

Files that you do not write stay as they are. {run}
"""
RUN = """\
Then `{command}` is run, and must make the submission. To run something else instead, add one block that begins with
```sh and holds the command."""
WRITE = """\
Then the submission is scored. If something must be run to make it, add one block that begins with ```sh and holds the
command."""

KINDS = {
    "draft": "Write a solution that goes another way than all that was tried.",
    "debug": "This solution failed, as its output shows. Find the cause, and write the solution that works.",
    "improve": "Change one thing about this solution that should make its score better.",
    "cross": "Join the strengths of the two solutions in one that should score better than both.",
}


def messages(brief: Brief, task: Next, nodes: Sequence[Node], seen: Observation) -> tuple[str, str]:
    """The system's message and the user's that ask for what comes next."""
    command = brief.baseline["command"]
    system = SYSTEM.format(run=RUN.format(command=command) if command else WRITE)
    shown = [_solution(brief, node) for node in (task.parent, task.other) if node]
    parts = [Prompts().task(brief), _tried(brief, nodes), *shown, left(seen), KINDS[task.kind]]
    return system, "\n\n".join(filter(None, parts))


def asked_again(why: str) -> str:
    """The answer to a reply without a solution."""
    return f"Nothing was run: {why}. Write the plan, and then each file whole in a fenced block that names its path."


def _solution(brief: Brief, node: Node) -> str:
    """A solution with its files and what it printed."""
    title = f"# Solution {node.number}, {_came_to(brief, node)}" if node.parent else "# The starter"
    output = f"It printed:\n```\n{node.output[-OUTPUT:]}\n```" if node.output.strip() else ""
    return "\n\n".join(filter(None, (title, _files(node.idea.files), output)))


def _files(files: Mapping[str, str]) -> str:
    return "\n\n".join(f"```{path}\n{middle_out(text, MOST).rstrip()}\n```" for path, text in files.items())


def _tried(brief: Brief, nodes: Sequence[Node]) -> str:
    """What was tried so far, a line each."""
    lines = [f"{node.number}. {_origin(node)}, {_came_to(brief, node)}: {_short(node)}" for node in nodes[1:][-TOLD:]]
    return "\n".join(["# What was tried", *lines]) if lines else ""


def _short(node: Node) -> str:
    plan = " ".join(node.idea.plan.split())
    return plan[:PLAN] + "…" * (len(plan) > PLAN)


def _origin(node: Node) -> str:
    return f"from {node.parent.number}" if node.parent and node.parent.number else "from the starter"


def _came_to(brief: Brief, node: Node) -> str:
    return "failed" if node.failed else f"{brief.metric} {node.score:.5g}"
