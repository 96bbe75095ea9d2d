"""A tiny model made here that calls tools: each token decides the next one, now and then by a throw of dice."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

BETTER = r"printf 'def row_strategy(history):\n    return 0\n' > strategy.py".replace("\\", "\\\\")
CALLS = [f'\n{{"name": "bash", "arguments": {{"command": "{BETTER}"}}}}\n', '\n{"name": "submit", "arguments": {}}\n']
OPEN, CLOSE, START, END, PAD = "<tool_call>", "</tool_call>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"
# What follows a token; the next of several is as likely as any other. A prompt ends with "assistant" and a line's end.
NEXT = {"\n": [OPEN], OPEN: CALLS, CALLS[0]: [CLOSE], CALLS[1]: [CLOSE], CLOSE: [END]}
SURE = 40.0


def tokenizer(texts: Iterable[str]) -> Any:
    """Pairs of bytes as in these texts; a call of a tool is one token; the chat template is that of Qwen 2.5 in TRL."""
    import trl
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1000, initial_alphabet=letters, show_progress=False)
    )
    words.add_special_tokens([AddedToken(each, special=True) for each in (PAD, START, END)])
    words.add_tokens([AddedToken(each, normalized=False) for each in (OPEN, CLOSE, *CALLS)])
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END, pad_token=PAD, chat_template=template)


def model(words: Any) -> Any:
    """Two layers of Qwen 2 that pass on what they get, and an output that knows what follows."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 16384}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False}
    ends = {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    made = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(words), **shape, **heads, **ends))
    with torch.no_grad():
        for layer in made.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        states = made.model.norm(made.model.embed_tokens.weight)  # of length sqrt(128)
        for before, after in NEXT.items():
            (number,) = words(before, add_special_tokens=False)["input_ids"]
            for each in after:
                (then,) = words(each, add_special_tokens=False)["input_ids"]
                made.lm_head.weight[then] += states[number] * SURE / 128
    return made
