"""Progress: the anchors, the clip, the scales."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.metrics import clip, potential, progress

finite = st.floats(-1e6, 1e6)


def p(score: float | None, direction: str = "maximize", scale: str = "identity", **kw: float | None) -> float | None:
    anchors = {"baseline": 2.0, "baseline_test": 2.0, "best": 4.0 if direction == "maximize" else 1.0} | kw
    return progress(score, direction=direction, scale=scale, **anchors)  # type: ignore[arg-type]


def test_the_baseline_is_zero_and_the_best_is_one() -> None:
    for direction in ("maximize", "minimize"):
        for scale in ("identity", "log"):
            best = 4.0 if direction == "maximize" else 1.0
            assert p(2.0, direction, scale) == 0
            assert p(best, direction, scale) == pytest.approx(1)


def test_one_width_serves_both_splits() -> None:
    assert p(3.5, baseline=2.5) == pytest.approx(0.5)


def test_no_best_is_no_scale_and_no_score_is_the_floor() -> None:
    assert p(3.0, best=None) is None
    assert p(None) == p(math.nan) == p(math.inf) == p(-1.0, scale="log") == -1


@given(finite, finite)
def test_more_is_never_worse(a: float, b: float) -> None:
    low, high = sorted((p(a) or 0.0, p(b) or 0.0))
    assert (low, high) == ((p(a) or 0.0, p(b) or 0.0) if a <= b else (p(b) or 0.0, p(a) or 0.0))
    assert low >= -1


def test_the_potential_is_held_in_0_2() -> None:
    assert [potential(x) for x in (None, -0.5, 0.5, 9.0)] == [0, 0, 0.5, 2]
    assert clip(3, 0, 2) == 2
