"""What tokens cost, from `prices.toml`, and the limits of an episode for which none was given."""

import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mlgym.records import Limits

DEFAULT_MONEY = 1.0
DEFAULT_TOKENS = 2_000_000
_MORE = " (--money and --tokens set other limits)"


class Price(NamedTuple):
    """Dollars per million tokens sent and received."""

    sent: float
    received: float

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """The price of one call in dollars."""
        return (self.sent * tokens_in + self.received * tokens_out) / 1e6


FREE = Price(0.0, 0.0)


@cache
def _table() -> dict[str, list[float]]:
    table: dict[str, list[float]] = tomllib.loads((Path(__file__).parent / "prices.toml").read_text("utf-8"))["prices"]
    return table


def price(name: str) -> Price | None:
    """The list price of `provider/model` at the provider's own address, None where it is not in the table."""
    row = _table().get(name)
    return Price(*row) if row else None


def default_limits(name: str, base_url: str, limits: Limits) -> tuple[Limits, str]:
    """The limits with a bound on spending added where none was given, and the sentence that says so (or nothing).

    One dollar an episode, or two million tokens where the price is unknown or nothing. A limit in dollars cannot be
    kept where the price is unknown, so that tokens are bounded too.
    """
    from mlgym.models.endpoint import PROVIDERS, endpoint

    if name.partition("/")[0] not in PROVIDERS or limits.tokens is not None:
        return limits, ""
    cost = endpoint(name, base_url).price
    if cost is not None and cost != FREE:
        if limits.money is not None:
            return limits, ""
        sentence = f"No limit was given: an episode stops when {name} has cost {DEFAULT_MONEY:.2f} dollars{_MORE}."
        return limits.model_copy(update={"money": DEFAULT_MONEY}), sentence
    why = "No limit was given" if limits.money is None else "A limit in dollars needs a price"
    what = f"{name} costs nothing here" if cost == FREE else f"the price of {name} is unknown"
    sentence = f"{why}, and {what}: an episode stops after {DEFAULT_TOKENS:,} tokens{_MORE}."
    return limits.model_copy(update={"tokens": DEFAULT_TOKENS}), sentence
