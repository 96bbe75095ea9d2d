"""The faults of the suite: each disturbs one episode of a world at moments drawn from `rng` and judges the end.

`python -m tests.fault_kinds disk KIND FOLDER SEED` is one case on a small file system of its own, in a private mount
namespace that ends with it.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import ROOT, Case, Outcome, World, outcome
from tests.policy import due
from tests.servers import OpenAIServer, is_preflight

SMALL_MB = 64
CASE_S = 500.0
TRIES = 4


def killed(role: str, sign: int, world: World, rng: random.Random) -> Outcome:
    """The run, or a process of it, gets a signal; in a third of the cases twice. One that goes on is waited for.

    A moment that came too late for a fault is drawn again.
    """
    for _ in range(TRIES):
        case, faults, early = Case(world), 0, list[str]()
        for _ in range(rng.choice((1, 1, 2))):
            process = case.start()
            start = 0.0 if role == "run" else world.seconds / 4
            faults += case.strike(process, role, rng.uniform(start, world.seconds * 0.9), sign)
            code = case.go(process)
            if code == 128 + sign:  # it had the time to tidy up: nothing waits for the next run
                early += world.orphans()
        if faults:
            break
    found = outcome(world, case, faults)
    found["orphans"] += early
    return found


def torn(world: World, rng: random.Random) -> Outcome:
    """Killed, and then what a power cut or a kill in the middle of a write leaves: half a line, files of no size."""
    case = Case(world)
    process = case.start()
    faults = int(case.strike(process, "run", rng.uniform(world.seconds / 3, world.seconds)))
    case.go(process)
    if case.result or not (case.folder / "spec.json").exists():  # nobody opens one that has ended
        return outcome(world, case, faults)
    for name in ("steps.jsonl", "calls.jsonl"):
        row = (case.folder / name).read_bytes()[:400] if (case.folder / name).exists() else b'{"n": 1, "acti'
        with (case.folder / name).open("ab") as file:
            file.write(
                rng.choice((row[: rng.randrange(1, len(row))].replace(b"\n", b" "), bytes(rng.randrange(1, 999))))
            )
    for name in ("result.json.part77", "spec.json.part77", "attempts/0000.json.part77", "attempts/files/ab12.part77"):
        if (case.folder / name).parent.exists():
            (case.folder / name).write_bytes(b"{" * rng.randrange(2))
    (case.folder / "result.json").write_bytes(b"")
    (case.folder / "lock").unlink()
    return outcome(world, case, faults + 1, 1)


def first_run(world: World, rng: random.Random) -> Outcome:
    """Killed while environment and data are made in an empty cache, beside a second process that wants the same."""
    cache = world.root / f"fresh{world.made}"
    cache.mkdir()
    case, other = Case(world, cache=cache), Case(world, cache=cache)
    both = [case.start(), other.start()]
    faults = int(case.strike(both[0], "run", rng.uniform(0, world.first_seconds * 0.8)))
    for one, process in zip((case, other), both, strict=True):
        one.go(process)
    theirs = outcome(world, other, 0)
    mine = outcome(world, case, faults)
    mine["differs"] += theirs["differs"]
    shutil.rmtree(cache)
    return mine


def two_at_once(world: World, rng: random.Random) -> Outcome:
    """Two processes on one episode: one is refused in a sentence; the other is killed, and the same command goes on."""
    case = Case(world)
    both = [case.start(), case.start("second.log")]
    faults = int(case.strike(both[0], "run", rng.uniform(world.seconds / 2, world.seconds)))
    for process in both:
        case.go(process)
    said = (world.root / "second.log").read_text()
    (world.root / "second.log").unlink()
    found = outcome(world, case, faults)
    if both[1].returncode and "Another process is running the episode" not in said:
        found["crashed"].append(said[-300:])
    return found


def served(kind: str, world: World, rng: random.Random) -> Outcome:
    """The model's server fails one to four times in a row at a random call, then is well again."""
    later = rng.choice(({"Retry-After": "1"}, {"retry-after-ms": "50"}))
    nonsense = rng.choice(("<html>Bad gateway</html>", "null", "[]", '{"choices": []}', '{"choices": null}'))
    trouble: dict[str, Any] = {
        "hang": {"hang": 2.5, "text": "late"},
        "cut": {"cut": 1, "text": "half of this" * 20},
        "429": {"status": 429, "error": "slow down", "headers": later},
        "500": {"status": rng.choice((500, 502, 503)), "error": "out of order"},
        "nonsense": {"raw": nonsense},
        "half a JSON": {"raw": '{"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"index": 0, "mess'},
    }[kind]
    left, at, well = rng.randrange(1, 5), rng.randrange(6), 0
    faults = 0

    def script(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal faults, well
        if is_preflight(body):
            return {"calls": [("ready", {})]}
        if sum(message["role"] == "assistant" for message in body["messages"]) == at and faults < left:
            faults += 1
            return dict(trouble)
        well += 1
        name, arguments = due([(message["role"], str(message["content"])) for message in body["messages"]])
        return {"text": f"Now {name}.", "calls": [(name, arguments)]}

    with OpenAIServer(script) as server:
        case = Case(world, model="openai/x", url=server.url, patience_s=1 if kind == "hang" else 60)
        case.go()
        found = outcome(world, case, faults)
    found["extra_calls"] = well - len(case.world.steps)
    found["too_many_calls"] = found["extra_calls"] > (faults if kind == "hang" else 0)  # a slow machine may hang too
    return found


def disk(kind: str, world: World, rng: random.Random) -> Outcome:
    """A case of its own in a private mount namespace, with the run's folder or the cache on a small file system."""
    if os.geteuid() != 0:
        return {"skipped": "small file systems are mounted by root alone"}
    folder = world.root / f"disk{world.made}"
    world.made += 1
    small = folder / "small"
    small.mkdir(parents=True)
    here = [
        sys.executable,
        "-m",
        "tests.fault_kinds",
        "disk",
        kind,
        str(folder),
        str(rng.randrange(1 << 30)),
        world.backend,
    ]
    mount = f'mount -t tmpfs -o size={SMALL_MB}m small "$0" && exec "$@"'
    ran = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, str(small), *here],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=CASE_S,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    shutil.rmtree(folder)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def full_disk(kind: str, folder: Path, seed: int, backend: str) -> Outcome:
    """In the namespace: fill the small file system at a random moment, let the run end, make room, go on."""
    rng, small = random.Random(seed), folder / "small"
    places = {"run": small} if kind == "run" else {"cache": small / "cache"}
    world = World(folder, backend, **places)
    case = Case(world)
    process = case.start()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, world.seconds))
    fill(small / "ballast", rng.choice((0, 0, 100, 5000)))
    code = case.go(process)
    refused = code != 0 and "is full" in case.said()
    if code != 0 and not refused:
        raise AssertionError(f"Code {code}: {case.said()[-1500:]}")
    again = case.go() if rng.random() < 0.5 and refused else 0  # with the disk still full
    if again and "is full" not in case.said()[-500:]:
        raise AssertionError(f"Code {again}: {case.said()[-1500:]}")
    (small / "ballast").unlink()
    found = outcome(world, case, 1, 2)
    found["refused"] = refused
    return found


