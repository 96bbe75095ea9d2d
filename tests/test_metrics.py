"""Scores, attempts@k, ranks, profiles and AUP: the published figures, and what must hold whatever the scores are."""

import csv
import importlib
import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mlgym import metrics
from mlgym.errors import UsageError

REFERENCE = os.environ.get("MLGYM_REFERENCE")
UP, DOWN = "maximize", "minimize"
NAN, INF = math.nan, math.inf
TASKS = ("a", "b", "c", "d")
METHODS = ("m", "n", "o", "p")
DIRECTIONS = {"a": UP, "b": DOWN, "c": UP, "d": DOWN}

score = st.floats(-100, 100).map(lambda x: round(x, 3)) | st.sampled_from([NAN, INF, -INF, 0.0])
tables = st.dictionaries(st.tuples(st.sampled_from(METHODS), st.sampled_from(TASKS)), score, min_size=1)
baselines = st.none() | st.dictionaries(st.sampled_from(TASKS), score)

some = settings(max_examples=40)


def aup(table: dict[tuple[str, str], float], baseline: dict[str, float] | None = None) -> dict[str, float]:
    found = metrics.profiles(table, DIRECTIONS, baseline)
    return dict(zip(found.methods, found.aup.tolist(), strict=True))


# attempts@k and mean@k


def test_the_best_of_k_and_the_mean_leave_out_what_is_no_score() -> None:
    values = [1.0, NAN, 3.0, INF, None, 2.0]
    assert metrics.best_at_k(values, UP) == 3 and metrics.best_at_k(values, DOWN) == 1
    assert metrics.mean_at_k(values) == 2
    for none in ([], [NAN], [None, -INF]):
        assert math.isnan(metrics.best_at_k(none, UP)) and math.isnan(metrics.mean_at_k(none))


@some
@given(st.lists(score, min_size=1, max_size=7), st.integers(1, 9), st.sampled_from([UP, DOWN]))
def test_the_best_of_fewer_is_the_mean_over_all_choices_of_them(values: list[float], k: int, direction: str) -> None:
    best = max if direction == UP else min
    finite = [[x for x in chosen if math.isfinite(x)] for chosen in itertools.combinations(values, min(k, len(values)))]
    each = [best(chosen) for chosen in finite if chosen]
    expected = sum(each) / len(each) if each else NAN
    assert metrics.best_at_k(values, direction, k) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_many_runs_do_not_overflow() -> None:
    values = np.arange(3000.0)
    assert metrics.best_at_k(values, UP, 1500) == pytest.approx(2998.0, abs=0.01)
    assert metrics.best_at_k(values, UP, 1) == pytest.approx(values.mean())


def test_cells_of_different_k_compare_at_the_smallest() -> None:
    runs = {("m", "a"): [1.0, 2.0, 3.0], ("n", "a"): [2.0, 2.0], ("n", "b"): [NAN, 5.0]}
    k = metrics.fewest(runs)
    assert k == 2 and metrics.fewest({}) == 0
    assert metrics.best_table(runs, DIRECTIONS, k) == pytest.approx({("m", "a"): 8 / 3, ("n", "a"): 2.0, ("n", "b"): 5})
    assert metrics.best_table(runs, DIRECTIONS) == {("m", "a"): 3, ("n", "a"): 2, ("n", "b"): 5}
    assert metrics.mean_table(runs) == {("m", "a"): 2, ("n", "a"): 2, ("n", "b"): 5}


def test_what_is_asked_wrongly_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="task c needs a direction"):
        metrics.best_table({("m", "c"): [1.0]}, {"a": UP})
    with pytest.raises(UsageError, match="k of 1 or more"):
        metrics.best_at_k([1.0], UP, 0)
    with pytest.raises(UsageError, match="at least one score"):
        metrics.profiles({}, {}, None)
    with pytest.raises(UsageError, match="baseline x is none of the methods: m"):
        metrics.profiles({("m", "a"): 1.0}, DIRECTIONS, "x")


# ranks


def test_ranks_share_places_and_leave_out_tasks_that_not_all_have() -> None:
    table = {("m", "a"): 1.0, ("n", "a"): 1.0, ("o", "a"): NAN, ("m", "b"): 2.0, ("n", "b"): 1.0, ("o", "b"): 3.0}
    found = metrics.ranks(table | {("m", "c"): 9.0}, DIRECTIONS)
    assert found.ranks.tolist() == [[1.5, 2], [1.5, 1], [3, 3]] and found.mean.tolist() == [1.75, 1.25, 3]
    assert (found.tasks, found.left_out) == (("a", "b"), ("c",))
    alone = metrics.ranks({("m", "a"): NAN, ("n", "b"): 1.0}, DIRECTIONS)
    assert np.isnan(alone.mean).all() and alone.left_out == ("a", "b")


