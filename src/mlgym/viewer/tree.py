"""The tree of an episode whose agent saved states and went back to them: stretches of steps, and the path that counts.

It follows from the marks before each step: "+NAME" saved the state, "-NAME" went back to it. What is saved under the
empty name counts if the episode ends before it is gone back to.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mlgym.viewer.lines import Fact
from mlgym.viewer.values import finite
from mlgym.viewer.visible import visible

Tree = dict[str, Any]


def tree(facts: Sequence[Fact], metric: str) -> Tree | None:
    """{nodes: [{id, parent, first, last, name, score}], main: [ids]}; None where each step went on from the last.

    A grading belongs to the steps before it, for it leaves the state as it is.
    """
    before, names, counts = _followed(facts)
    states = [0]  # after each step: the step that made it
    for n, one in enumerate(before, 1):
        states.append(n if _changes(facts, n) else states[one])
    if all(states[one] == states[n] for n, one in enumerate(before)):
        return None
    after = Counter(states[one] for n, one in enumerate(before, 1) if _changes(facts, n))
    nodes, node_of = list[Tree](), dict[int, int]()
    for n, one in enumerate(before, 1):
        parent = node_of.get(one)
        here = parent is not None and nodes[parent]["last"] == n - 1 and states[one] == states[n - 1]
        back = any(mark[:1] == "-" for mark in facts[n - 1].marks)
        if here and (not _changes(facts, n) or (not back and after[states[one]] == 1)):
            node_of[n] = node_of[one]
        else:
            node_of[n] = len(nodes)
            name = facts[n - 1].tool if facts[n - 1].tool in ("submit", "end") else ""
            nodes.append({"id": len(nodes), "parent": parent, "first": n, "last": n, "name": name, "score": None})
        node = nodes[node_of[n]]
        node["last"] = n
        node["name"] = node["name"] or visible(names.get(n, ""))
        seen = facts[n - 1].validation
        node["score"] = finite(seen[metric]) if isinstance(seen, dict) and metric in seen else node["score"]
    return {"nodes": nodes, "main": _path(nodes, node_of.get(counts))}


def _changes(facts: Sequence[Fact], n: int) -> bool:
    """Whether a step may leave another state than it found."""
    return facts[n - 1].tool not in ("validate", "submit")


def _followed(facts: Sequence[Fact]) -> tuple[list[int], dict[int, str], int]:
    """The step from whose state each step went on (0: the start), the names of states, and the step that counts."""
    saved, names = dict[str, int](), dict[int, str]()
    before, at, counts = list[int](), 0, False
    for n, one in enumerate(facts, 1):
        for mark in one.marks:
            counts = mark == "+" or (counts and mark != "-")
            if mark[:1] == "+":
                saved[mark[1:]] = at
                if mark[1:]:
                    names.setdefault(at, mark[1:])
            else:
                at = saved.get(mark[1:], at)
        before.append(at)
        at = n
    kept = counts and facts[-1].tool != "submit"
    return before, names, saved[""] if kept else at


def _path(nodes: list[Tree], last: int | None) -> list[int]:
    """The nodes from the first to this one."""
    out = list[int]()
    while last is not None:
        out.append(last)
        last = nodes[last]["parent"]
    return out[::-1]
