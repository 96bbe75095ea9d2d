"""What the agent `tree` asks a model: each question is whole, and answered by a whole solution."""

from collections.abc import Mapping, Sequence

from mlgym.agents.nodes import Next, Node
from mlgym.agents.prompts import Prompts, middle_out
from mlgym.records import Brief

MOST = 20_000  # characters of a file that are shown
TOLD = 40  # earlier solutions that are told of
PLAN, OUTPUT = 300, 2_500  # characters of a plan there, and of what a run printed


def question(brief: Brief, words: Prompts, task: Next, nodes: Sequence[Node], left: str) -> tuple[str, str]:
    """The message of the system and that of the user which ask for what comes next; `left` says what is left."""
    run = task.parent.idea.run
    told = words("tree_run", command=run) if run else words("tree_no_run")
    shown = [_solution(brief, node) for node in (task.parent, task.other) if node]
    parts = [words.task(brief), _tried(brief, nodes), *shown, left, words(f"tree_{task.kind}"), answer(words, task)]
    return words("tree", run=told), "\n\n".join(filter(None, parts))


def answer(words: Prompts, task: Next) -> str:
    """The form of an answer, with a path of the solution to go on from."""
    return words("tree_answer", path=next(iter(task.parent.idea.files), "solution.py"))


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
