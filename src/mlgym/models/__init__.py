"""Language models: a model is a callable from messages and tools to a reply; its name is `provider/model`.

`openai/NAME` (any OpenAI-compatible server with a base URL), `vllm/NAME`, `ollama/NAME`, `openrouter/NAME`,
`anthropic/NAME`, and `scripted/PATH` or `scripted/package.module:attribute`, the shipped test double.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mlgym.errors import UsageError
from mlgym.models.endpoint import PROVIDERS, endpoint
from mlgym.models.metered import Metered
from mlgym.models.prices import FREE, default_limits
from mlgym.records import Message, Reply

__all__ = ["Metered", "Model", "default_limits", "free", "load"]

_OURS = ("model", "messages", "tools", "system", "stream", "n")


class Model(Protocol):
    """Anything that answers a conversation. Raises ModelError, and ToolsRefused when it cannot take `tools`."""

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """The reply to `messages`; `tools` are OpenAI function schemas, empty for none."""
        ...


def free(name: str, base_url: str = "") -> bool:
    """Whether a model is known to cost nothing: it is served at an address of the user's own."""
    if name.startswith("local/"):
        return True
    if name.partition("/")[0] not in PROVIDERS:
        return False
    try:
        return endpoint(name, base_url).price == FREE
    except UsageError:
        return False


def load(name: str, *, base_url: str = "", sampling: Mapping[str, Any] | None = None, seed: int = 0) -> Model:
    """The model of that name; only what stands in `sampling` is sent beside the conversation and the tools.

    `seed` is for models in this process, where the sampling has none: the episode's.

    Makes no connection. Raises UsageError for an unknown provider and for a missing key, naming the variable.
    """
    sampling = dict(sampling or {})
    if taken := [key for key in sampling if key in _OURS]:
        raise UsageError(f"The sampling setting '{taken[0]}' cannot be given: mlgym sets it itself.")
    provider, _, rest = name.partition("/")
    if provider == "scripted" and rest:
        from mlgym.models.scripted import load_script

        return load_script(rest, sampling)
    if provider == "local" and rest:
        from mlgym.models.local import load_local

        return load_local(rest, sampling, seed)
    if provider not in PROVIDERS or not rest:
        known = ", ".join(f"{provider}/…" for provider in (*PROVIDERS, "local", "scripted"))
        raise UsageError(f"There is no model '{name}'; a model is named provider/model, with one of {known}.")
    place = endpoint(name, base_url)
    if provider == "anthropic":
        from mlgym.models.anthropic import AnthropicModel

        return AnthropicModel(place, sampling)
    from mlgym.models.openai import OpenAIModel

    return OpenAIModel(place, sampling)
