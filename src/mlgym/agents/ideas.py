"""What to try next: from a language model, or from the baseline's own settings changed by chance."""

import random
from collections.abc import Callable, Sequence

from mlgym.agents.budget import Account, Budget
from mlgym.agents.commands import write
from mlgym.agents.nodes import Idea, Next, Node
from mlgym.agents.prompts import Prompts, middle_out
from mlgym.agents.questions import answer, question
from mlgym.agents.replies import said, with_stop
from mlgym.agents.solutions import NotWritten, solution
from mlgym.agents.trials import Trials
from mlgym.agents.written import thinking
from mlgym.models import Model
from mlgym.records import Brief, Message, Observation

WRONG = 2_000  # characters of a reply without a solution that are kept
Propose = Callable[[Next, Sequence[Node], Observation], Idea]


def by_model(brief: Brief, model: Model, words: Prompts, mistakes: int) -> Propose:
    """Ideas of a model, which has `mistakes` replies for each; raises NotWritten where none of them has a solution."""
    account = Account(model)
    budget = Budget(brief, account, 0)

    def propose(task: Next, nodes: Sequence[Node], seen: Observation) -> Idea:
        system, user = question(brief, words, task, nodes, budget.left(seen))
        talk = [Message(role="system", content=system), Message(role="user", content=user)]
        for _ in range(mistakes):
            reply = account(talk, ())
            try:
                new = solution(thinking(reply.text)[1], list(task.parent.idea.files))
            except NotWritten as error:
                again = with_stop(words("tree_again", why=error, answer=answer(words, task)), reply, words)
                wrong = said(reply)
                talk.append(wrong.changed(content=middle_out(wrong.content, WRONG)))
                talk.append(Message(role="user", content=again))
                continue
            before = task.parent.idea
            run = new.command or before.run
            return Idea(new.plan, write(new.files, run), {**before.files, **new.files}, run)
        raise NotWritten(f"the model's last {mistakes} replies had no solution.")

    return propose


def by_settings(brief: Brief, trials: Trials, rng: random.Random) -> Propose:
    """Ideas without a model: the baseline's settings changed by chance, near those of the node to go on from."""

    def propose(task: Next, nodes: Sequence[Node], seen: Observation) -> Idea:
        values = task.parent.idea.values
        if task.other:
            values = [rng.choice(pair) for pair in zip(values, task.other.idea.values, strict=True)]
        values = trials.propose(values, rng)
        return Idea(f"{trials.difference(values)}.", trials.command(brief, values), values=values)

    return propose
