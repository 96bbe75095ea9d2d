"""A policy from nothing: a tokenizer made of the texts at hand, and a small causal model with random weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROLES = ("system", "user", "assistant", "tool")
END, PAD = "<|end|>", "<|pad|>"
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{{ '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make(
    folder: Path,
    texts: Iterable[str],
    *,
    seed: int = 0,
    hidden: int = 64,
    layers: int = 2,
    vocabulary: int = 512,
    context: int = 1024,
) -> None:
    """Write a transformers folder: a Qwen2 model of `layers` layers and width `hidden`, whose weights are drawn by
    `seed`, and a byte-level tokenizer (BPE; Sennrich et al. 2016) of at most `vocabulary` tokens learnt from `texts`,
    which spells numbers digit by digit.

    Its chat template keeps what came before: a longer conversation begins with the tokens of the shorter one.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    words = tokenizer(texts, vocabulary)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 16),
        num_key_value_heads=max(1, hidden // 16),
        max_position_embeddings=context,
        initializer_range=hidden**-0.5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = Qwen2ForCausalLM(config)
    words.save_pretrained(folder)
    model.save_pretrained(folder)


def tokenizer(texts: Iterable[str], vocabulary: int = 512) -> Any:
    """The tokenizer alone, as transformers has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, *(f"<|{role}|>" for role in ROLES)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=END, pad_token=PAD, chat_template=TEMPLATE, clean_up_tokenization_spaces=False
    )
