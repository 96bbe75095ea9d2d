"""TRL's GRPOTrainer takes a step with the environments, where a tiny model calls tools, and one with the engine."""

import os
import tempfile
import time

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import tiny
import torch
from trl import GRPOConfig, GRPOTrainer

from mlgym.adapters.trl import MlgymSpec

CALLS = [
    '<tool_call>\n{"name": "bash", "arguments": {"command": "echo def row_strategy\\\\(h\\\\): return 0 > strategy.py"}}'
    "\n</tool_call><|im_end|>",
    '<tool_call>\n{"name": "submit", "arguments": {}}\n</tool_call><|im_end|>',
    "Done.<|im_end|>",
]
WORD = "<|im_start|>assistant\n"


def trainer(folder: str, spec: MlgymSpec, **how: object) -> GRPOTrainer:
    words = tiny.tokenizer()
    args = GRPOConfig(
        folder,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=512,
        max_steps=1,
        learning_rate=1e-3,
        use_cpu=True,
        bf16=False,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    return GRPOTrainer(
        tiny.model(words), spec.reward_funcs, args, train_dataset=spec.train_dataset, processing_class=words, **how
    )


def teach(model: torch.nn.Module, words: object) -> None:
    """Make the model say the calls, one after another, whatever it is told: half a minute, by heart."""
    raise NotImplementedError


def main() -> None:
    torch.set_num_threads(1)
