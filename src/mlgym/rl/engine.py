"""The rollout engine: one policy in many episodes side by side, tokens in and tokens out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlgym.errors import UsageError
from mlgym.records import Limits
from mlgym.rl import stored
from mlgym.rl.live import Live, Row
from mlgym.rl.places import Places
from mlgym.rl.policy import Policy
from mlgym.rl.protocols import checked
from mlgym.rl.round import Round
from mlgym.session import Session
from mlgym.task import load_task
from mlgym.trajectory import Trajectory

__all__ = ["Engine", "Row"]


class Engine:
    """Lets `policy` act in the episodes of rows; `rollout` returns one Trajectory for each.

    `environments` is how many are open at once, or the address of a server or cluster that has them (`places.Places`,
    with the server's `token`). `protocol` is "plain", "text" or "tools", `prompt` as in `protocols.opening`. `reward`,
    `limits` (those of the task where None, changed where a table is given) and `options` are those of
    `session.LocalSession`. A reply has at most `max_tokens`, a conversation at most `context` tokens (where None as
    many as the policy says, if it does): one that is full ends its episode, graded as it stands. After `give_up`
    replies in a row without an action it has given up. `deadline`: seconds after which a call of `rollout` ends what
    still goes on, graded as it stands. `seed` is what the samplers draw by. Of every `every`-th group the episodes are
    stored under the folder `store`.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        environments: int | str = 8,
        protocol: str = "text",
        prompt: str = "",
        reward: str = "shaped",
        limits: Limits | Mapping[str, Any] | None = None,
        max_tokens: int = 1024,
        context: int | None = None,
        give_up: int = 3,
        deadline: float | None = None,
        seed: int = 0,
        store: Path | str | None = None,
        every: int = 0,
        token: str = "",
        **options: Any,
    ) -> None:
        checked(protocol, prompt)
        if max_tokens < 1:
            raise UsageError("A reply needs at least one token: give max_tokens of 1 or more.")
        self.policy, self._places = policy, Places(environments, token)
        self.parallel = self._places.most
        self.protocol, self.prompt = protocol, prompt
        self.reward, self.limits, self.options = reward, limits, options
        self.max_tokens, self.give_up, self.deadline = max_tokens, give_up, deadline
        self.context = context or getattr(policy, "context", None)
        self.seed, self.store, self.every = seed, None if store is None else Path(store), every
        self._rounds = self._counted = 0
        self._groups: dict[str, int] = {}  # of the call under way, and whether each is stored: at 0

    def rollout(self, rows: Sequence[Row], number: int | None = None) -> list[Trajectory]:
        """One trajectory for each row, in their order. Raises UsageError for what the user must mend.

        The samplers draw by the `number` of the call, which is the next one where none is given. Groups are counted
        through all calls; where a `number` is given, as if all calls before it had had as many.
        """
        names = dict.fromkeys(map(_group, rows))
        if number is not None:
            self._counted = number * len(names)
        self._rounds = self._rounds + 1 if number is None else number
        self._groups = {name: (self._counted + n) % self.every if self.every else 1 for n, name in enumerate(names)}
        self._counted += len(names)
        return Round(self, rows, self._rounds).run() if rows else []

    def make(self, task: str) -> Session:
        """A session of a task, not yet begun."""
        limits = self.limits
        if isinstance(limits, Mapping):
            limits = load_task(task).episode_limits.changed(**limits)
        return self._places.open(task, reward=self.reward, limits=limits, **self.options)

    def keep(self, live: Live) -> None:
        """Store a finished row where its group is one of those that are stored."""
        if self.store is not None and self._groups.get(_group(live.row), 1) == 0:
            stored.keep(live, self.store, stored.spec(live, self.protocol, self.options))

    def close(self) -> None:
        """Leave the cluster of the environments, if there is one; the policy is the caller's."""
        self._places.close()


def _group(row: Row) -> str:
    """What a row is compared within: its group's name, else its task and seed."""
    return row.group or f"{row.task} {row.seed}"
