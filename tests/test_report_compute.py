"""Methods at equal compute: the arithmetic, and the tables and the figure of the report."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.errors import UsageError
from mlgym.metrics import Curve, equivalent, equivalent_compute, outcomes
from mlgym.report.compute import arena, compute_picture, equal_compute, hpo_equivalent
from mlgym.report.estimates import estimates
from mlgym.report.folder import report
from mlgym.report.pool import load, pools
from mlgym.report.study import Study
from tests.recorded import at, episode, lock

TASKS = ("battle-of-sexes", "prisoners-dilemma")
curves = st.lists(st.floats(0.1, 50), min_size=1, max_size=5, unique=True).flatmap(
    lambda x: st.lists(st.floats(-1, 2), min_size=len(x), max_size=len(x)).map(
        lambda y: Curve(np.sort(np.array(x)), np.maximum.accumulate(np.array(y)))
    )
)


def curve(*points: tuple[float, float]) -> Curve:
    return Curve(*np.array(points).T)


def test_a_run_stands_at_its_baseline_until_its_first_attempt() -> None:
    assert curve((2, 0.5), (4, 0.8)).at(np.array([0, 1.9, 2, 3, 4, 9])).tolist() == [0, 0, 0.5, 0.5, 0.8, 0.8]


def test_the_least_budget_at_which_the_mean_of_the_reference_is_as_good() -> None:
    runs = [curve((1, 0.2), (5, 1.0)), curve((3, 0.4))]
    assert equivalent(runs, 0.1) == 1
    assert equivalent(runs, 0.3) == 3
    assert equivalent(runs, 0.7) == 5
    assert equivalent(runs, 0.71) == math.inf
    assert equivalent(runs, 0.71, noise=0.01) == 5
    assert equivalent(runs, -0.5) == 0  # no better than what nobody has worked for


@given(st.lists(curves, min_size=1, max_size=4), st.floats(-1, 2), st.floats(0, 1))
def test_more_takes_at_least_as_long_and_the_answer_is_true(runs: list[Curve], level: float, more: float) -> None:
    found = equivalent(runs, level)
    assert found <= equivalent(runs, level + more)
    if math.isfinite(found):
        assert np.mean([run.at(found) for run in runs]) >= level
    else:
        assert np.mean([run.y[-1] for run in runs]) < level


def test_the_interval_may_end_at_never() -> None:
    same = [curve((1, 0.5))] * 3
    assert equivalent_compute(same, np.array([0.4, 0.4])) == (1, 1, 1)
    found = equivalent_compute(same, np.array([0.3, 0.65]))
    assert (found.value, found.low, found.high) == (1, 1, math.inf)
    assert all(map(math.isnan, equivalent_compute([], np.array([0.3]))))


def test_within_the_noise_two_runs_tie() -> None:
    assert outcomes(np.array([1.0, 0.0]), np.array([0.5]), 0.0) == (0.5, 0, 0.5)
    assert outcomes(np.array([1.0, 0.6]), np.array([0.5]), 0.1) == (0.5, 0.5, 0)
    assert outcomes(np.array([0.5]), np.array([0.5]), math.nan) == (0, 1, 0)


def play(run: Path) -> Study:
    """A tuner that gets to 0.4 in its third second, a model that has 0.6 at once, and one that has nothing."""
    lock(run, TASKS, "one")
    for task in TASKS:
        for seed in range(3):
            episode(run, task, "tuner?sampler=tpe", seed, [at(task, x + seed / 1000) for x in (0.1, 0.2, 0.4, 0.4)])
            episode(run, task, "react", seed, [at(task, 0.6)], model="openai/good")
            episode(run, task, "react", seed, [at(task, 0.15), None], model="openai/hasty")
            episode(run, task, "oracle", seed, [at(task, 1.0)], oracle=True)
    [pool] = pools(load([run]))
    return Study(pool)


def test_the_tables(tmp_path: Path) -> None:
    study = play(tmp_path)
    found = arena(study)
    assert found and found.reference == "tuner?sampler=tpe" and set(found.budget.values()) == {4.0}
    assert all(0 < noise < 0.1 for noise in found.noise.values())
    table = equal_compute(found)
    rows = {cells[0].text: dict(zip(table.columns, cells, strict=True)) for cells in table.rows}
    assert rows["openai/good"]["HPO-equivalent"].text == "never" and rows["openai/good"]["win"].text == "100"
    assert (
        rows["openai/hasty"]["HPO-equivalent"].value == pytest.approx(0.5) and rows["openai/hasty"]["loss"].value == 100
    )
    assert rows["openai/good"]["at 25%"].value == pytest.approx(0.6)
    assert rows["tuner?sampler=tpe"]["at 25%"].value == pytest.approx(0.101)
    assert rows["oracle"]["win"].text == "–" and rows["tuner?sampler=tpe"]["win"].text == "–"
    by_task = hpo_equivalent(found)
    cells = {row[0].text: [cell.text for cell in row[1:3]] for row in by_task.rows}
    assert cells["openai/hasty"] == ["2.0 of 4 s [2.0, 2.0]"] * 2
    assert cells["openai/good"] == ["never of 4 s [never, never]"] * 2


def test_there_is_none_without_a_reference(tmp_path: Path) -> None:
    lock(tmp_path, TASKS, "one")
    episode(tmp_path, TASKS[0], "react", 0, [0.5], model="openai/good")
    episode(tmp_path, TASKS[0], "nop", 0, [0.5])
    [pool] = pools(load([tmp_path]))
    study = Study(pool)
    assert arena(study) is None and compute_picture(study, estimates(study, n=10)) is None
    assert arena(study, "nop") is not None


def test_the_report_has_them_and_the_figure(tmp_path: Path) -> None:
    study = play(tmp_path / "run")
    picture = compute_picture(study, estimates(study, n=10))
    assert picture and "openai/good 0.60" in picture.alt
    report([tmp_path / "run"], tmp_path / "out", formats=(), reference="openai/good")
    assert "openai/good took" in (tmp_path / "out" / "tables" / "equal-compute.md").read_text()
    with pytest.raises(UsageError, match="There is no method 'nobody' to be the reference; there are: openai/good"):
        report([tmp_path / "run"], tmp_path / "out", formats=(), reference="nobody")
