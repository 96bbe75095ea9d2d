"""Property tests in two sizes: a small one in the default suite, a large one among the slow tests.

MLGYM_FUZZ=20 tries twenty times as many examples in both.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FACTOR = int(os.environ.get("MLGYM_FUZZ", "1"))
LARGE = 3  # times the small size


def fuzz(examples: int, **drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make `check(place, **drawn)` a test of so many examples, and a slow one of LARGE times as many.

    `place` is what the module's fixture of that name gives, the same for all examples.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize(
            "size",
            [
                pytest.param(examples, id="few"),
                pytest.param(LARGE * examples, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
            ],
        )
        def test(place: Any, size: int) -> None:
            @settings(max_examples=size * FACTOR, suppress_health_check=list(HealthCheck))
            @given(**drawn)
            def hold(**values: Any) -> None:
                check(place, **values)

            hold()

        test.__doc__, test.__name__ = check.__doc__, check.__name__
        return test

    return decorate
