"""A policy in this process: a causal model of transformers, sampled by torch in batches."""

import inspect
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from mlgym.errors import UsageError
from mlgym.rl.policy import Sampled
from mlgym.rl.render import Chat, by_tokenizer

FEW = 0.5  # the part of a batch below which the rows that still go on are taken apart from those that have ended


class TorchPolicy:
    """A causal language `model` of transformers with its `tokenizer`, whose chat template is used.

    Rows are sampled in batches of at most `batch`, each by its own seed: a reply does not depend on the others of its
    batch (but for rounding). Log-probabilities are those of the softmax of the logits over `temperature`, in 32 bits;
    at temperature 0 the likeliest token is taken and its log-probability is 0.0. `version` is the caller's to count.
    The model stays where it is and as it is: changes of its weights count from the next reply on.
    """

    parallel, tokens = False, True

    def __init__(
        self, model: Any, tokenizer: Any, *, temperature: float = 1.0, name: str = "", version: int = 0, batch: int = 64
    ) -> None:
        if temperature < 0 or batch < 1:
            raise UsageError("A policy's temperature is a number from 0 on, and its batch at least 1.")
        self.model, self.tokenizer = model, tokenizer
        self.temperature, self.version, self.batch = temperature, version, batch
        self.name = name or str(getattr(model.config, "_name_or_path", "") or model.config.model_type)
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)
        self._chat = Chat(by_tokenizer(tokenizer), self.name)
        self.begin, self.follow, self.end = self._chat.begin, self._chat.follow, self._chat.end
        self._stops = {
            *self.end,
            *_ids(tokenizer.eos_token_id),
            *_ids(getattr(getattr(model, "generation_config", None), "eos_token_id", None)),
        }

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "", dtype: str = "float32", gguf: str = "", **options: Any
    ) -> Self:
        """The model and tokenizer of a folder, there of the file `gguf` where one is named; nothing is fetched.

        Raises UsageError where they cannot be loaded.
        """
        import torch
        import transformers

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        where: dict[str, Any] = {"local_files_only": True, **({"gguf_file": gguf} if gguf else {})}
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **where)
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **where)
        except Exception as error:  # of many kinds, each file's reader has its own
            said = " ".join(str(error).split())[:200].rstrip(".")
            raise UsageError(f"transformers cannot load {path} ({said}).") from error
        return cls(model.to(device), tokenizer, **{"name": Path(path).name, **options})

    def text(self, ids: Sequence[int]) -> str:
        """What tokens of a reply say, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def sample(
        self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int], seeds: Sequence[int]
    ) -> list[Sampled]:
        """A reply to each prompt, at least one token long; `seconds` are the row's part of those of its batch."""
        import torch

        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        found: dict[int, Sampled] = {}
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                for first in range(0, len(order), self.batch):
                    rows = order[first : first + self.batch]
                    some = self._batch(
                        [prompts[row] for row in rows], [max_tokens[row] for row in rows], [seeds[row] for row in rows]
                    )
                    found |= dict(zip(rows, some, strict=True))
        finally:
            self.model.train(training)
        return [found[row] for row in range(len(prompts))]

    def _batch(self, prompts: list[Sequence[int]], most: list[int], seeds: list[int]) -> list[Sampled]:
        began = time.perf_counter()
        draws = np.stack([np.random.default_rng(seed).random(max(most)) for seed in seeds])
        ids: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        reading = _Reading(self.model, prompts)
        rows = list(range(len(prompts)))  # those that the model still reads, in its order
        while True:
            turn = max(map(len, ids))
            tokens, told = self._draw(reading.logits, draws[rows, turn])
            for row, token, logprob in zip(rows, tokens, told, strict=True):
                if not self._ended(ids[row], most[row]):
                    ids[row].append(token)
                    logprobs[row].append(logprob)
            going = [place for place, row in enumerate(rows) if not self._ended(ids[row], most[row])]
            if not going:
                break
            if len(going) <= FEW * len(rows):
                reading.keep(going)
                rows, tokens = [rows[place] for place in going], [tokens[place] for place in going]
                going = list(range(len(rows)))
            reading.read(tokens, going)
        seconds = (time.perf_counter() - began) / len(prompts)
        return [
            Sampled(tuple(one), tuple(told), "stop" if one[-1] in self._stops else "length", seconds)
            for one, told in zip(ids, logprobs, strict=True)
        ]

    def _ended(self, ids: list[int], most: int) -> bool:
        return bool(ids) and (ids[-1] in self._stops or len(ids) >= most)

    def _draw(self, logits: Any, draws: Any) -> tuple[list[int], list[float]]:
        """A token of each row (logits: rows x vocabulary) by a draw from [0, 1), and its log-probability."""
        import torch

        if self.temperature == 0:
            return logits.argmax(-1).tolist(), [0.0] * len(logits)
        logprobs = torch.log_softmax(logits.float() / self.temperature, -1)
        sums = logprobs.double().exp().cumsum(-1)
        at = torch.as_tensor(draws, device=sums.device)[:, None] * sums[:, -1:]
        tokens = torch.searchsorted(sums, at, right=True).clamp(max=sums.shape[-1] - 1)
        return tokens[:, 0].tolist(), logprobs.gather(-1, tokens)[:, 0].tolist()


class _Reading:
    """What a model has read of some rows, padded on the left; `logits` (rows x vocabulary) are for the next token."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        import torch
        import transformers

        self._model, self._past = model, transformers.DynamicCache(config=model.config)
        known = inspect.signature(model.forward).parameters
        self._word = "cache" if "cache" in known else "past_key_values"  # transformers before 5.24
        width = max(map(len, prompts))
        padded = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        seen = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        self._mask = torch.tensor(seen, device=model.device)
        self._forward(torch.tensor(padded, device=model.device), (self._mask.cumsum(-1) - 1).clamp(min=0))

    def keep(self, places: list[int]) -> None:
        """Let go of all rows but these."""
        import torch

        kept = torch.tensor(places, device=self._mask.device)
        self._past.batch_select_indices(kept)
        self._mask = self._mask[kept]

    def read(self, tokens: list[int], going: list[int]) -> None:
        """Read one more token of each row; those that are not `going` on have no place for it, so it stands at 0."""
        import torch

        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], -1)
        at = torch.zeros_like(self._mask[:, :1])
        at[going] = self._mask[going].sum(-1, keepdim=True) - 1
        self._forward(torch.tensor(tokens, device=self._mask.device)[:, None], at)

    def _forward(self, ids: Any, positions: Any) -> None:
        out = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self._word: self._past},
        )
        self.logits = out.logits[:, -1]


def _ids(given: int | list[int] | None) -> list[int]:
    """The ids of a setting that is one id, several or none."""
    return [] if given is None else [given] if isinstance(given, int) else list(given)
