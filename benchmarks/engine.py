"""The rollout engine from 1 to 128 environments: python benchmarks/engine.py [--write] [--most 128] [--times 2].

Three policies, each through the real environment and grader of examples/guess: one whose commands sleep half a second
(what waits must overlap), one whose commands are short (what the engine itself and the sandboxes cost), and a random
transformer of 0.1 million parameters, which is sampled in batches. For N environments there are `--times` N rollouts,
each of two commands and its grading. Seconds of model and environments are sums over all rollouts: where they are more
than the wall clock, they overlapped.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import record

from mlgym.rl import Engine, Row, ScriptedPolicy, TorchPolicy
from mlgym.sandbox import choose

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
MARKS = ("<|im_end|>", "<|im_start|>")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny() -> TorchPolicy:
    """A random Qwen2 of two layers over bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.set_num_threads(1)
    bytes_ = Tokenizer(models.BPE({each: n for n, each in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_, eos_token=MARKS[0], additional_special_tokens=[MARKS[1]], chat_template=CHATML
    )
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    return TorchPolicy(Qwen2ForCausalLM(config), tokenizer, name="tiny")


POLICIES: dict[str, Callable[[], Any]] = {
    "sleeps 0.5 s, twice": lambda: ScriptedPolicy(["sleep 0.5"]),
    "short commands": lambda: ScriptedPolicy(["echo 30 > guess.txt", "ls"]),
    "a transformer, 32 tokens a reply": tiny,
}


def main() -> None:
    """Print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/engine.md")
    parser.add_argument("--most", type=int, default=128)
    parser.add_argument("--times", type=int, default=2)
    args = parser.parse_args()
    rows = []
    for name, make in POLICIES.items():
        policy, n = make(), 1
        while n <= args.most:
            engine = Engine(policy, environments=n, protocol="plain", max_tokens=32, limits={"steps": 2})
            began = time.perf_counter()
            found = engine.rollout([Row(GUESS, seed) for seed in range(args.times * n)])
            wall = time.perf_counter() - began
            assert all(each.reward is not None for each in found), [each.why for each in found]
            turns = [turn for each in found for turn in each.turns]
            model, environment = sum(turn.model_s for turn in turns), sum(turn.env_s for turn in turns)
            figures = (len(found) / wall, len(turns) / wall, model, environment, wall)
            rows.append((name, str(n), *(f"{figure:.2f}" for figure in figures)))
            print(*rows[-1], flush=True)
            n *= 2
    head = ("policy", "environments", "rollouts/s", "steps/s", "model s", "environment s", "wall s")
    record("engine", head, rows, args.write, choose().name)


if __name__ == "__main__":
    main()
