"""Stores to look at, made and not run: thousands of ordinary episodes, and one whose steps are 50 MB.

    python -m benchmarks.viewing_store FOLDER [EPISODES] [MEGABYTES]

The records are those that episodes write, with drawn texts: shell commands, listings, logs of training, tables,
tracebacks. FOLDER/run-00 and so on hold ten tasks x ten methods x five seeds each, FOLDER/long one episode.
"""

import hashlib
import json
import random
import sys
import time
from pathlib import Path

from mlgym.metrics import progress
from mlgym.records import (
    Action,
    Attempt,
    Cost,
    EpisodeSpec,
    Limits,
    Message,
    Observation,
    Record,
    Reply,
    Result,
    Scores,
    Step,
    ToolCall,
)  # fmt: skip
from mlgym.store import episode_folder
from mlgym.task import Task, load_task

TASKS = (
    "3sat", "battle-of-sexes", "blotto", "breakout", "fashion-mnist",
    "house-price", "meta-maze", "mountain-car", "prisoners-dilemma", "titanic",
)  # fmt: skip
METHODS = [
    *(("react", f"openai/example-{size}") for size in ("large", "medium", "small")),
    *((f"react?window={n}", "anthropic/example") for n in (5, 10)),
    *((f"tree?width={n}", "vllm/example") for n in (2, 3)),
    *((f"tuner?trials={n}", "") for n in (10, 20, 40)),
]
SEEDS = 5
VOCABULARY = """
accuracy adam baseline batch best bias boost branch column cross data depth dropout early encoder epoch error
estimator feature file fold forest gradient head hidden import index label layer learning loss margin matrix mean
memory metric model momentum network noise numpy optimizer output overfit pandas parameter pickle policy prediction
random rate regression residual result sample scale schedule score seed sigma split stack step strategy submission
target tensor test train tree tune validation value variance vector warmup weight window zero
"""
WORDS = VOCABULARY.split()
LONG, LONG_STEPS = ("house-price", "react", "openai/example-large"), 3000


