"""`datasets` loads every format from JSON lines and from Parquet, and TRL's trainers take a step with theirs.

`with_exports.py FOLDER` does so with the exports in a folder, FORMAT-jsonl and FORMAT-parquet.
"""

import copy
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

import torch
import trl
from datasets import Dataset, load_dataset
from exports import FORMATS, exports
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
ROWS, TOKENS = 4, 4096
STEP = {
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-2,
    "max_length": TOKENS,
    "use_cpu": True,
    "bf16": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
}


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and the chat template of Qwen 3."""
    words = Tokenizer(
        models.BPE(vocab={c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens([START, END, PAD])
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END, pad_token=PAD, chat_template=template)


def model(words: Any) -> Any:
    """Random weights."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "max_position_embeddings": 65536}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": words.pad_token_id}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=len(words), **shape, **heads, eos_token_id=words.eos_token_id))


def loaded(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The rows of each format and split; those of JSON lines and of Parquet must be the same, but for digits."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in FORMATS:
        if not (folder / f"{name}-jsonl").exists():
            continue
        both = [
            load_dataset(str(folder / f"{name}-{kind}"), cache_dir=str(folder / "cache"))
            for kind in ("jsonl", "parquet")
        ]
        rows, other = ({split: list(data) for split, data in each.items()} for each in both)
        assert same(rows, other), f"{name} is not the same in both"
        assert any(rows.values()), f"{name} is empty"
        found[name] = both[1]
    return found


def same(one: Any, other: Any) -> bool:
    """Whether both are the same, but for the digits of numbers: `datasets` reads ten of them from JSON lines."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-8, abs_tol=1e-8)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def same_arguments(folder: Path, data: Any) -> int:
    """How many calls came back with their arguments as they were written."""
    count = 0
    for split, rows in data.items():
        files = sorted((folder / "chat-jsonl" / "data").glob(f"{split}-*"))
        written = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        for row, own in zip(rows, written, strict=True):
            for message, as_written in zip(row["messages"], own["messages"], strict=True):
                calls = [call["function"]["arguments"] for call in message["tool_calls"] or []]
                assert calls == [call["function"]["arguments"] for call in as_written.get("tool_calls", [])]
                count += len(calls)
            assert row["tools"] is None or json.loads(row["tools"])[0]["type"] == "function"
    return count


def short(data: Any, *parts: str) -> Dataset:
    """Rows that a step is quick with: the shortest."""
    rows = [row for split in data.values() for row in split]
    size = lambda row: sum(len(json.dumps(row[part])) for part in parts)  # noqa: E731
    kept = ("messages", "prompt", "chosen", "rejected", "completion", "label", "tools")
    told = [{key: row[key] for key in kept if key in row} for row in sorted(rows, key=size)[:ROWS]]
    for row in told:
        row["tools"] = json.dumps(json.loads(row["tools"])[:1]) if row["tools"] else None
    return Dataset.from_list(told, on_mixed_types="use_json")


def step(kind: Any, config: Any, data: Dataset, words: Any, **how: Any) -> float:
    """The loss of a step, which must change the weights."""
    own = model(words)
    before = copy.deepcopy(own.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        more = {} if kind is SFTTrainer else {"ref_model": model(words)}
        args = config(folder, **STEP, **how)
        trainer = kind(own, args=args, train_dataset=data, processing_class=words, **more)
        trainer.train()
        after = trainer.model.state_dict()
        loss = next(row["loss"] for row in trainer.state.log_history if "loss" in row)
    assert any(not torch.equal(before[name], after[name]) for name in before), f"{kind.__name__} changed nothing"
    return float(loss)


def main() -> None:
    torch.set_num_threads(1)
    with exports() as folder:
        data = loaded(folder)
        calls = same_arguments(folder, data["chat"])
        rows = sum(len(split) for each in data.values() for split in each.values())
        words = tokenizer()
        losses = {
            "SFT": step(SFTTrainer, SFTConfig, short(data["chat"], "messages"), words, assistant_only_loss=True),
            "DPO": step(DPOTrainer, DPOConfig, short(data["preferences"], "prompt", "chosen", "rejected"), words),
            "KTO": step(KTOTrainer, KTOConfig, short(data["kto"], "prompt", "completion"), words),
        }
    told = ", ".join(f"{name} loss {loss:.3f}" for name, loss in losses.items())
    print(f"{rows} rows of {len(data)} formats, JSON lines as Parquet; {calls} calls kept their arguments; {told}")


if __name__ == "__main__":
    main()
