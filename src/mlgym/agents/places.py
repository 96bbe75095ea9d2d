"""Where a program can be tuned: a number or a choice in its text, the range to try it in, another put in its place."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Value = bool | int | float | str
_OVER = 0.3
_SMALLEST = 1e-12
_DECADES = 4 * math.log(10)  # how wide a range may be before steps in it grow
_REDRAWN = 20  # times that a value is drawn anew which is the one that was there

# What decides no score or must stay as it is: luck, paths, machines, the forms of data, what only measures or prints.
_NOT_FOR_TUNING = re.compile(
    r"seed|random_state|n_jobs|workers|threads|verbos|version|port$|path|dir$|folder|file|url|host|device|cuda|gpu"
    r"|class|label(?!_smooth)|vocab|folds?$|^cv$|held_?out|hold_?out|test_|_test|^val(_|$)|valid|eval(?!s)|^mean$|^std$"
    r"|index|(^|_)id$|^log_(?!price|target|scale)|print|save|resume|debug|quiet|image_size|img|input|in_(channels|features)"
    r"|out_(channels|features)|colou?r|year|timeout|padding|kernel_size|stride|dtype"
)
LONGER = re.compile(  # more of it takes longer
    r"epoch|steps|iter|estimators|rounds|frames|updates|generations|width|hidden|channels|layers|units|embed|dim|heads"
)


@dataclass(frozen=True)
class Range:
    """What a place may hold. `kind` is how it is drawn: one of `choices`; evenly (`linear`), as a `share` of 1, by
    factors (`log`, and `whole` for whole numbers), by factors of 2 (`power`), or of what is missing to 1 (`below_one`).
    """

    kind: Literal["choice", "linear", "share", "log", "whole", "power", "below_one"]
    low: float = 0.0
    high: float = 1.0
    choices: tuple[Value, ...] = ()

    @property
    def over(self) -> float:
        """How far beyond its ends a share is drawn before it is cut, so that these are likely."""
        return _OVER if self.kind == "share" else 0.0

    def moved(self, value: Value, rng: Random) -> Value:
        """Another value, most often near `value`."""
        for _ in range(_REDRAWN):
            if (moved := self._drawn(value, rng)) != value:
                return moved
        return value

    def _drawn(self, value: Value, rng: Random) -> Value:
        if self.kind == "choice":
            return rng.choice([other for other in self.choices if other != value])
        assert isinstance(value, int | float)
        if self.kind in ("linear", "share"):
            spread = self.high - self.low
            anywhere = rng.uniform(self.low - self.over, self.high + self.over)
            return self.cut(anywhere if rng.random() < 0.5 else value + rng.gauss(0, 0.2 * spread))
        if self.kind == "power":
            return round(self.cut(value * 2.0 ** rng.choice((-2, -1, -1, 1, 1, 2))))
        wide = max(1.0, math.log(self.high / self.low) / _DECADES)
        factor = math.exp(rng.gauss(0, rng.choice((0.3, 1.0, 2.0)) * wide))
        if self.kind == "below_one":
            return 1 - self.cut((1 - value) * factor)
        if self.kind == "log":
            return self.cut(value * factor)
        moved = round(value * factor)
        return round(self.cut(moved if moved != value else value + rng.choice((-1, 1))))

    def cut(self, value: float) -> float:
        """The number of the range that is nearest."""
        return min(self.high, max(self.low, value))


@dataclass(frozen=True)
class Place:
    """The bytes `start` to `end` of the text `path` (empty: the command), in its line `line`, that hold `value`.

    `style` is how it is written: as Python, with a small true or false, or as argparse's store_true for False.
    """

    path: str
    line: int
    name: str
    start: int
    end: int
    value: Value
    range: Range
    style: Literal["python", "lower", "flag"] = "python"

    @property
    def title(self) -> str:
        """File, line and name, for people."""
        return f"{self.path or 'command'}:{self.line} {self.name}".rstrip()

    def text(self, value: Value) -> str:
        """A value as it is written there."""
        if isinstance(value, bool):
            flag = '"store_false"' if value else '"store_true"'
            return flag if self.style == "flag" else str(value).lower() if self.style == "lower" else str(value)
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else written(value)


def replaced(source: str, places: Sequence[Place], values: Sequence[Value]) -> str:
    """The text with `values` in its places."""
    text = source.encode()
    for place, value in sorted(zip(places, values, strict=True), key=lambda pair: -pair[0].start):
        if value != place.value:
            text = text[: place.start] + place.text(value).encode() + text[place.end :]
    return text.decode()


def written(value: Value) -> str:
    """A value in a form that Python, JSON, YAML and TOML read alike: whole numbers stay whole, floats keep five digits
    and stay floats.
    """
    if isinstance(value, bool | int | str):
        return str(value)
    mantissa, mark, exponent = f"{value:.5g}".partition("e")
    point = "" if "." in mantissa or "n" in mantissa else ".0"
    return f"{mantissa}{point}{mark}{exponent}"


def fit(name: str, value: Value, *, threshold: bool = False) -> Range | None:
    """The range that a value of that name is tried in; None where it is not for tuning."""
    last = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition(".")[2]).lower().replace("-", "_")
    if _NOT_FOR_TUNING.search(last):
        return None
    if isinstance(value, bool):
        return Range("choice", choices=(False, True))
    if isinstance(value, int):
        return _whole(last, value)
    sane = isinstance(value, float) and (value == 0 or _SMALLEST <= abs(value) <= 1 / _SMALLEST)
    return _real(last, float(value), threshold) if sane else None


def _whole(name: str, value: int) -> Range | None:
    if value >= 4 and value & (value - 1) == 0 and not re.search(r"epoch|layer|depth|step|iter", name):
        return Range("power", value // 4, value * 4)  # a form of the program's arrays, which fit each other so
    most = 4 if LONGER.search(name) else 8
    return Range("whole", max(1, value // most), value * most) if 0 < value < 10**9 else None


def _real(name: str, value: float, threshold: bool) -> Range:
    if re.search(r"(^|_)lr$|^lr_|learning_rate|^(?!drop|sample).*(^|_)rate$", name):
        return Range("log", min(value / 3, 1e-5), max(value * 3, 0.1)) if value > 0 else Range("linear", 0, 0.1)
    if re.search(r"alpha|penal|decay|(^|_)reg|^l[12]$|^c$", name) and not 0.9 <= value < 1:
        return Range("log", value / 100, value * 100) if value > 0 else Range("linear", 0, 0.1)
    if re.search(r"drop", name) and value < 0.9:
        return Range("linear", 0, max(0.8, value))
    if re.search(r"momentum|beta|gamma|lambda|discount|decay", name) and 0.9 <= value < 1:
        return Range("below_one", (1 - value) / 10, min(0.5, (1 - value) * 10))
    if re.search(r"momentum", name):
        return Range("linear", 0, 0.99)
    if re.search(r"grad|norm|temper|sigma|scale", name) and value > 0:
        return Range("log", value / 10, value * 10)
    if (threshold and 0 <= value <= 1) or 0.05 <= value <= 1:
        return Range("share")
    if value <= 0:
        return Range("linear", 3 * value, -value) if value else Range("linear", -1, 1)
    return Range("log", value / 10, value * 10)
