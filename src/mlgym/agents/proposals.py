"""Which values the tuner tries next: near the best so far, what Optuna proposes, or what tells why a run broke."""

import math
from collections.abc import Sequence
from random import Random

from mlgym.agents.breaks import Breaks
from mlgym.agents.places import Value
from mlgym.agents.study import Study
from mlgym.agents.trials import Trials
from mlgym.records import Brief, better

_RESTART = 0.15


class Proposals:
    """The search: `best` are the best values so far and `score` is theirs. Without a `study` all proposals are near
    the best, with one the first `startup`. `how` says in words where the last proposal came from.
    """

    def __init__(self, state: Trials, brief: Brief, score: float, study: Study | None, startup: int) -> None:
        self.best, self.score, self.how = state.start, score, ""
        self._state, self._direction, self._study, self._startup = state, brief.direction, study, startup
        self._rng, self._breaks = Random(brief.seed), Breaks(state.places)
        self._last: Sequence[Value] = state.start
        if study and self.open and not math.isnan(score):
            study.ask(self.best, self.open, own=True)
            study.tell(score)

    @property
    def open(self) -> list[int]:
        """The numbers of the places that may change."""
        return [n for n in range(len(self.best)) if n not in self._breaks.dropped]

    def next(self, trial: int) -> list[Value]:
        """The values of the trial of that number, from 1."""
        values, self.how = self._breaks.next(self._last, self._rng), "part of what broke"
        own = values is not None or self._study is None or trial <= self._startup
        if values is None and own:
            around = self._state.start if self._rng.random() < _RESTART else self.best
            values, self.how = self._state.propose(around, self._rng, self._breaks.dropped), "near the best so far"
        if self._study:
            values = self._study.ask(values or self.best, self.open, own)
            self.how = self.how if own else f"by Optuna {self._study.version}, TPE"
        assert values is not None
        return values

    def told(self, values: Sequence[Value], score: float) -> None:
        """What came of the values that were asked for last: their score, or NaN."""
        self._last, run = values, self._state.run
        if self._study:
            self._study.tell(score, run.reports)
        self._breaks.told(values, math.isnan(score) and not run.stopped)
        if better(score, self.score, self._direction) or (math.isnan(self.score) and not math.isnan(score)):
            self.best, self.score = list(values), score
