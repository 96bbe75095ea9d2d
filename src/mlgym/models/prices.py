"""What tokens cost, from `prices.toml` and the user's own, and the limits of an episode for which none was given."""

import math

from pydantic import Field

from mlgym.errors import UsageError
from mlgym.models import data
from mlgym.records import Limits, Record

DEFAULT_MONEY = 1.0
DEFAULT_TOKENS = 2_000_000
_MORE = " (--money and --tokens set other limits)"
FILE = "prices.toml"


class Price(Record):
    """Dollars per million tokens sent and received. Of those sent, what was read from the provider's cache (`cached`)
    and written to it (`written`) costs as much where nothing else is known. `context` is the model's window in tokens.
    """

    sent: float = Field(ge=0)
    received: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    written: float | None = Field(default=None, ge=0)
    context: int | None = Field(default=None, gt=0)

    @property
    def free(self) -> bool:
        """Whether it is known to cost nothing."""
        return self.sent == self.received == 0

    def of(self, tokens_in: float, tokens_out: float, cached: float = 0, written: float = 0) -> float:
        """The price of one call in dollars; `cached` and `written` are parts of `tokens_in`."""
        read = self.sent if self.cached is None else self.cached
        wrote = self.sent if self.written is None else self.written
        fresh = tokens_in - cached - written
        return (self.sent * fresh + read * cached + wrote * written + self.received * tokens_out) / 1e6


FREE = Price(sent=0.0, received=0.0)
TOLD = Price.model_construct(sent=math.nan, received=math.nan)  # each answer says what it cost


def listed(name: str) -> Price | None:
    """The list price of `provider/model` at the provider's own address, None where it is not in the table."""
    return own_price(name) or data.shipped(FILE, Price, "prices").get(name)


def own_price(name: str) -> Price | None:
    """What the user's own file says that a model costs, wherever it is served."""
    return data.own(FILE, Price, "prices").get(name)


def not_kept(money: float, name: str) -> str:
    """Why a limit in dollars cannot be kept with a model of an unknown price, and the two ways out."""
    row = f'`"{name}" = {{ sent = DOLLARS, received = DOLLARS }}` below `[prices]` in {data.config_folder() / FILE}'
    return (
        f"A limit of {money:.2f} dollars cannot be kept with {name}, whose price is unknown: give its price per million"
        f" tokens (a line {row}), or limit tokens (--tokens) and leave the dollars (or their protocol) out."
    )


def default_limits(name: str, base_url: str, limits: Limits) -> tuple[Limits, str]:
    """The limits with a bound on spending added where none was given, and the sentence that says so (or nothing).

    One dollar an episode, or two million tokens where the price is unknown or nothing. Raises UsageError for a limit in
    dollars where the price is unknown.
    """
    from mlgym.models.endpoint import priced, served

    if not served(name):
        return limits, ""
    cost = priced(name, base_url)
    if cost is None and limits.money is not None:
        raise UsageError(not_kept(limits.money, name))
    free = cost is not None and cost.free
    if limits.tokens is not None or (limits.money is not None and not free):
        return limits, ""
    if cost is not None and not free:
        sentence = f"No limit was given: an episode stops when {name} has cost {DEFAULT_MONEY:.2f} dollars{_MORE}."
        return limits.changed(money=DEFAULT_MONEY), sentence
    why = "No limit was given" if limits.money is None else "A limit in dollars bounds nothing"
    what = f"{name} costs nothing here" if free else f"the price of {name} is unknown"
    sentence = f"{why}, and {what}: an episode stops after {DEFAULT_TOKENS:,} tokens (--tokens sets another limit)."
    return limits.changed(tokens=DEFAULT_TOKENS), sentence