def fill(path: Path, leave: int) -> None:
    """Write a file until nothing more can be written, then give so many bytes back."""
    size = 0
    with path.open("wb", buffering=0) as file:
        for block in (1 << 20, 4096):
            try:
                while True:
                    size += file.write(bytes(block))
            except OSError:
                continue
        file.truncate(max(0, size - leave))


KINDS: dict[str, tuple[int, Callable[[World, random.Random], Outcome]]] = {  # of 200 episodes so many
    "the run killed (SIGKILL)": (34, partial(killed, "run", signal.SIGKILL)),
    "the run ended (SIGTERM)": (8, partial(killed, "run", signal.SIGTERM)),
    "the run interrupted (SIGINT)": (8, partial(killed, "run", signal.SIGINT)),
    "the terminal closed (SIGHUP)": (6, partial(killed, "run", signal.SIGHUP)),
    "the sandbox killed, on the host": (14, partial(killed, "sandbox", signal.SIGKILL)),
    "the sandbox killed, its driver inside": (12, partial(killed, "inside", signal.SIGKILL)),
    "the shell killed": (12, partial(killed, "shell", signal.SIGKILL)),
    "the grader killed": (14, partial(killed, "grader", signal.SIGKILL)),
    "the player killed": (14, partial(killed, "player", signal.SIGKILL)),
    "the disk of the run full": (12, partial(disk, "run")),
    "the disk of the cache full": (12, partial(disk, "cache")),
    "files torn": (10, torn),
    "killed while data is prepared, beside another": (6, first_run),
    "two processes on one episode": (4, two_at_once),
    "the model's server hangs": (4, partial(served, "hang")),
    "the model's server cuts the connection": (6, partial(served, "cut")),
    "the model's server answers 429": (6, partial(served, "429")),
    "the model's server answers 500": (6, partial(served, "500")),
    "the model's server answers nonsense": (6, partial(served, "nonsense")),
    "the model's server answers half a JSON": (6, partial(served, "half a JSON")),
}

if __name__ == "__main__":
    _, _, what, where, number, sandbox = sys.argv
    print(json.dumps(full_disk(what, Path(where), int(number), sandbox)))
