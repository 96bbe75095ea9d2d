"""The solutions that a search has tried, and which one it goes on from: the best first, or a population."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlgym.records import better


@dataclass
class Idea:
    """A solution to try: what it is in words, the shell command that writes its files and runs it, the files it has
    then, how it is `run`, and `values`, what it is to an agent without a model.
    """

    plan: str
    command: str
    files: dict[str, str] = field(default_factory=dict)
    run: str = ""
    values: Any = None


@dataclass(eq=False)
class Node:
    """A solution that was tried: an idea, and what came of it. The score is NaN where it failed, `debugs` are the
    failed ones right before it, `children` the tries to go on from it.
    """

    number: int
    kind: str
    idea: Idea
    parent: "Node | None" = None
    score: float = math.nan
    output: str = ""
    children: int = 0
    debugs: int = 0

    @property
    def name(self) -> str:
        """Under which its state is saved."""
        return str(self.number)

    @property
    def failed(self) -> bool:
        """Whether it has no score."""
        return math.isnan(self.score)


@dataclass(frozen=True)
class Next:
    """What to try next: a `draft`, to `debug`, `improve` or `cross` a node, the latter with another one."""

    kind: str
    parent: Node
    other: Node | None = None


@dataclass(frozen=True)
class Choice:
    """How the next node is chosen, in one `direction` of the score; the fields are options of the agent `tree`."""

    search: str
    direction: str
    drafts: int
    debug: float
    depth: int
    width: int
    population: int
    cross: float

    def next(self, nodes: Sequence[Node], rng: random.Random) -> Next:
        """What to try next; the first node is the starter."""
        if nodes[0].children < self.drafts:
            return Next("draft", nodes[0])
        broken = [node for node in nodes[1:] if node.failed and not node.children and node.debugs < self.depth]
        if broken and rng.random() < self.debug:
            return Next("debug", rng.choice(broken))
        ranked = self.ranked(nodes)
        if not ranked:
            return Next("draft", nodes[0])
        if self.search == "evolve":
            return self._evolved(ranked[: self.population], rng)
        return Next("improve", min(ranked, key=lambda node: node.children // self.width))

    def ranked(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes that have a score, the best first, the older of equals."""
        sign = -1 if better(1, 0, self.direction) else 1
        return sorted((node for node in nodes if not node.failed), key=lambda node: (sign * node.score, node.number))

    def _evolved(self, alive: Sequence[Node], rng: random.Random) -> Next:
        """A child of the better of two that are drawn, or of that one and another."""
        parent = alive[min(rng.randrange(len(alive)), rng.randrange(len(alive)))]
        others = [node for node in alive if node is not parent]
        if others and rng.random() < self.cross:
            return Next("cross", parent, rng.choice(others))
        return Next("improve", parent)