@some
@given(tables)
def test_ranks_add_up_and_do_not_depend_on_order(table: dict[tuple[str, str], float]) -> None:
    found = metrics.ranks(table, DIRECTIONS)
    n = len(found.methods)
    assert found.ranks.sum(axis=0).tolist() == [n * (n + 1) / 2] * len(found.tasks)
    again = metrics.ranks(dict(reversed(table.items())), DIRECTIONS)
    assert dict(zip(found.methods, found.mean, strict=True)) == pytest.approx(
        dict(zip(again.methods, again.mean, strict=True)), nan_ok=True
    )


# profiles and AUP


@pytest.fixture(scope="module")
def published() -> tuple[dict[tuple[str, str], list[float]], dict[tuple[str, str], list[float]], dict[str, float]]:
    """Best attempts and final submissions of each run of the five models, and the baseline."""
    if not REFERENCE:
        pytest.skip("MLGYM_REFERENCE is not set")
    attempts: dict[tuple[str, str], list[float]] = {}
    submissions: dict[tuple[str, str], list[float]] = {}
    baseline: dict[str, float] = {}
    metric = {row["task"]: row for row in expected("pool5_scores.csv")}
    for line in (Path(REFERENCE) / "published" / "pool5_runs.jsonl").read_text().splitlines():
        run = json.loads(line)
        name, direction = metric[run["task"]]["metric"], metric[run["task"]]["direction"]
        cell, scores = (run["model"], run["task"]), [one.get(name) for one in run["attempts"]]
        attempts.setdefault(cell, []).append(metrics.best_at_k(scores, direction))
        submissions.setdefault(cell, []).append(scores[-1] if scores else NAN)
        baseline[run["task"]] = run["baseline"][name]
    return attempts, submissions, baseline


def expected(name: str) -> list[dict[str, str]]:
    with (Path(REFERENCE or "") / "published" / name).open() as file:
        return list(csv.DictReader(file))


def test_the_published_scores_and_areas(published: tuple[dict, dict, dict]) -> None:  # type: ignore[type-arg]
    attempts, submissions, baseline = published
    rows = expected("pool5_scores.csv")
    directions = {row["task"]: row["direction"] for row in rows}
    best = [metrics.best_table(runs, directions) for runs in (attempts, submissions)]
    best = [table | {("baseline", task): value for task, value in baseline.items()} for table in best]
    for row in rows:
        for table, column in zip(best, ("best_attempt", "best_submission"), strict=True):
            published_score = float(row[column]) if row[column] else NAN
            assert table[row["method"], row["task"]] == pytest.approx(published_score, rel=0, abs=0, nan_ok=True)
    without = [{cell: value for cell, value in table.items() if cell[0] != "baseline"} for table in best]
    for tables, base in ((best, "baseline"), (without, baseline)):  # as a method of the table, or as scores
        found = metrics.aup_table(*tables, directions, base)
        areas = expected("pool5_expected.csv")
        assert set(found.methods) == {row["method"] for row in areas}
        for row in areas:
            place = found.methods.index(row["method"])
            assert found.best_attempt[place] == pytest.approx(float(row["aup_best_attempt"]), rel=0, abs=1e-9)
            assert found.best_submission[place] == pytest.approx(float(row["aup_best_submission"]), rel=0, abs=1e-9)
            assert found.tau_max == float(row["tau_max"])


def test_leaving_one_out_of_the_published_pool_moves_all_others(published: tuple[dict, dict, dict]) -> None:  # type: ignore[type-arg]
    attempts, submissions, baseline = published
    directions = {row["task"]: row["direction"] for row in expected("pool5_scores.csv")}
    tables = [metrics.best_table(runs, directions) for runs in (attempts, submissions)]
    found = metrics.sensitivity(tables[0], directions, baseline, tables[1])
    claude = found.left_out.index("claude-35-sonnet-new")
    others = np.delete(found.full - found.aup[claude], found.methods.index("claude-35-sonnet-new"))
    assert ((others > 0.25) & (others < 0.27)).all() and found.swaps == ()


