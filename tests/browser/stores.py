"""Stores made for the viewer's tests: episodes written as records, without an agent having run.

A run `first` of two tasks, three methods and two seeds, and a run `second` of one episode. STORY is an episode with
everything a page can show, OTHER a short one of the same task, TREE one of a search agent; others failed or never came.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlgym import beside
from mlgym.disk import append_line
from mlgym.driver import Driver
from mlgym.records import (
    Action,
    Attempt,
    Changes,
    Cost,
    EpisodeSpec,
    Limits,
    Message,
    Observation,
    Reply,
    Result,
    Step,
    ToolCall,
)
from mlgym.store import Episode, episode_folder, slug
from mlgym.task import load_task
from mlgym.tools.windows import numbered

GAME, HOUSES = "battle-of-sexes", "house-price"
TALKER: dict[str, Any] = {"agent": "react", "model": "openai/some-model"}
STORY, OTHER, TREE = (
    f"first/{GAME}/{slug('react openai/some-model')}/0",
    f"first/{GAME}/tuner/0",
    f"first/{GAME}/tree/0",
)
NEEDLE = "zebra crossing"
START = 'def row_strategy(history):\n    """Return 0 or 1."""\n    return 0\n'
SECOND = START.replace("return 0\n", "return 1\n")
BETTER = START.replace("return 0\n", "return history[-1][1] if history else 0\n")
CHANGED = {  # what the steps of STORY leave
    2: {"strategy.py": START},
    4: {"strategy.py": SECOND},
    6: {"train.py": "import numpy\n\nboom()\n"},
    11: {"notes.txt": f"one\ntwo\n{NEEDLE}\n"},
    12: {"strategy.py": BETTER},
}
TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\n    boom()\nNameError: boom\n'
Told = tuple[str, dict[str, Any], str]


def step(n: int, told: Told, **more: Any) -> Step:
    """A step of a tool, its arguments and what came back; `more` are fields of the step or of its two records."""
    tool, args, text = told
    action = {key: more.pop(key) for key in ("thought", "call", "id") if key in more}
    seen = {key: more.pop(key) for key in ("status", "hit", "validation", "money_left") if key in more}
    clocks = {"command_s": 0.5, "model_s": 2.0}
    return Step(
        n=n,
        action=Action(tool=tool, args=args, **action),
        observation=Observation(text=text, tool=tool, steps_left=50 - n, **seen),
        **{**clocks, **more},
    )


def story() -> Iterator[Step]:
    """Twenty-four steps with a little of everything: 12 changes strategy.py, 8 fails, 9 runs too long."""
    yield step(1, ("bash", {"command": "ls -la"}, "strategy.py\n"), thought="First I **look** around.", calls=1)
    yield step(2, ("create", {"path": "strategy.py", "content": START}, "strategy.py is written."), calls=2)
    long = "".join(f"epoch {n}: loss {1 / n:.4f}\n" for n in range(1, 501))
    yield step(3, ("bash", {"command": "python train.py"}, long), thought="A long one.\n" * 60, calls=3, command_s=60.0)
    edit = {"path": "strategy.py", "old": "    return 0\n", "new": "    return 1\n"}
    yield step(4, ("str_replace", edit, "strategy.py has been changed."), calls=4)
    yield step(5, _validated(1.05), validation={"score": 1.05}, attempt=0, reward=0.1, grader_s=1.0, calls=5)
    yield step(
        6, ("create", {"path": "train.py", "content": "import numpy\n\nboom()\n"}, "train.py is written."), calls=6
    )
    yield step(7, ("bash", {"command": "grep -rn zebra ."}, f"notes.txt:1:{NEEDLE}\n"), call="c1", calls=7)
    yield step(8, ("bash", {"command": "python train.py"}, TRACEBACK), status="error", call="c1", calls=7)
    yield step(9, ("bash", {"command": "sleep 9999"}, "stopped"), status="timeout", hit="timeout", calls=8)
    yield step(10, ("bash", {"command": "nvidia-smi --json"}, json.dumps({"cards": [], "load": 0.5})), calls=9)
    yield step(
        11, ("insert", {"path": "notes.txt", "line": 0, "text": "one\ntwo\n"}, "notes.txt has changed."), calls=10
    )
    edit = {"path": "strategy.py", "old": "return 1", "new": "return history[-1][1] if history else 0"}
    yield step(12, ("str_replace", edit, "strategy.py has been changed."), thought="Follow the other player.", calls=11)
    yield step(13, _validated(1.25), validation={"score": 1.25}, attempt=1, reward=0.3, grader_s=1.0, calls=12)
    window = numbered("strategy.py", BETTER.splitlines(), 1, 3)
    yield step(14, ("view", {"path": "strategy.py"}, window), calls=13)
    for n in range(15, 24):
        yield step(n, ("bash", {"command": f"echo round {n}"}, f"round {n}\n"), thought=f"Round {n}.", calls=n - 1)
    yield step(24, ("submit", {}, "Submitted."), status="end", attempt=2, reward=0.1, calls=23)


def _validated(score: float) -> Told:
    return "validate", {}, f"Your scores on the validation split: score {score}"


def searched() -> Iterator[Step]:
    """Steps of a search agent: three branches from the beginning, and one from the second."""
    told = [((), 1.0), (("+a", "-a"), 1.1), (("+b", "-a"), 0.9), (("+c", "-b"), 1.3)]
    for n, (marks, score) in enumerate(told, 1):
        write = {"command": f"echo 'return {n}' > strategy.py"}
        yield step(2 * n - 1, ("bash", write, ""), thought=f"Idea {n}.", marks=marks)
        yield step(2 * n, _validated(score), validation={"score": score}, attempt=n - 1)
    yield step(9, ("submit", {}, "Submitted."), status="end", attempt=4)


def plain(score: float) -> Iterator[Step]:
    """Look, change, validate, submit."""
    yield step(1, ("bash", {"command": "ls"}, "strategy.py\n"), thought="Look.")
    yield step(2, ("bash", {"command": f"echo {score} > strategy.py"}, ""), thought="Change it.")
    yield step(3, _validated(score), validation={"score": score}, attempt=0)
    yield step(4, ("submit", {}, "Submitted."), status="end", attempt=1)


def episode(
    run: Path, task: str, steps: Sequence[Step], *, seed: int = 0, ended: str = "submitted", **more: Any
) -> Path:
    """Store an episode of these steps, with a call of the model for each where it has one; its folder.

    Where `ended` is empty it has no result. `more` are fields of the result, `spec` of the spec, and `changed` what the
    steps left of files.
    """
    home = load_task(task)
    spec: dict[str, Any] = {"agent": "tuner", **more.pop("spec", {})}
    about = EpisodeSpec(task=home.reference, version=home.version, seed=seed, limits=Limits(steps=50), **spec)
    folder = episode_folder(run, about)
    store = Episode.open(folder, about)
    for n, files in more.pop("changed", {}).items():
        data = {name: text.encode() for name, text in files.items()}
        kept = {name: hashlib.sha256(each).hexdigest() for name, each in data.items()}
        store.add_changes(Changes(n=n, files=kept), dict(zip(kept.values(), data.values(), strict=True)))
    for each in steps:
        store.add_step(each)
    if about.model:
        _talk(store, steps)
    attempts = [_attempt(store, home.metric, each) for each in steps if each.attempt is not None]
    if ended:
        store.finish(_result(home, attempts, steps, ended, more))
    store.close()
    return folder


def _talk(store: Episode, steps: Sequence[Step]) -> None:
    said = [Message(role="system", content="You do research."), Message(role="user", content="Begin.")]
    for n in range(1, steps[-1].calls + 1):
        taken = [each for each in steps if each.calls == n]
        calls = tuple(
            ToolCall(id=f"call-{each.n}", name=each.action.tool, arguments=json.dumps(each.action.args))
            for each in taken
        )
        thought = taken[0].action.thought
        reply = Reply(
            text=thought,
            calls=calls,
            tokens_in=900 + 100 * n,
            tokens_cached=800,
            tokens_out=40,
            money=0.01,
            stop="tool_calls",
            model="some-model-2026",
            seconds=2.0,
            reasoning="Let me think.",
            upstream="somebody",
        )
        store.add_call(said, [{"function": {"name": "bash"}}, {"function": {"name": "validate"}}], reply)
        said.append(Message(role="assistant", content=thought, calls=calls))
        said += [Message(role="tool", content=each.observation.text, id=f"call-{each.n}") for each in taken]


def _attempt(store: Episode, metric: str, at: Step) -> Attempt:
    text = (BETTER if at.n >= 12 else SECOND).encode()
    digest = hashlib.sha256(text).hexdigest()
    store.file(digest).write_bytes(text)
    shown = next(iter((at.observation.validation or {"": 1.2}).values()))
    attempt = Attempt(
        n=at.attempt or 0,
        step=at.n,
        kind="submit" if at.observation.status == "end" else "validate",
        files={"strategy.py": digest},
        valid=True,
        validation={metric: shown},
        test={metric: shown - 0.01},
        stage="graded",
    )
    store.add_attempt(attempt)
    return attempt


def _result(home: Any, attempts: Sequence[Attempt], steps: Sequence[Step], ended: str, more: dict[str, Any]) -> Result:
    anchors = home.anchors.baseline if home.anchors else {}
    best = max((a.test for a in attempts if a.test), key=lambda scores: scores[home.metric], default=None)
    given: dict[str, Any] = {
        "ended": ended,
        "metric": home.metric,
        "attempts": tuple(attempts),
        "final": attempts[-1].test if attempts else None,
        "selected": best,
        "best": best,
        "baseline": {split: {home.metric: value} for split, value in anchors.items()},
        "progress": 0.5 if attempts else -1.0,
        "steps": len(steps),
        "cost": Cost(money=0.23, tokens_in=50_000, tokens_out=920, tokens_cached=18_400, calls=23, command_s=70.0),
    }
    return Result(**{**given, **more})


def store(place: Path) -> Path:
    """The store of most tests; its folder."""
    run = place / "first"
    found = {"strategy.py": (load_task(GAME).workspace / "strategy.py").read_text()}
    episode(run, GAME, list(story()), spec=TALKER, changed={0: found, **CHANGED})
    episode(run, GAME, list(plain(1.1)), seed=1, spec=TALKER, progress=0.3)
    episode(run, GAME, list(plain(1.2)), progress=0.7)
    episode(run, GAME, [], seed=1, ended="error", boundary="agent", why="The agent raised NameError.", progress=-1.0)
    episode(run, GAME, list(searched()), spec={"agent": "tree"}, progress=0.9)
    for seed in range(2):
        episode(run, HOUSES, list(plain(0.85 + seed / 50)), seed=seed, progress=0.1 + seed / 4)
    lost = episode(run, HOUSES, [], seed=1, ended="", spec={"agent": "tree"})
    beside.add_try(lost, "model", "The provider answered 503.")
    episode(place / "second", HOUSES, list(plain(0.9)), progress=0.2)
    return place


@contextmanager
def running(run: Path, steps: int = 3) -> Iterator[Callable[[], int]]:
    """An episode of `run` that has taken some steps and runs while this is open; calling it takes one step more."""
    folder = episode(run, HOUSES, list(story())[:steps], ended="", spec=TALKER)
    taken = steps

    def go_on() -> int:
        nonlocal taken
        taken += 1
        told = ("bash", {"command": f"echo grown {taken}"}, f"grown {taken}\n")
        append_line(folder / "steps.jsonl", step(taken, told, calls=steps).model_dump_json().encode())
        return taken

    with Driver(run) as driver:
        driver.runs(["/".join(folder.parts[-3:])])
        yield go_on
