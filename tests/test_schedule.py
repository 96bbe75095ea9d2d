"""What is started next, as pure logic: simulated runs with failures, stops, outages and little money."""

import heapq
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.schedule import Cell, Patience, Schedule

PATIENCE = Patience(tries=3, first_s=4.0, longest_s=20.0, row=4, probe_s=30.0, probes=5)


class World:
    """Runs a schedule with `workers` on a clock of its own and looks at all that must hold."""

    def __init__(self, schedule: Schedule, cells: list[Cell], workers: int, fate: Callable[[Cell, int], str]) -> None:
        self.schedule, self.cells, self.workers, self.fate = schedule, cells, workers, fate
        self.now, self.events = 0.0, list[tuple[float, int, Cell]]()
        self.starts: dict[str, list[float]] = {cell.name: [] for cell in cells}
        self.fails: dict[str, list[float]] = {cell.name: [] for cell in cells}
        self.ended = set[str]()
        self.row: dict[str, int] = {}
        self.probes: dict[str, list[float]] = {}  # of each paused source, when one was started
        self.order: list[str] = []
        self.charge = random.Random(0)

    def go(self) -> None:
        for _ in range(100_000):
            if self.schedule.over:
                break
            while len(self.events) < self.workers and (cell := self.schedule.next(self.now)):
                self.start(cell)
            if self.events and self.events[0][0] <= self.now:
                self.end(heapq.heappop(self.events)[2])
            else:
                self.now += 1.0
        else:
            raise AssertionError("It does not end.")
        self.judge()

    def start(self, cell: Cell) -> None:
        running = {each.name for _, _, each in self.events}
        assert cell.name not in running | self.ended | self.schedule.lost.keys(), "started twice"
        for source in cell.sources.values():
            if self.row.get(source, 0) >= self.schedule.patience.row:
                hang = [each for _, _, each in self.events if source in each.sources.values()]
                probes = self.probes.setdefault(source, [])
                assert not probes or self.now - probes[-1] >= self.schedule.patience.probe_s
                probing = [each for each in hang if self.starts[each.name][-1] in probes]
                assert not probing, "a second probe at once"
                probes.append(self.now)
        if self.fails[cell.name]:
            assert self.now >= self.fails[cell.name][-1]
        self.order.append(cell.name)
        self.starts[cell.name].append(self.now)
        took = 1.0 + random.Random(f"{cell.name} {len(self.starts[cell.name])}").random() * 9
        heapq.heappush(self.events, (self.now + took, len(self.order), cell))

    def end(self, cell: Cell) -> None:
        fate = self.fate(cell, len(self.starts[cell.name]))
        if cell.costs:
            self.schedule.spent[cell.name] = self.schedule.spent.get(cell.name, 0.0) + 1.0
        if fate == "done":
            self.schedule.ended(cell.name)
            self.ended.add(cell.name)
            for source in cell.sources.values():
                self.row[source] = 0
                self.probes.pop(source, None)
        elif fate == "stopped":
            self.schedule.put_back(cell.name, self.now)
        else:
            self.fails[cell.name].append(self.now)
            lasting, fate = fate.endswith("!"), fate.rstrip("!")
            source = cell.sources.get(fate, cell.sources["sandbox"])
            self.row[source] = self.row.get(source, 0) + 1
            self.schedule.failed(cell.name, fate, "It failed.", self.now, lasting)

    def judge(self) -> None:
        schedule, names = self.schedule, {cell.name for cell in self.cells}
        assert not self.events and not schedule.running
        assert self.ended == schedule.done
        assert self.ended | schedule.lost.keys() | schedule.waiting.keys() == names, "none is lost from sight"
        assert len(self.ended) + len(schedule.lost) + len(schedule.waiting) == len(names)
        if schedule.budget is None:
            assert not schedule.waiting


FATES = st.sampled_from(["done", "done", "done", "model", "model!", "sandbox", "grader", "stopped"])


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.booleans()), max_size=25),
    st.integers(1, 6),
    st.lists(FATES, min_size=1, max_size=40),
    st.sampled_from([None, 0.0, 3.0, 10.0]),
    st.sets(st.sampled_from("ABC")),
)
def test_no_cell_is_started_twice_at_once_or_lost_and_it_ends(
    kinds: list[tuple[str, bool]], workers: int, fates: list[str], budget: float | None, down: set[str]
) -> None:
    cells = [
        Cell(str(n), {"sandbox": "bubblewrap", **({"model": kind} if costs else {})}, costs)
        for n, (kind, costs) in enumerate(kinds)
    ]
    schedule = Schedule(cells, PATIENCE, budget=budget, expected=lambda cell: None if cell.name < "3" else 1.0)

    def fate(cell: Cell, tried: int) -> str:
        if cell.sources.get("model") in down:
            return "model"
        drawn = fates[hash_of(cell.name, tried) % len(fates)]
        return "done" if drawn == "stopped" and tried > 20 else drawn

    world = World(schedule, cells, workers, fate)
    world.go()
    assert all(cell.name not in world.ended for cell in cells if cell.sources.get("model") in down)


