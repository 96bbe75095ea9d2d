"""Comparisons: exact permutation tests against plain Python, Holm's correction, groups of ties."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym.errors import UsageError
from mlgym.metrics import compare, groups, holm

some = settings(max_examples=25)
value = st.integers(-20, 20).map(lambda x: x / 10)
runs = st.dictionaries(
    st.tuples(st.sampled_from("mno"), st.sampled_from("abc")), st.lists(value, min_size=1, max_size=4), min_size=1
)


def mean(x: list[float]) -> float:
    return sum(x) / len(x)


def plain_p(a: list[float], b: list[float]) -> float:
    """The part of all ways to share the runs out that are at least as far apart as they were."""
    both, seen = a + b, abs(mean(a) - mean(b))
    each = []
    for chosen in itertools.combinations(range(len(both)), len(a)):
        left = [both[i] for i in chosen]
        right = [both[i] for i in range(len(both)) if i not in chosen]
        each.append(abs(mean(left) - mean(right)) >= seen - 1e-9)
    return sum(each) / len(each)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0] and holm([]).tolist() == []
    found = holm([math.nan, 0.02, 0.01])
    assert math.isnan(found[0]) and found[1:].tolist() == [0.02, 0.02]


@some
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_rejects_what_its_steps_reject(p: list[float], luck: random.Random) -> None:
    """Written as the procedure: go up from the smallest, stop at the first that is not small enough."""
    alpha = luck.random()
    rejected = set()
    for step, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[i] * (len(p) - step) >= alpha:
            break
        rejected.add(i)
    assert {i for i, corrected in enumerate(holm(p)) if corrected < alpha} == rejected


def test_groups_by_hand() -> None:
    assert groups("abc", []) == (("a", "b", "c"),)
    assert groups("abc", [("a", "c")]) == (("a", "b"), ("b", "c"))
    assert groups("abcd", [("a", "c"), ("a", "d"), ("b", "d"), ("b", "c")]) == (("a", "b"), ("c", "d"))
    assert groups("abc", itertools.combinations("abc", 2)) == (("a",), ("b",), ("c",))
    assert groups("", []) == () and groups("a", []) == (("a",),)


@some
@given(st.sets(st.sampled_from(list(itertools.combinations("abcde", 2)))))
def test_groups_are_all_the_largest_ones_without_a_difference(different: set[tuple[str, str]]) -> None:
    subsets = [set(one) for k in range(1, 6) for one in itertools.combinations("abcde", k)]
    tied = [one for one in subsets if not any({a, b} <= one for a, b in different)]
    largest = [one for one in tied if not any(one < other for other in tied)]
    found = groups("abcde", sorted(different))
    assert sorted(map(sorted, found)) == sorted(map(sorted, largest))


@some
@given(runs)
def test_what_is_exact_is_that_of_plain_python(x: dict[tuple[str, str], list[float]]) -> None:
    found = compare(x, n=200)
    methods = {method for method, _ in x}
    assert set(found.methods) == methods and len(found.pairs) == len(methods) * (len(methods) - 1) // 2
    for pair in found.pairs:
        common = sorted(t for t in "abc" if (pair.a, t) in x and (pair.b, t) in x)
        assert [one.task for one in pair.tasks] == common
        gaps = []
        for one in pair.tasks:
            a, b = x[pair.a, one.task], x[pair.b, one.task]
            gaps.append(mean(a) - mean(b))
            assert one.difference == pytest.approx(gaps[-1]) and one.mean_a == pytest.approx(mean(a))
            assert one.p == pytest.approx(plain_p(a, b))
            assert one.p <= one.p_holm <= 1
        if not common:
            assert math.isnan(pair.p) and math.isnan(pair.p_holm) and pair.better == ""
            continue
        assert pair.difference == pytest.approx(mean(gaps)) and 0 < pair.p <= pair.p_holm <= 1
        assert pair.low <= pair.high
        flips = [abs(sum(s * g for s, g in zip(signs, gaps, strict=True))) for signs in
                 itertools.product((-1, 1), repeat=len(gaps))]  # fmt: skip
        assert pair.p_tasks == pytest.approx(mean([flip >= abs(sum(gaps)) - 1e-9 for flip in flips]))


def test_the_overall_p_is_that_of_all_exchanges() -> None:
    x = {("m", "a"): [3.0, 2.0], ("n", "a"): [1.0, 2.5], ("m", "b"): [1.0, 2.0, 4.0], ("n", "b"): [0.0, 3.0]}
    sums: list[list[float]] = []
    for task in "ab":
        both, k = x["m", task] + x["n", task], len(x["m", task])
        sums.append([])
        for chosen in itertools.combinations(range(len(both)), k):
            left = [both[i] for i in chosen]
            right = [both[i] for i in range(len(both)) if i not in chosen]
            sums[-1].append(mean(left) - mean(right))
    seen = abs(sum(mean(x["m", t]) - mean(x["n", t]) for t in "ab"))
    exact = mean([abs(one + two) >= seen - 1e-9 for one, two in itertools.product(*sums)])
    assert compare(x, n=40_000).pairs[0].p == pytest.approx(exact, abs=0.01)


@some
@given(runs)
def test_order_and_a_shift_of_a_task_do_not_matter(x: dict[tuple[str, str], list[float]]) -> None:
    turned = {cell: values[::-1] for cell, values in reversed(x.items())}
    shift = {"a": 4.0, "b": -8.0, "c": 0.0}
    shifted = {cell: [one + shift[cell[1]] for one in values] for cell, values in x.items()}
    found = compare(x, n=100)
    assert repr(compare(turned, n=100)) == repr(found)  # as text, in which NaN equals NaN
    pairs = [(pair.a, pair.b) for pair in found.pairs]
    for one, other in zip(found.pairs, compare(shifted, pairs, n=100).pairs, strict=True):
        assert (one.p, one.p_tasks, one.difference) == pytest.approx(
            (other.p, other.p_tasks, other.difference), nan_ok=True
        )


def many(luck: np.random.Generator, shift: float, k: int = 8) -> dict[str, list[float]]:
    return {task: luck.normal(shift, 1, k).tolist() for task in "abcdef"}


def test_a_better_method_is_found_and_equal_ones_tie() -> None:
    luck = np.random.default_rng(5)
    methods = {"good": many(luck, 1.5), "fair": many(luck, 0.0), "same": many(luck, 0.0)}
    x = {(m, t): values for m, tasks in methods.items() for t, values in tasks.items()}
    found = compare(x)
    assert found.methods[0] == "good" and found.groups[0] == ("good",) and set(found.groups[1]) == {"fair", "same"}
    first = found.pairs[0]
    assert (first.a, first.better) == ("good", "good") and first.low > 0 and first.p_holm < 0.01
    assert first.probability > 0.7 and any(one.better == "good" for one in first.tasks)
    [backwards] = compare(x, [("fair", "good")]).pairs
    assert backwards.better == "good" and backwards.difference < 0 and backwards.high < 0


def test_equal_methods_are_called_different_as_seldom_as_alpha_says() -> None:
    luck, said = np.random.default_rng(9), 0
    for _ in range(200):
        x = {(m, t): luck.normal(0, 1, 3) for m in "mn" for t in "abc"}
        said += compare(x, n=200, alpha=0.1).pairs[0].better != ""
    assert said <= 32  # 20 expected, four standard deviations above


def test_four_seeds_cannot_decide_one_task_of_thirteen() -> None:
    x = {(m, f"t{t}"): [m == "m"] * 4 for m in "mn" for t in range(13)}
    [pair] = compare(x).pairs
    assert pair.better == "m" and all(one.p == pytest.approx(2 / 70) and one.better == "" for one in pair.tasks)


def test_many_runs_are_drawn_and_not_listed() -> None:
    luck = np.random.default_rng(1)
    x = {("m", "a"): luck.normal(0.5, 1, 40), ("n", "a"): luck.normal(0, 1, 30), ("n", "b"): [1.0], ("m", "b"): [1.0]}
    [pair] = compare(x, [("m", "n")], n=2000).pairs
    assert 0 < pair.tasks[0].p < 0.5 and pair.tasks[1].p == 1.0
    wide = {(m, f"t{t}"): luck.normal(0, 1, 2) for m in "mn" for t in range(16)}
    assert 0 < compare(wide, n=500).pairs[0].p_tasks <= 1


def test_traps() -> None:
    alone = compare({("m", "a"): [1.0]})
    assert (alone.pairs, alone.groups) == ((), (("m",),))
    assert compare({}).methods == () and compare({}).groups == ()
    nothing = compare({("m", "a"): [math.nan], ("n", "a"): [1.0], ("n", "b"): [math.inf, 2.0]})
    assert set(nothing.methods) == {"m", "n"} and math.isnan(nothing.pairs[0].p) and len(nothing.groups) == 1
    tied = compare({("m", "a"): [1.0, 1.0], ("n", "a"): [1.0, 1.0]})
    assert tied.pairs[0].p == 1 and tied.pairs[0].better == "" and tied.pairs[0].probability == 0.5
    with pytest.raises(UsageError, match="no method x; there are: m"):
        compare({("m", "a"): [1.0]}, [("m", "x")])


def test_blocks_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    luck = np.random.default_rng(1)
    x = {(m, t): luck.normal(0, 1, 12) for m in "mn" for t in "ab"}
    whole = compare(x, n=4000).pairs[0]
    monkeypatch.setattr("mlgym.metrics.exchange.BLOCK", 500)
    parts = compare(x, n=4000).pairs[0]
    assert parts.p == pytest.approx(whole.p, abs=0.05) and parts.low == pytest.approx(whole.low, abs=0.1)
