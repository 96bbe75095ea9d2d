"""Values of records as a document can hold them."""

import math
from typing import Any

from mlgym.viewer.visible import visible


def finite(value: Any) -> float | None:
    """A number that JSON can hold, None for anything else."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Data that JSON can hold, its texts made visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {visible(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
