"""Which tasks are trained on next: drawn by weights and, where asked, by how much can be learned from them.

Learnability is p(1 − p), p the share of episodes of a task that did better than its baseline: what always or never
succeeds teaches a group-relative learner nothing (Rutherford et al. 2024, "No Regrets", section 4; Tzannetos et al.
2023, equation 4). Made tasks of one family and difficulty share one estimate.
"""

import random
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from mlgym.errors import UsageError

SEEDS = 1_000_000  # those that `*` stands for: 0 to SEEDS - 1
MADE = re.compile(r"-s(\*|\d+(?:\.\.\d+)?)(?=-d)")


def bucket(task: str) -> str:
    """What `task` shares an estimate with: `tabular-s17-d0.4` goes with all of `tabular-s*-d0.4`."""
    return MADE.sub("-s*", task)


def is_open(task: str) -> bool:
    """Whether the name leaves a seed to be drawn."""
    found = MADE.search(task)
    return found is not None and not found[1].isdigit()


class Curriculum:
    """Draws tasks of `names`; its whole state is JSON.

    A name may leave the seed of a made task open: `tabular-s*-d0.4` any, `tabular-s0..99-d0.4` one of these. `weights`
    by name, 1 where none is given. With `learnability` a share `explore` of the draws is by weights alone, the others
    by weight times p(1 − p). p counts an episode's reward above `above` as a success; each update makes those before
    it count `decay` as much. Raises UsageError for weights that do not fit.
    """

    def __init__(
        self,
        names: Iterable[str],
        weights: Mapping[str, float] | None = None,
        learnability: bool = False,
        seed: int = 0,
        *,
        explore: float = 0.2,
        above: float = 0.0,
        decay: float = 0.9,
    ) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in self.names}
        self.learnability, self.seed = learnability, seed
        self.explore, self.above, self.decay = explore, above, decay
        self._drawn = 0
        self._seen: dict[str, tuple[float, float]] = {}  # by bucket: successes and episodes, older ones count less
        self._lock = threading.Lock()
        if unknown := set(weights or {}) - set(self.names):
            raise UsageError(f"There is a weight for '{min(unknown)}', which is not among the tasks.")
        if not self.names or min(self.weights.values()) < 0 or not any(self.weights.values()):
            raise UsageError("A curriculum needs tasks, with no weight below 0 and one above 0.")
        for name in self.names:
            _named(name, random.Random(0))

    def draw(self, k: int, seed: int | None = None) -> list[tuple[str, int]]:
        """`k` tasks, each with a seed for its episodes: the next ones of the curriculum's own sequence, or where a
        `seed` is given those that follow from it.
        """
        with self._lock:
            first, self._drawn = self._drawn, self._drawn + (k if seed is None else 0)
        chances = self.chances()
        drawn = []
        for number in range(k):
            luck = random.Random(f"{self.seed}/{first + number}" if seed is None else f"drawn {seed}/{number}")
            [name] = luck.choices(self.names, [chances[name] for name in self.names])
            drawn.append((_named(name, luck), luck.randrange(2**31)))
        return drawn

    def update(self, task: str, rewards: Iterable[float | None]) -> None:
        """Learn how episodes of a task ended; None is one that was not scored, and says nothing."""
        scored = [reward for reward in rewards if reward is not None]
        if not scored:
            return
        with self._lock:
            won, tried = self._seen.get(bucket(task), (0.0, 0.0))
            better = sum(reward > self.above for reward in scored)
            self._seen[bucket(task)] = won * self.decay + better, tried * self.decay + len(scored)

    def rate(self, task: str) -> float:
        """The estimate of p, from half a success in one episode on (Jeffreys's prior): 1/2 before any."""
        won, tried = self._seen.get(bucket(task), (0.0, 0.0))
        return (won + 0.5) / (tried + 1)

    def chances(self) -> dict[str, float]:
        """The probability of each name to be drawn next."""
        plain = _shares(self.weights)
        if not self.learnability:
            return plain
        worth = {name: weight * self.rate(name) * (1 - self.rate(name)) for name, weight in self.weights.items()}
        learned = _shares(worth)
        return {name: self.explore * plain[name] + (1 - self.explore) * learned[name] for name in self.names}

    def state(self) -> dict[str, Any]:
        """All that draws and updates have changed, as JSON holds it."""
        with self._lock:
            return {"drawn": self._drawn, "seen": {name: list(counts) for name, counts in self._seen.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        with self._lock:
            self._drawn = int(state["drawn"])
            self._seen = {name: (float(won), float(tried)) for name, (won, tried) in state["seen"].items()}


def _shares(worth: Mapping[str, float]) -> dict[str, float]:
    total = sum(worth.values())
    return {name: value / total for name, value in worth.items()}


def _named(name: str, luck: random.Random) -> str:
    """The name with its open seed drawn."""
    found = MADE.search(name)
    if not found or not is_open(name):
        return name
    low, _, high = found[1].partition("..")
    seeds = range(SEEDS) if low == "*" else range(int(low), int(high) + 1)
    if not seeds:
        raise UsageError(f"The task '{name}' leaves no seed to draw: give the lower one first, as in s0..99.")
    return MADE.sub(f"-s{luck.choice(seeds)}", name)
