"""The pictures of docs/view.md: `python -m benchmarks.screenshots [OUT]` runs some agents and takes pictures of them.

Played are two games by a model whose replies stand below, by the controls and by a search, in about a minute; the
pictures go to docs/screenshots. The model's tokens and dollars are made up, everything else is what came of it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlgym.records import Message

GAME, OTHER = "battle-of-sexes", "prisoners-dilemma"
MODEL = "scripted/screenshots:plan"
METHODS = ["tuner?trials=5", "random?trials=5", "tree?nodes=7", "nop"]
TRY = '''"""Play the strategy against one that mostly copies the last move."""
import random

from strategy import row_strategy


def play(rounds=1000):
    history, total = [], 0
    for _ in range(rounds):
        move = row_strategy(history)
        other = history[-1][0] if history and random.random() < 0.8 else random.choice((0, 1))
        total += {(0, 0): 2, (1, 1): 1}.get((move, other), 0)
        history.append((move, other))
    return total / rounds


if __name__ == "__main__":
    scores = [play() for _ in range(50)]
    print("mean", mean(scores))
'''
CONSTANT = "    return 0  # insist: a player that follows gives in\n"
OLD = """    own, opponent = history[-1]
    luck = random.random()
"""
NEW = """    own, opponent = history[-1]
    if [move for _, move in history[-3:]] == [0, 0, 0]:
        return 0
    luck = random.random()
"""


def call(text: str, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A reply with thoughts and tool calls."""
    return {"text": text, "calls": [{"name": name, "arguments": arguments} for name, arguments in calls]}


def bash(text: str, command: str) -> dict[str, Any]:
    """A reply with one command."""
    return call(text, ("bash", {"command": command}))


REPLIES = [
    bash("I look at what is here first.", "ls -la && cat strategy.py"),
    bash("", "python --version"),
    call(
        "The real opponent is hidden, so I write one of my own to try ideas on.",
        ("create", {"path": "try.py", "content": TRY}),
    ),
    bash("How good is the starter against it?", "python try.py"),
    call(
        "`mean` is not imported.",
        (
            "str_replace",
            {"path": "try.py", "old": "import random\n", "new": "import random\nfrom statistics import mean\n"},
        ),
    ),
    bash("", "python try.py"),
    call("A first score of the starter, to know where it stands.", ("validate", {})),
    call(
        "Following the opponent gives away the better meeting. I repeat my own move more often.",
        ("str_replace", {"path": "strategy.py", "old": "REPEAT_OPPONENT = 0.7", "new": "REPEAT_OPPONENT = 0.2"}),
        ("str_replace", {"path": "strategy.py", "old": "REPEAT_OWN = 0.1", "new": "REPEAT_OWN = 0.6"}),
    ),
    call("", ("validate", {})),
    bash("Better. Does it find the rest by itself?", "for i in 1 2 3; do python try.py; done"),
    call(
        "Once the other has come to 0 three times, it stays there: then I stay too.",
        ("str_replace", {"path": "strategy.py", "old": OLD, "new": NEW}),
    ),
    call("", ("validate", {})),
    bash(
        "Why is luck left in it at all? I try the constant.",
        f"printf 'def row_strategy(history):\\n{CONSTANT}' > strategy.py",
    ),
    call("", ("validate", {})),
    call("This is as good as the theory says. I hand it in.", ("submit", {})),
]
ELSEWHERE = [
    bash("What is given?", "cat strategy.py"),
    call("I hand in what is there.", ("validate", {}), ("submit", {})),
]


def plan(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The replies to one game, shorter ones elsewhere; tokens as long texts have them, at a dollar a million."""
    told = "".join(message.content for message in messages[:2])
    replies = REPLIES if "row_strategy" in told and "Battle" in told else ELSEWHERE
    n = sum(message.role == "assistant" for message in messages)
    sent = sum(len(message.content) for message in messages) // 4
    return {
        **replies[min(n, len(replies) - 1)],
        "tokens_in": sent,
        "tokens_out": 80,
        "money": sent / 1e6,
        "seconds": 1.5,
    }


def played(run: Path) -> None:
    """Run the agents into the folder `run`."""
    mlgym = [sys.executable, "-m", "mlgym", "run", GAME, OTHER, "-o", str(run)]
    model = ["--agent=react", f"--model={MODEL}"]
    for more in (model, ["-k3", *(f"--agent={agent}" for agent in METHODS)]):
        subprocess.run(
            [*mlgym, *more], env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "benchmarks"])}, check=True
        )


def main(out: str = "docs/screenshots", run: str = "") -> None:
    """Run the agents, unless `run` is where that was done, then take the pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        found = Path(run) if run else Path(scratch) / "games"
        if not found.exists():
            played(found)
        folders = [sorted((found / GAME).glob(f"{name}*/0"))[0] for name in ("react", "tuner", "tree")]
        keys = ["/".join((found.name, *folder.parts[-3:])) for folder in folders]
        take = [sys.executable, "-m", "tests.browser.screenshots", out, str(found), *keys]
        subprocess.run(take, env={**os.environ, "PYTHONPATH": str(Path("src").absolute())}, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
