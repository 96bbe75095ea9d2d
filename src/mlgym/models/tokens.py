"""A served model by its tokens: vLLM's additions to OpenAI's completions, which SGLang and others have taken over."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urljoin

from mlgym.errors import ModelError
from mlgym.models.endpoint import endpoint, timeout_s
from mlgym.models.failures import explain

# A model's own settings would change what is sampled from, and with it what the log-probabilities are of.
WHOLE = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
TRIES = 4


class TokenModel:
    """The model `provider/NAME` at its usual address or at `base_url`. Passing failures are tried again.

    All calls raise ModelError, and BudgetError ("context") for a conversation that is too long.
    """

    def __init__(self, name: str, base_url: str = "") -> None:
        self.place = endpoint(name, base_url)
        key = self.place.key()
        import openai

        self._errors = (openai.OpenAIError, ValueError)
        direct = openai.DefaultHttpxClient(trust_env=False) if self.place.local else None
        self._client = openai.OpenAI(
            api_key=key, base_url=self.place.url, max_retries=TRIES, timeout=timeout_s(), http_client=direct
        )

    def complete(
        self, prompt: Sequence[int], max_tokens: int, *, temperature: float, seed: int
    ) -> tuple[list[int], list[float], str]:
        """The tokens that follow a prompt, their log-probabilities, and the server's stop reason."""
        try:
            answer: Any = self._client.completions.create(
                model=self.place.model,
                prompt=list(prompt),
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
                logprobs=1,
                extra_body={"return_token_ids": True, **WHOLE},
            )
        except self._errors as error:
            raise explain(error, self.place, False) from error
        choice = answer.choices[0]
        ids = getattr(choice, "token_ids", None)
        logprobs = getattr(choice.logprobs, "token_logprobs", None)
        if ids is None or logprobs is None or len(ids) != len(logprobs):
            raise ModelError(
                f"{self.place.url} tells no tokens with their log-probabilities, as vLLM does for return_token_ids: "
                "only the text of its replies can be had.",
                lasting=True,
            )
        return list(ids), [float(each) for each in logprobs], choice.finish_reason or ""

    def tokens(self, messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]], open_: bool) -> list[int]:
        """A conversation by the server's own chat template; `open_`: up to where a reply begins."""
        body = {"messages": messages, "add_generation_prompt": open_, **({"tools": list(tools)} if tools else {})}
        return list(self._asked("/tokenize", body)["tokens"])

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say."""
        return str(self._asked("/detokenize", {"tokens": list(ids)})["prompt"])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _asked(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer at a path that does not lie under the base URL's /v1."""
        try:
            answer: Any = self._client.post(
                urljoin(self.place.url, path), body={"model": self.place.model, **body}, cast_to=object
            )
        except self._errors as error:
            raise explain(error, self.place, False) from error
        if not isinstance(answer, dict):
            raise ModelError(
                f"{self.place.url} has no {path} as vLLM has it: name the folder of a tokenizer.", lasting=True
            )
        return answer
