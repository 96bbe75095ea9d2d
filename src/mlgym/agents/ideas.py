"""What to try next: from a language model, or from the baseline's own numbers changed by chance."""

import random
from collections.abc import Callable, Sequence

from mlgym.agents import tree_prompts
from mlgym.agents.commands import write
from mlgym.agents.nodes import Idea, Next, Node
from mlgym.agents.solutions import NotWritten, solution
from mlgym.agents.trials import Trials
from mlgym.models import Model
from mlgym.records import Brief, Message, Observation

Propose = Callable[[Next, Sequence[Node], Observation], Idea | None]


def by_model(brief: Brief, model: Model, mistakes: int) -> Propose:
    """Ideas of a model, which has `mistakes` replies for each; None where none of them has a solution."""

    def propose(task: Next, nodes: Sequence[Node], seen: Observation) -> Idea | None:
        system, user = tree_prompts.messages(brief, task, nodes, seen)
        said = [Message(role="system", content=system), Message(role="user", content=user)]
        for _ in range(mistakes):
            reply = model(said, ())
            try:
                new = solution(reply.text, list(task.parent.idea.files))
            except NotWritten as error:
                said.append(Message(role="assistant", content=reply.text or "(an empty reply)", extra=reply.extra))
                said.append(Message(role="user", content=tree_prompts.asked_again(str(error))))
                continue
            command = write(new.files, new.command or brief.baseline["command"])
            return Idea(new.plan, command, {**task.parent.idea.files, **new.files})
        return None

    return propose


def by_numbers(brief: Brief, trials: Trials, rng: random.Random) -> Propose:
    """Ideas without a model: the baseline's numbers changed by chance, near those of the node to go on from."""

    def propose(task: Next, nodes: Sequence[Node], seen: Observation) -> Idea | None:
        values = task.parent.idea.values
        if task.other:
            values = [rng.choice(pair) for pair in zip(values, task.other.idea.values, strict=True)]
        values = trials.propose(values, rng)
        return Idea(f"{trials.difference(values)}.", trials.command(brief, values), values=values)

    return propose