def hash_of(*parts: object) -> int:
    """A number that is the same in every process."""
    return random.Random(repr(parts)).randrange(1 << 30)


def test_order_is_kept_and_tries_wait_longer_each_time() -> None:
    cells = [Cell(str(n), {"sandbox": "b"}) for n in range(3)]
    schedule = Schedule(cells, Patience(tries=4, first_s=8.0, longest_s=20.0, row=99))
    world = World(schedule, cells, 1, lambda cell, tried: "sandbox" if cell.name == "0" else "done")
    world.go()
    assert [name for name in world.order if name != "0"] == ["1", "2"] and world.order[0] == "0"
    assert schedule.lost == {"0": "It failed."}
    waits = [b - a for a, b in zip(world.fails["0"], world.starts["0"][1:], strict=False)]
    assert len(waits) == 3 and all(
        low <= wait <= high + 1 for wait, (low, high) in zip(waits, ((4, 8), (8, 16), (10, 20)), strict=True)
    )


def test_pauses_differ_between_cells_and_are_the_same_again() -> None:
    patience = Patience(first_s=10.0, longest_s=100.0)
    pauses = [patience.pause(str(n), 1) for n in range(50)]
    assert len(set(pauses)) == 50 and all(5 <= pause <= 10 for pause in pauses)
    assert pauses == [patience.pause(str(n), 1) for n in range(50)]
    assert patience.pause("x", 10_000) <= 100


def outage(until: float) -> tuple[World, Schedule]:
    """Two providers, of which one is down for some time."""
    cells = [Cell(f"{kind}{n:02d}", {"sandbox": "b", "model": kind}) for n in range(20) for kind in "AB"]
    schedule = Schedule(cells, Patience(tries=9, probe_s=60.0, probes=10))
    world = World(schedule, cells, 4, lambda cell, tried: "done")
    world.fate = lambda cell, tried: "model" if cell.name[0] == "A" and world.now < until else "done"
    return world, schedule


def test_after_eight_failures_in_a_row_a_provider_is_only_probed_while_the_others_go_on() -> None:
    world, schedule = outage(400.0)
    world.go()
    assert not schedule.lost and len(schedule.done) == 40
    starts = sorted(start for name, each in world.starts.items() for start in each if name[0] == "A")
    during = [start for start in starts if 100 < start < 400]
    assert 4 <= len(during) <= 6 and all(b - a >= 60 for a, b in itertools.pairwise(during))
    others = [start for name, each in world.starts.items() for start in each if name[0] == "B"]
    assert max(others) < 100, "the others went on"
    assert [note for note in schedule.notes if "8 times in a row" in note] and "A works again." in schedule.notes
    assert max(schedule.tried.values()) <= 9


def test_a_provider_that_never_comes_back_is_given_up() -> None:
    world, schedule = outage(1e9)
    world.go()
    assert {name[0] for name in schedule.lost} == {"A"} and len(schedule.lost) == 20
    assert 540 <= world.now <= 900 and any("was given up" in why for why in schedule.lost.values())


def test_what_lasts_is_not_tried_again() -> None:
    cells = [Cell(str(n), {"sandbox": "b", "model": "A"}) for n in range(20)]
    schedule = Schedule(cells)
    for _ in range(8):
        cell = schedule.next(0.0)
        assert cell and schedule.failed(cell.name, "model", "No such key.", 0.0, lasting=True) is None
    assert schedule.over and len(schedule.lost) == 20 and not schedule.waiting


@pytest.mark.parametrize(("budget", "started"), [(0.0, 0), (5.0, 2), (100.0, 4)])
def test_nothing_is_started_that_is_expected_to_exceed_the_money(budget: float, started: int) -> None:
    cells = [Cell(str(n), costs=True) for n in range(4)] + [Cell("free")]
    schedule = Schedule(cells, budget=budget, expected=lambda cell: 2.0)
    names = []
    while cell := schedule.next(0.0):
        names.append(cell.name)
    assert names == [*map(str, range(started)), "free"]
    for name in names:
        schedule.spent[name] = 2.0 * (name != "free")
        schedule.ended(name)
    assert schedule.over and len(schedule.waiting) == 4 - started


def test_where_nobody_knows_the_cost_one_is_tried() -> None:
    schedule = Schedule([Cell(str(n), costs=True) for n in range(3)], budget=5.0)
    first = schedule.next(0.0)
    assert first and schedule.next(0.0) is None and not schedule.over
    schedule.spent[first.name] = 6.0
    schedule.ended(first.name)
    assert schedule.next(0.0) is None and schedule.over


def test_what_was_stopped_when_its_source_was_given_up_is_lost_with_it() -> None:
    schedule = Schedule([Cell(str(n), {"sandbox": "b", "model": "A"}) for n in range(12)])
    started = [schedule.next(0.0) for _ in range(10)]
    for cell in started[:8]:
        assert cell
        schedule.failed(cell.name, "model", "No such key.", 0.0, lasting=True)
    schedule.put_back("8", 0.0)
    assert schedule.failed("9", "sandbox", "Gone.", 0.0) is None
    assert schedule.over and len(schedule.lost) == 12
