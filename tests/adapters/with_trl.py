"""TRL's GRPOTrainer takes a step with the environments, whose tools a tiny model calls, and one with the engine."""

import copy
import os
import tempfile
import warnings
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
warnings.simplefilter("ignore", FutureWarning)

import tiny
import torch
from trl import GRPOConfig, GRPOTrainer

from mlgym.adapters.trl import MlgymSpec

GROUP = 6


def trained(spec: MlgymSpec, words: Any, **how: Any) -> tuple[dict[str, Any], bool]:
    """What the trainer logs of one step, and whether the step changed the model."""
    model = tiny.model(words)
    with tempfile.TemporaryDirectory() as folder:
        args = GRPOConfig(
            folder,
            per_device_train_batch_size=GROUP,
            num_generations=GROUP,
            max_completion_length=600,
            max_tool_calling_iterations=4,
            max_steps=1,
            learning_rate=1e-3,
            use_cpu=True,
            bf16=False,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=2,  # with which the rollouts of either way differ in their reward
        )
        trainer = GRPOTrainer(
            model, spec.reward_funcs, args, train_dataset=spec.train_dataset, processing_class=words, **how
        )
        before = copy.deepcopy(model.state_dict())
        trainer.train()
        after = trainer.model.state_dict()
        same = all(torch.equal(before[name], after[name]) for name in before)
        return trainer.state.log_history[0], not same


def main() -> None:
    torch.set_num_threads(1)
    spec = MlgymSpec("battle-of-sexes", split="eval", engine={"protocol": "tools", "prompt": "brief"})
    row = spec.train_dataset[0]
    drawn = MlgymSpec("duel-s4711-d0.123").train_dataset[0]
    assert drawn["task"] == "duel-s4711-d0.123" and "4711" not in str(drawn["prompt"]), (
        "who knows the id can draw again"
    )
    environment = spec.environment_factory()
    words = tiny.tokenizer([environment.reset(**row)])

    # by hand: calls after the end change nothing, a deadline ends an episode as it stands
    environment.bash(command=tiny.BETTER.replace("\\\\", "\\"))
    assert "over" in environment.submit() and environment.get_reward() > 0.9
    assert "ended" in environment.bash("echo 1 > strategy.py") and environment.get_reward() > 0.9
    late = MlgymSpec("battle-of-sexes", split="eval", deadline=1.0).environment_factory()
    late.reset(**row)
    late.bash(command=tiny.BETTER.replace("\\\\", "\\"))
    said = late.bash(command="sleep 30")
    assert "Stopped after" in said and "ended: time" in late.bash("ls") and late.get_reward() > 0.9, said

    by_tools, changed = trained(spec, words, environment_factory=spec.environment_factory)
    assert changed and by_tools["tools/call_frequency"] >= 1 and by_tools["tools/failure_frequency"] == 0, by_tools
    assert 0 < by_tools["reward"] < 1 and by_tools["reward_std"] > 0.1, by_tools
    by_engine, changed = trained(spec, words, rollout_func=spec.rollout_func)
    assert changed and 0 < by_engine["reward"] < 1 and by_engine["reward_std"] > 0.1, by_engine
    rewards = f"{by_tools['reward']:.3f}, and with rollout_func, {by_engine['reward']:.3f}"
    print(f"a step of GRPOTrainer with environment_factory, reward {rewards}")


if __name__ == "__main__":
    main()
