"""Progress: the anchors, the clip, the scales."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.metrics import clip, margin, noise, potential, progress, ties

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


def test_noise_is_put_on_the_same_scale() -> None:
    assert noise(0.1, baseline_test=2.0, best=4.0, scale="identity") == pytest.approx(0.05)
    step = 1e-6  # on the logarithmic scale it is that of a small step
    gained = p(2.0 + step, scale="log")
    assert gained is not None and noise(step, baseline_test=2.0, best=4.0, scale="log") == pytest.approx(
        gained, rel=1e-5
    )
    assert noise(0.1, baseline_test=-4.0, best=-2.0, scale="identity") == pytest.approx(0.05)


@given(st.floats(-1, 2), st.floats(-1, 2), st.floats(0, 1))
def test_ties_are_differences_that_noise_explains(a: float, b: float, sigma: float) -> None:
    assert ties(a, b, sigma) == ties(b, a, sigma) == (abs(a - b) <= margin(sigma))
    assert (
        ties(a, a, 0.0) and (a == b or not ties(a, b, 0.0)) and margin(sigma, 2.0) == pytest.approx(2 * margin(sigma))
    )