def test_a_profile_by_hand() -> None:
    table = {("m", "a"): 0.8, ("n", "a"): 0.4, ("m", "b"): 3.0, ("n", "b"): 2.0}
    found = metrics.profiles(table, DIRECTIONS, {"a": 0.2, "b": 2.5})
    assert found.ratios == pytest.approx(np.array([[1, 1.05 * 1.25], [2, 1], [4, 1.25]]))
    assert found.tau_max == 0.7  # log10(ceil(4.2)) = 0.699
    assert [found.curves[0, 0], found.curves[0, -1], found.curves[1, 0], found.curves[1, -1]] == [0.5, 1, 0.5, 1]
    assert len(found.tau) == 500 and found.curves.shape == (3, 500)
    by_hand = sum(found.curves[1, i] * (found.tau[i + 1] - found.tau[i]) for i in range(499))
    assert found.aup[1] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("scores", "baseline", "ratios"),
    [
        ({"m": 0.5}, 0.2, [1, 2.5]),  # one method only
        ({"m": NAN, "n": NAN}, None, [1.05, 1.05]),  # no valid score at all
        ({"m": -0.1, "n": 0.2}, -0.2, [1.05, 1, 1.05]),  # better than the baseline, but negative, and so dropped
        ({"m": 0.1, "n": 0.2}, 0.15, [1.05 * 4 / 3, 1, 4 / 3]),  # worse than the baseline
        ({"m": 0.0, "n": 0.2}, None, [1.05, 1]),  # zero beside a better score has no ratio
        ({"m": 0.0, "n": 0.0}, -1.0, [1, 1, 1.05]),  # zero is the best there is
        ({"m": 1e300, "n": 1e-300}, None, [1, 1.05]),
        ({"m": INF, "n": 2.0}, NAN, [1.05, 1]),  # an infinity is no score, a baseline that is none asks for nothing
    ],
)
def test_traps(scores: dict[str, float], baseline: float | None, ratios: list[float]) -> None:
    table = {(method, "a"): value for method, value in scores.items()}
    found = metrics.profiles(table, {"a": UP}, None if baseline is None else {"a": baseline})
    assert found.ratios[:, 0] == pytest.approx(ratios)
    assert np.isfinite(found.aup).all() and found.tau_max >= 0.4


