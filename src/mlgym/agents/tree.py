"""The agent that searches a tree of solutions: it drafts, debugs and improves, and hands in the best.

Each solution is a node, tried in a branch from the state that its parent left, and saved under its number.
"""

import math
import random
from collections.abc import Generator, Sequence
from typing import Any

from mlgym.agents import Search
from mlgym.agents.commands import shell
from mlgym.agents.ideas import Propose, by_model, by_settings
from mlgym.agents.nodes import Choice, Idea, Next, Node
from mlgym.agents.prompts import Prompts
from mlgym.agents.scores import score
from mlgym.agents.solutions import NotWritten
from mlgym.agents.trials import Trials, read
from mlgym.errors import BudgetError, UsageError
from mlgym.models import Model
from mlgym.records import Action, Branch, Branches, Brief, Checkpoint, Move, Observation, Restore

_TRY = 2  # steps of a node: its run and `validate`


def tree(
    brief: Brief,
    model: Model | None,
    *,
    search: str = "best",
    nodes: int = 100,
    drafts: int = 3,
    debug: float = 0.5,
    depth: int = 2,
    width: int = 3,
    population: int = 6,
    cross: float = 0.3,
    mistakes: int = 3,
    prompts: str = "",
) -> Search:
    """Try at most `nodes` solutions, as the steps allow (two each), and submit the best by validation.

    The first `drafts` begin at the starter. After that a failed node, where there is one, is debugged with probability
    `debug`, at most `depth` times in a row. Otherwise, with `search` "best", the best node is improved, the next best
    after `width` tries; with "evolve" the better of two of the best `population`, which with probability `cross` is
    joined with another. A model is asked once for a node, and again where its reply has no solution, at most `mistakes`
    times; `prompts` is a folder of templates. Without a model the nodes are the baseline with other settings. All luck
    comes from the brief's seed.

    The state between the branches is the best node's, so that it counts when a limit ends the episode in one.
    """
    if search not in ("best", "evolve"):
        raise UsageError(f"The option search of tree is best or evolve, not '{search}'.")
    rng = random.Random(brief.seed)
    depth = depth if model else 0  # settings that fail are not mended
    choice = Choice(search, brief.direction, drafts, debug, depth, max(1, width), max(1, population), cross)
    trials = yield from read(brief)
    found, ran = yield from _starter(brief, trials)
    propose = by_model(brief, model, Prompts(prompts), mistakes) if model else by_settings(brief, trials, rng)
    best, why = found[0], ""
    while (model or trials.start) and len(found) <= nodes and _room(trials, not (ran or best.number)):
        try:
            node = _chosen(choice.next(found, rng), found, trials.seen, propose)
        except (BudgetError, NotWritten) as error:
            why = f"No more could be asked: {error} "
            break
        found.append(node)
        yield from _tried(brief, node, trials)
        if not node.failed and choice.ranked(found)[0] is node:
            best = node
            yield Restore(name=best.name)
    if not (ran or best.number):
        yield shell(brief, brief.baseline["command"], "Nothing was better than the starter: make its submission.")
    yield Action(tool="submit", thought=f"{why}Submit solution {best.number}, {brief.metric} {best.score:.5g}.")


def _starter(brief: Brief, trials: Trials) -> Generator[Move, Any, tuple[list[Node], bool]]:
    """The starter as the first node, saved; and whether it needs no run any more to be submitted.

    It is run where its score is not known; it has none where there is no baseline.
    """
    command = brief.baseline["command"]
    idea = Idea("The starter.", "", dict(trials.files), command, trials.start)
    root, there = Node(0, "starter", idea), bool(command or brief.baseline["files"])
    root.score = brief.baseline["scores"].get(brief.metric, math.nan) if there else math.nan
    run = there and root.failed
    if run:
        if command:
            trials.seen = yield shell(brief, command, "Measure the starter, which has no recorded score.")
            root.output = trials.seen.text
        trials.seen = yield Action(tool="validate")
        root.score = score(brief, trials.seen)
    trials.seen = yield Checkpoint(name=root.name)
    return [root], run or not command


def _chosen(task: Next, nodes: Sequence[Node], seen: Observation, propose: Propose) -> Node:
    """The next node; raises BudgetError where no more may be asked, NotWritten where the model has no more to say."""
    idea = propose(task, nodes, seen)
    task.parent.children += 1
    debugs = task.parent.debugs + 1 if task.kind == "debug" else 0
    return Node(len(nodes), task.kind, idea, task.parent, debugs=debugs)


def _tried(brief: Brief, node: Node, trials: Trials) -> Generator[Move, Any, None]:
    """Run a node in a branch from its parent, and score it in one of its own if that went well."""
    parent = node.parent.name if node.parent else node.name
    run = shell(brief, node.idea.command, f"Solution {node.number}, {node.kind} from {parent}: {node.idea.plan}")
    before = trials.seen.seconds_left
    ((trials.seen,),) = yield Branches(branches=(Branch(at=parent, actions=(run,), name=node.name),))
    trials.dearest = max(trials.dearest, (before or 0.0) - (trials.seen.seconds_left or 0.0))
    node.output = trials.seen.text
    if trials.seen.status != "ok":
        return
    scoring = Branch(at=node.name, actions=(Action(tool="validate"),))
    ((trials.seen,),) = yield Branches(branches=(scoring,))
    node.score = score(brief, trials.seen)
    if node.failed:
        node.output += f"\n{trials.seen.text}"


def _room(trials: Trials, starter: bool) -> bool:
    """Whether steps and seconds are left for another node and the end, before which the starter may have to be run."""
    seen = trials.seen
    steps = seen.steps_left is None or seen.steps_left >= _TRY + 1 + starter
    return steps and (seen.seconds_left is None or seen.seconds_left > 2 * trials.dearest)