def many(folder: Path, episodes: int = 5000, seed: int = 0) -> int:
    """Make a store of so many ended episodes in `folder`; how many steps they have."""
    draw, tasks, steps = random.Random(seed), [load_task(name) for name in TASKS], 0
    texts = [observation(draw) for _ in range(2000)]
    for n in range(episodes):
        place, own = divmod(n, len(TASKS) * len(METHODS) * SEEDS)
        rest, number = divmod(own, SEEDS)
        task, (agent, model) = tasks[rest // len(METHODS)], METHODS[rest % len(METHODS)]
        limits = Limits(steps=50, money=4.0 if model else None)
        spec = EpisodeSpec(
            task=task.name, version=task.version, agent=agent, model=model, seed=number, tools="modern", limits=limits
        )
        steps += one(episode_folder(folder / f"run-{place:02d}", spec), spec, task, draw, texts)
    return steps


def one(folder: Path, spec: EpisodeSpec, task: Task, draw: random.Random, texts: list[str]) -> int:
    """Make an ended episode; how many steps it has."""
    count, skill = draw.randint(8, 40), draw.random()
    steps, calls, attempts, money = list[Step](), list[dict[str, object]](), list[Attempt](), 0.0
    source = f"import numpy as np\n\nRATE = {draw.random():.4f}\nEPOCHS = {draw.randint(1, 90)}\n"
    digest = hashlib.sha256(source.encode()).hexdigest()
    for n in range(1, count + 1):
        last = n == count
        tool = (
            "submit"
            if last
            else "validate"
            if n % 6 == 0
            else draw.choice(("bash", "bash", "bash", "str_replace", "view"))
        )
        seen, shown, hit = draw.choice(texts), None, ""
        if tool in ("validate", "submit"):
            attempts.append(attempt(task, len(attempts), n, tool, {"train.py": digest}, skill + draw.gauss(0, 0.2)))
            shown = attempts[-1].validation if tool == "validate" else None
            seen = f"Your submission scores {json.dumps(shown)} on the validation split." if shown else "Submitted."
        elif draw.random() < 0.02:
            hit = "timeout"
        money += 0.01 if spec.model else 0.0
        step = Step(
            n=n,
            action=Action(tool=tool, args=arguments(draw, tool), thought=sentence(draw, 25) if spec.model else ""),
            observation=Observation(
                text=seen,
                status="timeout" if hit else "error" if seen.startswith("Traceback") else "ok",
                tool=tool,
                hit=hit,
                validation=shown,
                steps_left=50 - n,
                money_left=4.0 - money if spec.model else None,
            ),
            command_s=round(draw.expovariate(1.0), 3),
            model_s=2.5 if spec.model else 0.0,
            grader_s=1.5 if shown else 0.0,
            attempt=attempts[-1].n if tool in ("validate", "submit") else None,
            calls=n if spec.model else 0,
        )
        calls += [call(step, steps)] if spec.model else []
        steps.append(step)
    stored(folder, spec, steps, calls)
    kept = folder / "attempts" / "files"
    kept.mkdir(parents=True)
    (kept / digest).write_text(source)
    for each in attempts:
        whole(folder / "attempts" / f"{each.n:04d}.json", each)
    whole(folder / "result.json", ended(task, attempts, steps, money))
    return count


def attempt(task: Task, n: int, step: int, kind: str, files: dict[str, str], skill: float) -> Attempt:
    """A graded submission: at skill 0 the baseline, at 1 the best result known."""
    scores = {split: {task.metric: value} for split, value in of_skill(task, skill).items()}
    return Attempt(
        n=n, step=step, kind="validate" if kind == "validate" else "submit", files=files, code=files, valid=True,
        stage="graded", validation=scores["validation"], test=scores["test"],
    )  # fmt: skip


def of_skill(task: Task, skill: float) -> dict[str, float]:
    """The scores of so much skill on both splits."""
    anchors = task.anchors
    assert anchors is not None
    base = {split: anchors.baseline[split] for split in ("validation", "test")}
    return {split: value + skill * (anchors.best - base["test"]) for split, value in base.items()}


def ended(task: Task, attempts: list[Attempt], steps: list[Step], money: float) -> Result:
    """The end of an episode whose last attempt was submitted."""
    sign = 1 if task.direction == "maximize" else -1
    tests = [each.test[task.metric] for each in attempts if each.test]
    base = {split: {task.metric: value} for split, value in of_skill(task, 0.0).items()}
    last, anchors, failed = attempts[-1].test, task.anchors, len(steps) % 29 == 0
    assert last and anchors
    gained = progress(
        last[task.metric], baseline=anchors.baseline["test"], baseline_test=anchors.baseline["test"],
        best=anchors.best, direction=task.direction, scale=anchors.scale,
    )  # fmt: skip
    top: Scores = {task.metric: max(tests, key=lambda value: sign * value)}
    return Result(
        ended="error" if failed else "submitted", boundary="agent" if failed else "", metric=task.metric,
        why="The agent stopped by an error of its own." if failed else "", attempts=tuple(attempts), final=last,
        selected=top, best=top, baseline=base, progress=gained, steps=len(steps), backend="bubblewrap",
        cost=Cost(
            money=money, tokens_in=2000 * len(steps), tokens_out=150 * len(steps), calls=steps[-1].calls,
            command_s=sum(step.command_s for step in steps), model_s=sum(step.model_s for step in steps),
            grader_s=sum(step.grader_s for step in steps),
        ),
    )  # fmt: skip


def arguments(draw: random.Random, tool: str) -> dict[str, object]:
    """What a tool is called with."""
    path = f"{draw.choice(WORDS)}_{draw.randint(1, 9)}.py"
    if tool == "str_replace":
        return {
            "path": path,
            "old": f"{draw.choice(WORDS)} = 1",
            "new": f"{draw.choice(WORDS)} = {draw.randint(2, 99)}",
        }
    if tool == "bash":
        return {
            "command": f"python {path} --{draw.choice(WORDS)} {draw.randint(1, 999)} && cat {draw.choice(WORDS)}.txt"
        }
    return {"path": path} if tool == "view" else {}


def observation(draw: random.Random, lines: int = 0) -> str:
    """What a command may print."""
    count = lines or min(400, int(draw.paretovariate(1.1) * 5))
    kind = draw.randrange(4)
    if kind == 0:
        rows = [f"epoch {n}: loss {draw.random():.4f} accuracy {draw.random():.4f}" for n in range(count)]
    elif kind == 1:
        rows = [
            f"-rw-r--r-- 1 1000 1000 {draw.randint(1, 10**6):7d} {draw.choice(WORDS)}_{n}.csv" for n in range(count)
        ]
    elif kind == 2:
        rows = [
            f'  File "{draw.choice(WORDS)}.py", line {draw.randint(1, 300)}, in {draw.choice(WORDS)}'
            for _ in range(count)
        ]
        rows = ["Traceback (most recent call last):", *rows, f"ValueError: {sentence(draw, 8)}"]
    else:
        rows = [sentence(draw, draw.randint(4, 16)) for _ in range(count)]
    return "\n".join(rows) + f"\nrun {draw.getrandbits(40):010x}\n"


def sentence(draw: random.Random, words: int) -> str:
    """So many words."""
    return " ".join(draw.choices(WORDS, k=words)).capitalize() + "."


def call(step: Step, before: list[Step]) -> dict[str, object]:
    """The model call that chose a step; it was sent what the step before it showed."""
    known = ToolCall(id=f"c{step.n}", name=step.action.tool, arguments=json.dumps(step.action.args))
    reply = Reply(
        text=step.action.thought, calls=(known,), tokens_in=2000, tokens_out=150, tokens_cached=1500, money=0.01,
        stop="tool_calls", model="example", seconds=2.5,
    )  # fmt: skip
    last = Message(role="tool", content=before[-1].observation.text, id=f"c{before[-1].n}") if before else None
    new = [last or Message(role="user", content="Begin.")]
    return {
        "keep": 2 * len(before),
        "messages": [message.model_dump(mode="json") for message in new],
        "tools": ["bash", "view", "str_replace", "validate", "submit"],
        "reply": reply.model_dump(mode="json"),
    }


def long(folder: Path, megabytes: float = 50, steps: int = LONG_STEPS, seed: int = 0) -> Path:
    """Make one episode whose steps come to so many megabytes: one shows a tenth of them, one a single line of a million
    characters, the others share the rest. Where it lies.
    """
    draw, task = random.Random(seed), load_task(LONG[0])
    spec = EpisodeSpec(task=LONG[0], version=task.version, agent=LONG[1], model=LONG[2], limits=Limits(steps=steps))
    texts = [observation(draw, 40) for _ in range(50)]
    mean = sum(map(len, texts)) / len(texts)
    big, line = int(megabytes * 1e5), min(1_000_000, int(megabytes * 1e4 * 2))
    each = max(1, int((megabytes * 1e6 - big - line - 600 * steps) / steps / mean * 0.93))
    made = list[Step]()
    for n in range(1, steps + 1):
        seen = "\n".join(draw.choices(texts, k=each))
        if n == steps // 2:
            seen = ("needle in the first half\n" + seen * (big // len(seen) + 1))[:big]
        elif n == steps // 3:
            seen = "=" * line
        action = Action(tool="bash", args=arguments(draw, "bash"), thought=sentence(draw, 25))
        made.append(Step(n=n, action=action, observation=Observation(text=seen, steps_left=steps - n), calls=n))
    path = episode_folder(folder / "long", spec)
    stored(path, spec, made, [call(step, made[n - 1 : n]) for n, step in enumerate(made)])
    whole(path / "result.json", Result(ended="steps", metric=task.metric, steps=steps, boundary="budget"))
    return path


def stored(folder: Path, spec: EpisodeSpec, steps: list[Step], calls: list[dict[str, object]]) -> None:
    """Write what an episode writes before its end."""
    folder.mkdir(parents=True)
    whole(folder / "spec.json", spec)
    (folder / "steps.jsonl").write_bytes(b"".join(step.model_dump_json().encode() + b"\n" for step in steps))
    (folder / "calls.jsonl").write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in calls))


def whole(path: Path, record: Record) -> None:
    """Write a record."""
    path.write_text(record.model_dump_json(indent=1))


def main() -> None:
    """Make both."""
    folder = Path(sys.argv[1])
    episodes, megabytes = int((*sys.argv, "5000", "")[2]), float((*sys.argv, "50", "50")[3])
    began = time.perf_counter()
    steps = many(folder, episodes)
    print(f"{episodes} episodes of {steps} steps in {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    size = (long(folder, megabytes) / "steps.jsonl").stat().st_size
    print(f"one episode of {size / 1e6:.1f} MB in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
