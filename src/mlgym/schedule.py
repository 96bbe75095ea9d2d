"""Which episode is started next: pure logic, without a clock, files or threads.

A cell is one episode of a grid. Cells are started in their order; one that the infrastructure lost waits a growing
while and is tried again, and after some tries it is lost: a missing cell, not a bad score. Each cell hangs on sources,
a provider and a backend. When one of them has failed so often in a row, its cells wait, but for a probe now and then,
while the others go on; a source whose probes all fail is given up in the end, so that a run always ends.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Patience:
    """How failures of the infrastructure are borne. Seconds are `first_s` before the second try and twice as many
    before each later one, at most `longest_s`, less up to a half by (seeded) chance. `row` failures in a row pause a
    source; then one episode each `probe_s` is tried, `probes` in all.
    """

    tries: int = 5
    first_s: float = 5.0
    longest_s: float = 600.0
    row: int = 8
    probe_s: float = 60.0
    probes: int = 60
    seed: int = 0

    def pause(self, cell: str, tried: int) -> float:
        """Seconds before the next try of a cell that was tried so often."""
        whole = min(self.longest_s, self.first_s * 2.0 ** min(tried - 1, 60))
        return whole * random.Random(f"{self.seed} {cell} {tried}").uniform(0.5, 1.0)


@dataclass(frozen=True)
class Cell:
    """An episode to be run. `sources` maps a boundary (model, sandbox) to the name of what fails there; `costs` says
    that it may cost money.
    """

    name: str
    sources: Mapping[str, str] = field(default_factory=dict)
    costs: bool = False


@dataclass(eq=False)
class Source:
    """What is known of a provider or a backend: failures in a row, whether it is paused, and its probes."""

    name: str
    row: int = 0
    lasting: int = 0
    paused: bool = False
    probe: str = ""
    probes: int = 0
    again: float = 0.0
    gone: str = ""


Expected = Callable[[Cell], float | None]


class Schedule:
    """Says what to start, and is told how it ended. Each cell is waiting, running, done or lost.

    `budget` bounds the money of all cells: a cell is started only where what is spent (`spent`, kept by the caller, by
    cell), what the running ones are expected to take and what this one is `expected` to take fit in. Of one whose cost
    nobody can tell one is tried. `notes` are sentences for the user, taken away by whoever shows them.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        patience: Patience | None = None,
        *,
        budget: float | None = None,
        expected: Expected = lambda cell: None,
    ) -> None:
        self.patience = patience or Patience()
        self.waiting: dict[str, Cell] = {cell.name: cell for cell in cells}
        self._order = {name: place for place, name in enumerate(self.waiting)}
        self.running: dict[str, Cell] = {}
        self.done: set[str] = set()
        self.lost: dict[str, str] = {}
        self.tried: dict[str, int] = {}
        self.ready: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        self.notes: list[str] = []
        self.budget, self._expected = budget, expected
        self._sources: dict[tuple[str, str], Source] = {}

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing will ever be started; cells that money held back are left waiting."""
        return not self.running and not any(map(self._fitting(), self.waiting.values()))

    def next(self, now: float) -> Cell | None:
        """The cell to start now, which is running from here on; None where there is none at the moment."""
        fits = self._fitting()
        for cell in self.waiting.values():
            if self.ready.get(cell.name, now) <= now and self._open(cell, now) and fits(cell):
                for source in self._of(cell):
                    source.probe = cell.name if source.paused else source.probe
                self.running[cell.name] = self.waiting.pop(cell.name)
                return cell
        return None

    def ended(self, name: str) -> None:
        """A running cell has its result."""
        for source in self._of(self.running.pop(name)):
            if source.paused:
                self.notes.append(f"{source.name} works again.")
            source.row = source.probes = source.lasting = 0
            source.paused, source.probe = False, ""
        self.done.add(name)

    def put_back(self, name: str, now: float, after: float = 0.0) -> None:
        """A running cell was stopped, or is run by others: it waits as before, for `after` seconds at least."""
        cell = self.running.pop(name)
        self._release(cell, now)
        self._wait(cell, now + after)

    def drop(self, name: str) -> None:
        """A running cell was taken out by the user: it is neither waiting nor lost."""
        self._release(self.running.pop(name), 0.0)

    def failed(self, name: str, boundary: str, why: str, now: float, lasting: bool = False) -> float | None:
        """A running cell was lost to the infrastructure; seconds until it is tried again, None where it is not.

        While its source is paused a failure says nothing of the cell and is not counted.
        """
        cell = self.running.pop(name)
        source = self._source(boundary if boundary in cell.sources else "sandbox", cell)
        counted = not source.paused
        source.probes += source.probe == name
        self._release(cell, now)
        self._strike(source, why, now, lasting)
        self.tried[name] = self.tried.get(name, 0) + counted
        if source.gone or lasting or self.tried[name] >= self.patience.tries:
            self.lost[name] = why
            return None
        pause = self.patience.pause(name, max(1, self.tried[name]))
        self._wait(cell, now + pause)
        return None if name in self.lost else pause

    def _strike(self, source: Source, why: str, now: float, lasting: bool) -> None:
        """Count a failure against its source: pause it, or give it up."""
        patience = self.patience
        source.row, source.lasting = source.row + 1, source.lasting + 1 if lasting else 0
        if source.row >= patience.row:
            if not source.paused:
                self.notes.append(
                    f"{source.name} failed {source.row} times in a row ({why.rstrip('.')}): its episodes wait, and one "
                    f"is tried every {patience.probe_s:g} seconds."
                )
            source.paused, source.again = True, now + patience.probe_s
        if not source.gone and (source.lasting >= patience.row or source.probes >= patience.probes):
            source.gone = f"{source.name} was given up after it failed {source.row} times in a row: {why}"
            self.notes.append(source.gone)
            for cell in [cell for cell in self.waiting.values() if source in self._of(cell)]:
                del self.waiting[cell.name]
                self.lost[cell.name] = source.gone

    def _release(self, cell: Cell, now: float) -> None:
        """What the cell was a probe of is free for another, later."""
        for source in self._of(cell):
            if source.probe == cell.name:
                source.probe, source.again = "", now + self.patience.probe_s

    def _wait(self, cell: Cell, ready: float) -> None:
        gone = next((source.gone for source in self._of(cell) if source.gone), "")
        if gone:
            self.lost[cell.name] = gone
            return
        self.ready[cell.name] = ready
        self.waiting[cell.name] = cell
        self.waiting = dict(sorted(self.waiting.items(), key=lambda item: self._order[item[0]]))

    def _open(self, cell: Cell, now: float) -> bool:
        """Whether none of its sources keeps it waiting: a paused one takes one probe when its time has come."""
        return all(not source.paused or (now >= source.again and not source.probe) for source in self._of(cell))

    def _fitting(self) -> Callable[[Cell], bool]:
        """Whether a cell fits into what is left of the money."""
        budget = self.budget
        if budget is None:
            return lambda cell: True
        costly = [cell for cell in self.running.values() if cell.costs]
        held = sum(money for name, money in self.spent.items() if name not in self.running)
        held += sum(max(self.spent.get(cell.name, 0.0), self._expected(cell) or 0.0) for cell in costly)

        def fits(cell: Cell) -> bool:
            if not cell.costs or held >= budget:
                return not cell.costs
            mine = self._expected(cell)
            if mine is None:
                return not costly
            return held + max(0.0, mine - self.spent.get(cell.name, 0.0)) <= budget

        return fits

    def _source(self, kind: str, cell: Cell) -> Source:
        name = cell.sources.get(kind, kind)
        return self._sources.setdefault((kind, name), Source(name))

    def _of(self, cell: Cell) -> list[Source]:
        return [self._source(kind, cell) for kind in cell.sources]
