"""A tiny world for agents: a folder, a real shell, battle of the sexes as the game, and a loop that drives an agent."""

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

from mlgym.models.scripted import Scripted
from mlgym.records import Action, Brief, Checkpoint, Limits, Message, Move, Observation, Reply, Restore

STRATEGY = '''"""The starter's strategy."""

import random


def row_strategy(history):
    """0 or 1, from the list of (row, column) so far."""
    if len(history) == 0:
        return 0
    rnum = random.random()
    if rnum < 0.1:
        return 0
    elif rnum < 0.2:
        return 1
    elif rnum < 0.9:
        return history[-1][1]
    else:
        return history[-1][0]
'''


def tool(name: str, **properties: str) -> dict[str, Any]:
    """A function schema with text arguments."""
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


MODERN = (tool("bash", command="string"), tool("validate"), tool("submit"))
CLASSIC = (tool("open", path="string"), tool("edit", text="string"), tool("validate"), tool("submit"))


def play(source: str, seed: int, games: int = 400) -> float:
    """The mean pay-off of the row player of `source`, by the rules of battle of the sexes."""
    scope: dict[str, Any] = {}
    exec(source, scope)
    random.seed(seed)
    total = 0
    for _ in range(games):
        history: list[tuple[int, int]] = []
        for turn in range(10):
            copied = turn == 0 or random.random() < 0.8
            column = 1 if turn == 0 else history[0][0] if copied else 1 - history[0][0]
            row = scope["row_strategy"](list(history))
            total += {(0, 0): 2, (1, 1): 1}.get((row, column), 0)
            history.append((row, column))
    return total / (10 * games)


class Watched(Scripted):
    """A scripted model that keeps the messages that it was sent and the tools that it was offered, of each call."""

    def __init__(self, script: Any, **options: Any) -> None:
        super().__init__(script, **options)
        self.native: bool | None = None
        self.sent: list[list[Message]] = []
        self.offered: list[list[Any]] = []

    def __call__(self, messages: Any, tools: Any) -> Reply:
        self.sent.append(list(messages))
        self.offered.append(list(tools))
        return super().__call__(messages, tools)


class World:
    """Runs actions in a folder; `validate` plays the game. `seen` lists actions and observations, `moves` also what was
    saved and gone back to, which is no step.
    """

    def __init__(
        self, folder: Path, *, tools: tuple[dict[str, Any], ...] = MODERN, steps: int = 50, seed: int = 0
    ) -> None:
        self.folder = folder
        self.seen: list[tuple[Action, Observation]] = []
        self.moves: list[tuple[Move, Observation]] = []
        self.steps = steps
        self.submitted = False
        (folder / "strategy.py").write_text(STRATEGY)
        self.brief = Brief(
            task="battle-of-sexes",
            title="Battle of the sexes",
            instruction="Play well.",
            tools=tools,
            limits=Limits(steps=steps),
            metric="Score",
            direction="maximize",
            baseline={"scores": {"Score": 1.0227}, "command": "", "files": ["strategy.py"]},
            seed=seed,
            machine={"processors": 2, "packages": [], "network": "none"},
        )

    def step(self, action: Action) -> Observation:
        """Do one action."""
        self.steps -= 1
        text, validation, name = "", None, action.tool or action.args["text"].strip()
        status: Literal["ok", "error"] = "ok"
        if name == "validate":
            try:
                validation = {"Score": play((self.folder / "strategy.py").read_text(), 1)}
                text = f"Score {validation['Score']}"
            except Exception as error:
                text = f"The submission is invalid: {error}"
        elif name == "submit":
            self.submitted, text = True, "Submitted."
        else:
            command = action.args.get("command", name)
            done = subprocess.run(["bash", "-c", command], cwd=self.folder, capture_output=True, text=True, check=False)
            text, status = done.stdout + done.stderr, "error" if done.returncode else "ok"
        return Observation(text=text, status=status, validation=validation, steps_left=self.steps, tool=name)

    def keep(self, move: Checkpoint | Restore) -> Observation:
        """Save the folder, or go back to what was saved."""
        kept = self.folder.with_name(f"{self.folder.name}-{move.name}")
        here, there = (self.folder, kept) if isinstance(move, Checkpoint) else (kept, self.folder)
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(here, there)
        return Observation(text="", steps_left=self.steps)

    def drive(self, flow: Any) -> list[Action]:
        """Run an agent to its end, the submission or the last step; its actions."""
        action = next(flow, None)
        while action is not None:
            if isinstance(action, Action):
                observation = self.step(action)
                self.seen.append((action, observation))
            else:
                observation = self.keep(action)
            self.moves.append((action, observation))
            if self.submitted or self.steps <= 0:
                flow.close()
                break
            try:
                action = flow.send(observation)
            except StopIteration:
                break
        return [action for action, _ in self.seen]


def alone(task: Path, place: Path) -> Path:
    """A copy of a task, in the new folder `place`, whose data no other test has: they can be spoilt."""
    shutil.copytree(task, place)
    with (place / "task.py").open("a") as code:
        code.write(f"\n# {place}\n")
    return place
