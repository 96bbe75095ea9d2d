"""`vf-eval` evaluates a scripted model, behind a server of its own, on a task: rewards, components and traces."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from servers import OpenAIServer

from mlgym.adapters.verifiers import MlgymConfig, MlgymTaskset

BETTER = r"printf 'def row_strategy(history):\n    return 0\n' > strategy.py"
SCRIPT = [
    "I look around first.",  # no call: an answer in words
    {"calls": [("bash", {"command": BETTER})]},
    {"calls": [("bash", "{broken"), ("validate", {})]},
    {"calls": [("end", {"reason": ""})]},
    {"calls": [("submit", {})]},
]


def endless() -> None:
    """A family's tasks never end, and are made as they are asked for."""
    taskset = MlgymTaskset(MlgymConfig(family="duel", difficulty=0.4, seeds=2))
    assert not taskset.bounded
    assert [task.data.task for task in taskset.take(3)] == ["duel-s0-d0.4", "duel-s0-d0.4", "duel-s1-d0.4"]


def main() -> None:
    endless()
    program = Path(sys.executable).parent / "vf-eval"
    with tempfile.TemporaryDirectory() as folder, OpenAIServer(SCRIPT) as server:
        options = {
            "--env.taskset.tasks": "battle-of-sexes",
            "--env.taskset.seeds": "2",
            "--num-rollouts": "2",
            "--env.agent.runtime.type": "subprocess",
            "--model": "scripted",
            "--client.base-url": server.url,
            "--client.api-key-var": "SCRIPTED_KEY",
            "--output-dir": folder,
        }
        words = [word for pair in options.items() for word in pair]
        command = [str(program), "mlgym_verifiers", *words, "--no-push"]
        ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SCRIPTED_KEY": "none"})
        assert ran.returncode == 0, ran.stdout + ran.stderr
        (file,) = Path(folder).rglob("traces.jsonl")
        traces = [trace for line in file.read_text().splitlines() for trace in json.loads(line)["traces"]]
    assert len(traces) == 4 and all(trace["ok"] for trace in traces), [trace["errors"] for trace in traces]
    for trace in traces:
        told = trace["info"]["mlgym"]
        assert told["status"] == "submitted" and abs(told["progress"] - 1) < 0.05 and told["steps"] == 6, told
        assert abs(trace["rewards"]["reward"]["score"] - told["reward"]) < 1e-4, trace["rewards"]
        assert trace["metrics"]["format"] < 0 and len(trace["tools"]) > 5, trace["metrics"]
    rewards = [trace["info"]["mlgym"]["reward"] for trace in traces]
    print(f"vf-eval plays {len(traces)} episodes of {len(SCRIPT)} replies, reward {sum(rewards) / len(rewards):.3f}")


if __name__ == "__main__":
    main()
