"""Language models: a model is a callable from messages and tools to a reply; its name is `provider/model`.

`openai/NAME` (any OpenAI-compatible server with a base URL), `anthropic/NAME`, and the other providers of
`providers.toml` and of the user's own; `litellm/NAME` by the library of that name; `local/PATH` in this process; and
`scripted/PATH` or `scripted/package.module:attribute`, the shipped test double.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mlgym.errors import UsageError
from mlgym.models.endpoint import LITELLM, LOCAL, endpoint, priced, providers, served
from mlgym.models.metered import Metered
from mlgym.models.prices import default_limits
from mlgym.models.retried import Retried
from mlgym.records import Message, Reply

__all__ = ["Metered", "Model", "default_limits", "free", "load"]

_OURS = ("model", "messages", "tools", "system", "stream", "n")


class Model(Protocol):
    """Anything that answers a conversation. Raises ModelError, and ToolsRefused when it cannot take `tools`.

    It may have `context`, its window in tokens, and `native`, whether it takes native tool calls; None where unknown.
    """

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """The reply to `messages`; `tools` are OpenAI function schemas, empty for none."""
        ...


def free(name: str, base_url: str = "") -> bool:
    """Whether a model is known to cost nothing: it runs here, or is served at an address of the user's own."""
    try:
        cost = priced(name, base_url) if served(name) else None
    except UsageError:
        return False
    return cost is not None and cost.free


def load(name: str, *, base_url: str = "", sampling: Mapping[str, Any] | None = None, seed: int = 0) -> Model:
    """The model of that name; only what stands in `sampling` is sent beside the conversation and the tools.

    `seed` is for models that run here. Makes no connection. What may pass is tried again with pauses. Raises UsageError
    for an unknown provider and for a missing key, naming the variable.
    """
    sampling = dict(sampling or {})
    if taken := [key for key in sampling if key in _OURS]:
        raise UsageError(f"The sampling setting '{taken[0]}' cannot be given: mlgym sets it itself.")
    provider, _, rest = name.partition("/")
    if provider == "scripted" and rest:
        from mlgym.models.scripted import load_script

        return load_script(rest, sampling)
    if not served(name):
        known = ", ".join(f"{provider}/…" for provider in (*providers(), LITELLM, LOCAL, "scripted"))
        raise UsageError(f"There is no model '{name}'; a model is named provider/model, with one of {known}.")
    if provider == LOCAL:
        from mlgym.models.local import load_local

        return load_local(rest, sampling, seed)
    if provider == LITELLM:
        from mlgym.models.litellm import LiteLLMModel

        return Retried(LiteLLMModel(rest, base_url, sampling))
    place = endpoint(name, base_url)
    if place.speaks == "anthropic":
        from mlgym.models.anthropic import AnthropicModel

        return Retried(AnthropicModel(place, sampling))
    from mlgym.models.openai import OpenAIModel

    return Retried(OpenAIModel(place, sampling))
