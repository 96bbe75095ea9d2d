"""Interquartile mean, intervals, probability of improvement: against plain Python that was written apart from them."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym.errors import UsageError
from mlgym.metrics import bootstrap, iqm, mean, probability_of_improvement

some = settings(max_examples=40)
value = st.integers(-100, 100).map(lambda x: x / 10)
by_task = st.dictionaries(st.sampled_from("abc"), st.lists(value, min_size=1, max_size=4), min_size=1)


def plain_iqm(x: Sequence[float]) -> float:
    """The mean of what is left when a quarter, rounded down, is cut from each end: exact, by fractions."""
    left = sorted(Fraction(one) for one in x)
    for _ in range(len(x) // 4):
        del left[0], left[-1]
    return float(sum(left) / len(left))


def plain_quantile(x: Sequence[float], q: float) -> float:
    """Linear between the two neighbours at place q (n − 1)."""
    ordered, place = sorted(x), q * (len(x) - 1)
    low = math.floor(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(x) - 1)] - ordered[low])


def plain_bootstrap(
    tasks: dict[str, list[float]], statistic: Callable[[Sequence[float]], float], seed: int, n: int, level: float
) -> tuple[float, float]:
    """The percentile interval of a statistic over the runs of all tasks, each task resampled by itself."""
    luck, drawn = random.Random(seed), []
    for _ in range(n):
        drawn.append(statistic([luck.choice(runs) for runs in tasks.values() for _ in runs]))
    return plain_quantile(drawn, (1 - level) / 2), plain_quantile(drawn, (1 + level) / 2)


@some
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_the_interquartile_mean_is_that_of_plain_python(x: list[float]) -> None:
    assert float(iqm(x)) == pytest.approx(plain_iqm(x), rel=1e-9, abs=1e-6)


def test_the_interquartile_mean_of_small_and_many() -> None:
    assert [float(iqm(x)) for x in ([5], [1, 9], [1, 2, 9], [0, 1, 3, 99], [0, 1, 3, 8, 99])] == [5, 5, 4, 2, 4]
    assert math.isnan(iqm([])) and math.isnan(mean([]))
    rows = np.arange(24.0).reshape(2, 3, 4)
    assert iqm(rows).shape == (2, 3) and iqm(rows)[1, 2] == plain_iqm(rows[1, 2].tolist())
    assert mean(rows).shape == (2, 3)


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_intervals_are_those_of_plain_python(level: float) -> None:
    luck = random.Random(1)
    tasks = {name: [luck.gauss(place, 1 + place) for _ in range(6)] for place, name in enumerate("abcd")}
    expected = plain_bootstrap(tasks, plain_iqm, seed=7, n=2500, level=level)
    again = plain_bootstrap(tasks, plain_iqm, seed=8, n=2500, level=level)
    found = bootstrap(tasks, iqm, seed=0, n=20_000, level=level)
    noise = max(0.02, *(2 * abs(a - b) for a, b in zip(expected, again, strict=True)))
    assert found == pytest.approx(expected, abs=noise)
    assert noise < 0.2 * (found[1] - found[0])


@pytest.mark.parametrize("statistic", [iqm, mean])
def test_intervals_are_those_of_all_resamples(statistic: Callable[..., np.ndarray]) -> None:
    """Few enough runs that every resample can be written down: the exact distribution."""
    tasks = {"a": [0.0, 1.0, 5.0], "b": [2.0, 3.0], "c": [7.0]}
    every = [itertools.product(runs, repeat=len(runs)) for runs in tasks.values()]
    plain = plain_iqm if statistic is iqm else lambda x: sum(x) / len(x)
    drawn = [plain([x for part in chosen for x in part]) for chosen in itertools.product(*map(list, every))]
    found = bootstrap(tasks, statistic, seed=3, n=40_000, level=0.8)
    assert found == pytest.approx((plain_quantile(drawn, 0.1), plain_quantile(drawn, 0.9)), abs=1e-9)


@some
@given(by_task, st.integers(0, 5))
def test_an_interval_depends_on_the_seed_and_not_on_order(x: dict[str, list[float]], seed: int) -> None:
    turned = {task: runs[::-1] for task, runs in reversed(x.items())}
    low, high = bootstrap(x, iqm, seed=seed, n=50)
    assert bootstrap(turned, iqm, seed=seed, n=50) == (low, high)
    everything = [one for runs in x.values() for one in runs]
    assert min(everything) - 1e-9 <= low <= high <= max(everything) + 1e-9


@some
@given(by_task, st.sampled_from([0.5, 2.0, 4.0]), st.integers(-3, 3))
def test_an_interval_moves_with_the_scale(x: dict[str, list[float]], by: float, shift: int) -> None:
    low, high = bootstrap(x, iqm, n=50)
    moved = {task: [one * by + shift for one in runs] for task, runs in x.items()}
    assert bootstrap(moved, iqm, n=50) == pytest.approx((low * by + shift, high * by + shift), abs=1e-9)


def test_what_is_no_number_is_left_out_and_nothing_is_nan() -> None:
    assert bootstrap({"a": [1.0, math.nan, 2.0], "b": [math.inf]}, mean, n=50) == bootstrap(
        {"a": [2.0, 1.0]}, mean, n=50
    )
    for nothing in ({}, {"a": []}, {"a": [math.nan]}):
        assert all(math.isnan(end) for end in bootstrap(nothing))
        assert all(math.isnan(one) for one in probability_of_improvement(nothing, {"a": [1.0]}))
    assert bootstrap({"a": [3.0]}) == (3.0, 3.0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        bootstrap({"a": [1.0]}, level=95)


def test_blocks_bound_the_memory_and_change_no_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    x = {"a": [0.0, 1.0, 2.0], "b": [5.0, 6.0]}
    whole = bootstrap(x, mean, n=4000), probability_of_improvement(x, {"a": [1.0, 1.5], "b": [4.0, 7.0]})
    monkeypatch.setattr("mlgym.metrics.intervals.BLOCK", 50)
    parts = bootstrap(x, mean, n=4000), probability_of_improvement(x, {"a": [1.0, 1.5], "b": [4.0, 7.0]})
    assert parts[0] == pytest.approx(whole[0], abs=0.1) and parts[1] == pytest.approx(whole[1], abs=0.1)


@some
@given(by_task, by_task)
def test_the_probability_is_that_of_plain_python(a: dict[str, list[float]], b: dict[str, list[float]]) -> None:
    each = []
    for task in set(a) & set(b):
        won = [1.0 if x > y else 0.5 if x == y else 0.0 for x in a[task] for y in b[task]]
        each.append(sum(won) / len(won))
    found, back = probability_of_improvement(a, b, n=50), probability_of_improvement(b, a, n=50)
    assert found.value == pytest.approx(sum(each) / len(each) if each else math.nan, nan_ok=True)
    assert not each or found.value + back.value == pytest.approx(1.0)
    assert not each or 0 <= found.low <= found.high <= 1


def test_the_interval_of_the_probability_is_that_of_plain_python() -> None:
    luck = random.Random(2)
    a = {name: [luck.gauss(0.5, 1) for _ in range(5)] for name in "abc"}
    b = {name: [luck.gauss(0.0, 1) for _ in range(4)] for name in "abc"}
    drawn = []
    for _ in range(3000):
        each = []
        for name in a:
            left, right = luck.choices(a[name], k=5), luck.choices(b[name], k=4)
            each.append(sum((x > y) + 0.5 * (x == y) for x in left for y in right) / 20)
        drawn.append(sum(each) / 3)
    found = probability_of_improvement(a, b, n=20_000)
    assert (found.low, found.high) == pytest.approx(
        (plain_quantile(drawn, 0.025), plain_quantile(drawn, 0.975)), abs=0.03
    )
