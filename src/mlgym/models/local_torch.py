"""A folder of a transformers model, run in this process by torch: on the card if there is one."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlgym.errors import ModelError
from mlgym.models.local_chat import Chat, Settings, too_long
from mlgym.records import Reply


class Transformers:
    """The causal model of a folder with its tokenizer and chat template. Nothing is fetched, and no code of it is run.

    It takes no native tools: how a reply spells them is each model's own. Raises ModelError where it cannot be loaded.
    """

    native = False

    def __init__(self, path: Path, settings: Settings) -> None:
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(settings.threads)
        self.name = path.name
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True, dtype="auto")
        except Exception as error:  # of many kinds, each file's reader has its own
            said = " ".join(str(error).split())[:200].rstrip(".")
            raise ModelError(f"transformers cannot load {path} ({said}).", lasting=True) from error
        self._model: Any = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        known = getattr(model.config, "max_position_embeddings", None)
        self.context: int = min(known, settings.n_ctx) if known else settings.n_ctx
        self._lock = threading.Lock()

    def answer(self, chat: Chat, tools: Sequence[dict[str, Any]], settings: Settings, seed: int, who: object) -> Reply:
        """One completion; nothing is kept from one to the next."""
        import torch

        with self._lock, torch.random.fork_rng():
            ids = self._read(chat)
            tokens_in = ids["input_ids"].shape[1]
            if tokens_in >= self.context:
                raise too_long(tokens_in, self.context, self.name)
            torch.manual_seed(seed)
            with torch.inference_mode():
                out = self._model.generate(
                    **ids,
                    max_new_tokens=min(settings.max_tokens, self.context - tokens_in),
                    pad_token_id=self._tokenizer.eos_token_id,
                    **_sampling(settings),
                )
            new = out[0, tokens_in:]
        ends = self._model.generation_config.eos_token_id
        done = int(new[-1]) in (ends if isinstance(ends, list) else [ends])
        return Reply(
            text=self._tokenizer.decode(new, skip_special_tokens=True),
            tokens_in=tokens_in,
            tokens_out=len(new),
            stop="stop" if done else "length",
            model=self.name,
            quantization=str(self._model.dtype).removeprefix("torch."),
        )

    def close(self) -> None:
        """Let the model go."""
        with self._lock:
            self._model = None

    def _read(self, chat: Chat) -> Any:
        """The conversation as tokens; a template without a place for the system message gets it with the next one."""
        import jinja2

        how = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
        try:
            try:
                ids = self._tokenizer.apply_chat_template(chat, **how)
            except jinja2.TemplateError:
                first = {**chat[1], "content": f"{chat[0]['content']}\n\n{chat[1]['content']}"}
                ids = self._tokenizer.apply_chat_template([first, *chat[2:]], **how)
        except (ValueError, IndexError, jinja2.TemplateError) as error:
            said = " ".join(str(error).split())[:200].rstrip(".")
            what = f"{self.name} has no chat template that takes this conversation ({said})."
            raise ModelError(what, lasting=True, doubtful=True) from error
        return ids.to(self._model.device)


def _sampling(settings: Settings) -> dict[str, Any]:
    """The settings in the words of `generate`; what was left open is the model's own."""
    if settings.temperature == 0:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    given = {key: getattr(settings, key) for key in ("temperature", "top_p") if getattr(settings, key) is not None}
    return {"do_sample": True, **given} if given else {}
