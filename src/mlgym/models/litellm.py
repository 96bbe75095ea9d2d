"""Models that the library litellm reaches, an extra of its own: Bedrock, Vertex, Azure and many more."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym.errors import UsageError
from mlgym.models.endpoint import LITELLM, Endpoint, timeout_s
from mlgym.models.failures import explain
from mlgym.models.openai import completion, sent
from mlgym.models.prices import Price, own_price
from mlgym.records import Message, Reply


def library() -> Any:
    """The library, without a word of its own and without fetching its price list; UsageError where it is missing."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        import litellm
    except ImportError as error:
        raise UsageError("The models of litellm/… need a package: pip install 'mlgym-env[litellm]'.") from error
    litellm.suppress_debug_info = True
    return litellm


def _info(model: str) -> Mapping[str, Any]:
    """What the library's list says of a model; empty where it does not know it."""
    try:
        return dict(library().get_model_info(model))
    except UsageError:
        raise
    except Exception:  # it raises a plain one for models that it does not know
        return {}


def price(model: str) -> Price | None:
    """What a model costs by the library's list, None where it is not in it."""
    info = _info(model)
    sent, received = info.get("input_cost_per_token"), info.get("output_cost_per_token")
    if sent is None or received is None:
        return None
    more = {"cached": "cache_read_input_token_cost", "written": "cache_creation_input_token_cost"}
    known = {key: 1e6 * info[name] for key, name in more.items() if info.get(name) is not None}
    return Price(sent=1e6 * sent, received=1e6 * received, **known)


class LiteLLMModel:
    """A model by litellm's name for it, such as `bedrock/…`; every sampling setting goes to the library as it stands.

    Keys are read from the variables that the library documents; where one is missing UsageError is raised at once.
    Asks once: what failed is tried again by Retried.
    """

    def __init__(self, model: str, base_url: str, sampling: Mapping[str, Any]) -> None:
        self._litellm = library()
        name = f"{LITELLM}/{model}"
        missing = [] if base_url else self._litellm.validate_environment(model)["missing_keys"]
        if missing and all(each.endswith("_API_KEY") for each in missing):  # others may come from elsewhere, as AWS's
            raise UsageError(f"{name} needs a key: set {missing[0]}.")
        url = base_url or f"{model.partition('/')[0]} (by litellm)"
        key = "the variable of its key"
        self.place = Endpoint(name, LITELLM, model, url, key, not base_url, False, False, "openai", price(model))
        self._more = {"api_base": base_url} if base_url else {}
        self._sampling = dict(sampling)

    @property
    def context(self) -> int | None:
        """The window by the library's list."""
        found = _info(self.place.model).get("max_input_tokens")
        return found if isinstance(found, int) else None

    @property
    def native(self) -> bool | None:
        """Whether the library's list says that the model takes native tool calls."""
        found = _info(self.place.model).get("supports_function_calling")
        return found if isinstance(found, bool) else None

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """One completion of the conversation."""
        turns = [sent(message) for message in messages]
        given = {"tools": list(tools)} if tools else {}
        try:
            answer = self._litellm.completion(
                model=self.place.model,
                messages=turns,
                timeout=timeout_s(),
                max_retries=0,
                num_retries=0,
                **given,
                **self._more,
                **self._sampling,
            )
        except Exception as error:  # those of the library, and what its translations stumble over
            raise explain(error, self.place, bool(tools)) from error
        own = own_price(self.place.name)
        reply = completion(answer, turns, own or self.place.price)
        told = getattr(answer, "_hidden_params", {}).get("response_cost")
        money = reply.money if own or told is None else float(told)
        return reply.changed(told_money=told, money=money, model=reply.model or self.place.model)
