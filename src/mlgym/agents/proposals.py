"""Which values the tuner tries next: near the best so far, what Optuna proposes, or what tells why a run broke."""

import math
from collections.abc import Sequence
from random import Random

from mlgym.agents.breaks import Breaks
from mlgym.agents.places import Value
from mlgym.agents.scores import improves
from mlgym.agents.study import Study
from mlgym.agents.trials import Trials

_RESTART = 0.15
_REDRAWN = 20  # times that values are drawn anew which were tried before


class Proposals:
    """The search: `best` are the best values so far and `score` is theirs. Without a `study` all proposals are near
    the best, with one the first `startup`. `tried` are all values so far, the starter's first; `how` says in words
    where the last proposal came from.
    """

    def __init__(
        self, state: Trials, direction: str, seed: int, score: float, study: Study | None, startup: int
    ) -> None:
        self.best, self.score, self.how = state.start, score, ""
        self._state, self._direction, self._study, self._startup = state, direction, study, startup
        self._rng, self._breaks = Random(seed), Breaks(state.places)
        self.tried = [tuple(state.start)]
        if study and self.open and not math.isnan(score):
            study.tell(self.best, self.open, score)

    @property
    def open(self) -> list[int]:
        """The numbers of the places that may change."""
        return [n for n in range(len(self.best)) if n not in self._breaks.dropped]

    def next(self, trial: int) -> list[Value]:
        """The values of the trial of that number, from 1; such as were not tried before, if they are easily found."""
        self.how = "part of what broke"
        values = self._breaks.next(self._rng)
        if values is None and self._study and trial > self._startup:
            self.how = f"by Optuna {self._study.version}, TPE"
            values = self._study.ask(self.best, self.open)
        if values is None or tuple(values) in self.tried:
            self.how, values = "near the best so far", self._near()
        return values

    def _near(self) -> list[Value]:
        values = self.best
        for _ in range(_REDRAWN):
            around = self._state.start if self._rng.random() < _RESTART else self.best
            values = self._state.propose(around, self._rng, self._breaks.dropped)
            if tuple(values) not in self.tried:
                break
        return values

    def told(self, values: Sequence[Value], score: float) -> bool:
        """What came of the values that were asked for last: their score, or NaN; whether they are the best so far."""
        run = self._state.run
        if self._study:
            self._study.tell(values, self.open, score, run.reports)
        self.tried.append(tuple(values))
        self._breaks.told(values, math.isnan(score) and not run.stopped)
        improved = improves(score, self.score, self._direction)
        if improved:
            self.best, self.score = list(values), score
        return improved
