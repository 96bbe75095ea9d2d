"""Where a model is served: address, key and price, from its name, the base URL and the environment's variables."""

import math
import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from mlgym.errors import UsageError
from mlgym.models import data
from mlgym.models.prices import FREE, TOLD, Price, listed, own_price
from mlgym.records import Record

TIMEOUT = "MLGYM_MODEL_TIMEOUT"
LITELLM, LOCAL = "litellm", "local"  # models that a library reaches, and those that run in this process
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "host.docker.internal")


class Provider(Record):
    """A kind of server: its usual address, the variables of key and address, and which interface it speaks.

    `own` servers are the user's: they cost nothing, and need no key. One that `tells` says with each answer its cost.
    """

    url: str
    key: str = ""
    base: str = ""
    own: bool = False
    tells: bool = False
    speaks: Literal["openai", "anthropic"] = "openai"


@dataclass(frozen=True)
class Endpoint:
    """One model at one address; `price` is None where unknown, `usual` says that the address is the provider's own."""

    name: str
    provider: str
    model: str
    url: str
    key_variable: str
    usual: bool
    local: bool
    own: bool
    speaks: str
    price: Price | None

    def key(self) -> str:
        """The key from the environment; a dummy for the user's own address. Raises UsageError where one is missing."""
        found = os.environ.get(self.key_variable, "")
        if found or not self.usual or self.own or not self.key_variable:
            return found or "not-needed"
        raise UsageError(f"{self.name} needs a key: set {self.key_variable}, or give the base URL of your own server.")


def providers() -> dict[str, Provider]:
    """All providers by name: those of `providers.toml`, and over them those of the user's own file."""
    return {**data.shipped("providers.toml", Provider), **data.own("providers.toml", Provider)}


def timeout_s() -> float:
    """Seconds that a server may keep silent before the call has failed: MLGYM_MODEL_TIMEOUT, else 600."""
    return seconds(TIMEOUT, 600.0)


def seconds(variable: str, usual: float) -> float:
    """The seconds above 0 that a variable of the environment gives. Raises UsageError for anything else."""
    given = os.environ.get(variable, "") or str(usual)
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise UsageError(f"{variable} is a number of seconds above 0, not '{given}'.")
    return value


def served(name: str) -> bool:
    """Whether a name is of a model that answers for itself, not of a script; it need not exist."""
    provider, _, model = name.partition("/")
    return bool(model) and (provider in (LITELLM, LOCAL) or provider in providers())


def priced(name: str, base_url: str = "") -> Price | None:
    """What a served model costs: FREE, TOLD with each answer, or a price of tokens; None where nobody knows."""
    provider, _, model = name.partition("/")
    if provider == LOCAL:
        return own_price(name) or FREE
    if provider == LITELLM:
        from mlgym.models.litellm import price

        return own_price(name) or price(model)
    return endpoint(name, base_url).price


def endpoint(name: str, base_url: str = "") -> Endpoint:
    """The place of a model named `provider/model`, whose provider must be known; a base URL goes before all else."""
    provider, _, model = name.partition("/")
    kind = providers()[provider]
    usual_url = kind.url.rstrip("/")
    url = (base_url or os.environ.get(kind.base, "") or usual_url).rstrip("/")
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"The base URL '{url}' must begin with http:// or https://.")
    usual, local = url == usual_url, urlsplit(url).hostname in _LOCAL_HOSTS
    known = FREE if kind.own or local else listed(name) if usual else None
    if kind.tells and kind.speaks == "openai":
        known = TOLD
    return Endpoint(
        name=name,
        provider=provider,
        model=model,
        url=url,
        key_variable=kind.key,
        usual=usual,
        local=local,
        own=kind.own,
        speaks=kind.speaks,
        price=own_price(name) or known,
    )