@some
@given(tables, baselines, st.randoms())
def test_order_does_not_matter(table: dict[tuple[str, str], float], baseline: dict[str, float], random: object) -> None:
    items = list(table.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert aup(dict(items), baseline) == pytest.approx(aup(table, baseline), abs=1e-12)


@some
@given(tables, baselines, st.sampled_from(TASKS), st.integers(-20, 20))
def test_scaling_a_metric_changes_nothing(
    table: dict[tuple[str, str], float], baseline: dict[str, float] | None, task: str, power: int
) -> None:
    scaled = {cell: value * 2.0**power if cell[1] == task else value for cell, value in table.items()}
    base = baseline and {t: value * 2.0**power if t == task else value for t, value in baseline.items()}
    assert aup(scaled, base) == aup(table, baseline)


@some
@given(tables, baselines)
def test_a_method_that_is_nowhere_feasible_changes_nothing(
    table: dict[tuple[str, str], float], baseline: dict[str, float] | None
) -> None:
    worse = {("z", task): NAN for task in {task for _, task in table}}
    with_it = aup(table | worse, baseline)
    assert {method: area for method, area in with_it.items() if method != "z"} == aup(table, baseline)


@some
@example({("m", "b"): -1.0}, {"b": 1.0})
@given(tables, baselines)
def test_a_dominated_method_is_never_ahead_and_moves_no_ratio_of_a_feasible_score(
    table: dict[tuple[str, str], float], baseline: dict[str, float] | None
) -> None:
    before = metrics.profiles(table, DIRECTIONS, baseline)
    cells = [*((task, value) for (_, task), value in table.items()), *(baseline or {}).items()]
    finite = {t: [v for task, v in cells if task == t and math.isfinite(v)] for _, t in table}
    # a score below 0 is infeasible in both directions: only those above count for what is worse than all
    dominated = {("z", t): (min(v) / 2 if DIRECTIONS[t] == UP else max(0, *v) + 1) for t, v in finite.items() if v}
    assume(dominated)
    after = metrics.profiles(table | dominated, DIRECTIONS, baseline)
    z = after.methods.index("z")
    for m, method in enumerate(before.methods):
        n = after.methods.index(method)
        for t, task in enumerate(before.tasks):
            feasible = before.ratios[m, t] == 1 or before.ratios[m, t] < before.ratios[:, t].max()
            same = after.ratios[n, after.tasks.index(task)] == before.ratios[m, t]
            assert same or not feasible
    best = after.ratios.min(axis=0)
    assert (after.ratios[z] >= best).all()


@some
@given(tables, baselines)
def test_curves_rise_and_areas_are_those_of_the_left_sum(
    table: dict[tuple[str, str], float], baseline: dict[str, float] | None
) -> None:
    found = metrics.profiles(table, DIRECTIONS, baseline)
    assert (np.diff(found.curves, axis=1) >= 0).all() and (found.curves >= 0).all() and (found.curves[:, -1] == 1).all()
    left = [sum(row[i] * (found.tau[i + 1] - found.tau[i]) for i in range(499)) for row in found.curves]
    assert found.aup == pytest.approx(left, abs=1e-9)
    assert (found.aup <= found.tau_max + 1e-9).all()


def test_a_method_of_one_table_only_is_missing_in_the_other() -> None:
    found = metrics.aup_table({("m", "a"): 2.0, ("n", "a"): 1.0}, {("m", "a"): 2.0}, DIRECTIONS, None)
    assert found.methods == ("m", "n") and found.submissions.ratios[:, 0].tolist() == [1, 1.05]
    assert found.attempts.tau_max == found.submissions.tau_max == found.tau_max == 0.5


# how AUP hangs on the pool and on luck


def test_the_order_of_two_may_hang_on_a_third() -> None:
    """m is ahead of n only while o is there: o makes m's failure on b cheap beside n's distance from o on a."""
    table = {
        ("m", "a"): 1.0, ("n", "a"): 0.5, ("o", "a"): 1.0,
        ("m", "b"): NAN, ("n", "b"): 1.0, ("o", "b"): 0.01,
        ("m", "c"): 1.0, ("n", "c"): 1.0, ("o", "c"): 1.0,
    }  # fmt: skip
    found = metrics.sensitivity(table, {"a": UP, "b": UP, "c": UP}, None)
    assert found.left_out == ("m", "n", "o") and ("m", "n") in found.swaps
    assert np.isnan(np.diag(found.aup)).all() and (found.low <= found.full).all() and (found.full <= found.high).all()


def test_sensitivity_of_one_method_alone() -> None:
    for baseline in (None, {"a": 0.5}):
        found = metrics.sensitivity({("m", "a"): 1.0}, DIRECTIONS, baseline)
        assert found.left_out == ("m",) and found.full[0] == found.low[0] == found.high[0]


runs = st.lists(score, min_size=1, max_size=4)
run_tables = st.dictionaries(st.tuples(st.sampled_from(METHODS), st.sampled_from(TASKS)), runs, min_size=1)


@some
@given(run_tables, baselines, st.integers(0, 3))
def test_areas_of_resamples(
    table: dict[tuple[str, str], list[float]], baseline: dict[str, float] | None, seed: int
) -> None:
    found = metrics.aup_intervals(table, table, DIRECTIONS, baseline, seed, n=20)
    for method, (best, last) in found.items():
        value, low, high = best
        assert best == last and value == pytest.approx(aup(metrics.best_table(table, DIRECTIONS), baseline)[method])
        assert 0 <= low <= high
    shuffled = {cell: values[::-1] for cell, values in reversed(table.items())}
    again = metrics.aup_intervals(shuffled, shuffled, DIRECTIONS, baseline, seed, n=20)
    assert {m: e[0] for m, e in again.items()} == {m: pytest.approx(e[0]) for m, e in found.items()}


def test_one_run_a_cell_has_no_luck() -> None:
    table = {("m", "a"): [2.0], ("n", "a"): [1.5], ("m", "b"): [NAN], ("n", "b"): [1.0], ("base", "a"): [1.0]}
    for baseline in (None, {"a": 1.0, "b": 2.0}, "base"):
        for sides in metrics.aup_intervals(table, table, DIRECTIONS, baseline, n=50).values():
            assert all(low == pytest.approx(value) == pytest.approx(high) for value, low, high in sides)
    with pytest.raises(UsageError, match="m on a has 1 best attempts and 2 submissions"):
        metrics.aup_intervals({("m", "a"): [1.0]}, {("m", "a"): [1.0, 2.0]}, DIRECTIONS, None)


def test_every_name_is_there() -> None:
    assert [name for name in metrics.__all__ if not hasattr(metrics, name)] == []
    assert set(metrics.__all__) <= set(dir(metrics))
    for path in Path(metrics.__file__).parent.glob("[a-z]*.py"):
        importlib.import_module(f"mlgym.metrics.{path.stem}")
    modules = [name for name in metrics.__all__ if not callable(getattr(metrics, name))]
    assert modules == []  # a module of the same name would take a function's place once it is imported
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = metrics.nothing
