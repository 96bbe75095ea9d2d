"""Where a model is served: address, key and price, from its name, the base URL and the environment's variables."""

import math
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlgym.errors import UsageError
from mlgym.models.prices import FREE, Price, price

TIMEOUT = "MLGYM_MODEL_TIMEOUT"
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "host.docker.internal")


@dataclass(frozen=True)
class Provider:
    """A kind of server: its usual address, the variables of key and address, and whether it is the user's own."""

    url: str
    key_variable: str
    url_variable: str = ""
    own: bool = False


PROVIDERS = {
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "anthropic": Provider("https://api.anthropic.com", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "vllm": Provider("http://localhost:8000/v1", "VLLM_API_KEY", own=True),
    "ollama": Provider("http://localhost:11434/v1", "OLLAMA_API_KEY", own=True),
}


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
    price: Price | None

    def key(self) -> str:
        """The key from the environment; a dummy for the user's own address. Raises UsageError where one is missing."""
        found = os.environ.get(self.key_variable, "")
        if found or not self.usual or PROVIDERS[self.provider].own:
            return found or "not-needed"
        raise UsageError(f"{self.name} needs a key: set {self.key_variable}, or give the base URL of your own server.")


def timeout_s() -> float:
    """Seconds that a server may keep silent before the call is tried again: MLGYM_MODEL_TIMEOUT, else 600."""
    given = os.environ.get(TIMEOUT, "") or "600"
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{TIMEOUT} is a number of seconds above 0, not '{given}'.")
    return seconds


def endpoint(name: str, base_url: str = "") -> Endpoint:
    """The place of a model named `provider/model`, whose provider must be known; a base URL goes before all else."""
    provider, _, model = name.partition("/")
    kind = PROVIDERS[provider]
    url = (base_url or os.environ.get(kind.url_variable, "") or kind.url).rstrip("/")
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"The base URL '{url}' must begin with http:// or https://.")
    usual, local = url == kind.url, urlsplit(url).hostname in _LOCAL_HOSTS
    cost = FREE if kind.own or local else price(name) if usual else None
    return Endpoint(name, provider, model, url, kind.key_variable, usual, local, cost)
