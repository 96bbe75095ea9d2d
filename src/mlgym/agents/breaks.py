"""Which changes break a program: found by halves, and left alone from then on."""

from collections.abc import Collection, Sequence
from random import Random

from mlgym.agents.places import Place, Value

_ENOUGH = 2  # runs that broke on the change of one place alone


class Breaks:
    """Remembers which changes of `places` broke a run. `dropped` are the numbers of places whose change, alone, always
    does; they stay as they are from then on.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.dropped: set[int] = set()
        self._places = places
        self._fine: set[int] = set()
        self._alone: dict[int, int] = {}
        self._suspects: list[int] = []
        self._broken: Sequence[Value] = ()

    def told(self, values: Sequence[Value], broke: bool) -> None:
        """Whether a run with these values broke."""
        changed = [n for n, (place, value) in enumerate(zip(self._places, values, strict=True)) if value != place.value]
        if not broke:
            self._fine.update(changed)
            self._suspects = [n for n in self._suspects if n not in changed]
            return
        self._suspects, self._broken = changed, values
        if len(changed) == 1:
            (only,) = changed
            self._alone[only] = self._alone.get(only, 0) + 1
            if only not in self._fine and self._alone[only] >= _ENOUGH:
                self.dropped.add(only)
            if only in self._fine or only in self.dropped:
                self._suspects = []

    def next(self, rng: Random) -> list[Value] | None:
        """The next values to try after some that broke: half of the changes that are suspect, or another value of the
        only one; None where none is.
        """
        if not self._suspects:
            return None
        start = [place.value for place in self._places]
        if len(self._suspects) == 1:
            (only,) = self._suspects
            return [
                place.range.moved(place.value, rng) if n == only else start[n] for n, place in enumerate(self._places)
            ]
        kept: Collection[int] = rng.sample(self._suspects, (len(self._suspects) + 1) // 2)
        return [value if n in kept else start[n] for n, value in enumerate(self._broken)]
