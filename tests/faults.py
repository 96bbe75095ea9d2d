"""Real runs of `mlgym run` with a fault in each, and what is looked for afterwards: for test_faults.py and the suite.

A `World` is a cache, a temporary folder and an undisturbed episode; a `Case` is one disturbed episode in it. Whatever
is signalled or looked for is the world's own: a descendant of a process that it started, or one that names its folder.
"""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mlgym.records import Attempt, Result, Step
from mlgym.sandbox.cgroups import own
from mlgym.sandbox.scratch import NAME
from mlgym.store import Episode, lines
from tests.policy import AGAIN, CALLS

ROOT = Path(__file__).parent.parent
TASK = ROOT / "tests" / "number"
SCRIPT = "scripted/tests.policy:reply"
WAIT_S = 240.0  # generous, for loaded machines
AGAINS = 6  # as often as a disturbed episode may need the same command again
MARKS = {"sandbox": b"marshal.loads", "grader": b"/grader/task.py", "player": b"\0/submission\0"}


class World:
    """A folder with a cache of its own, and what an episode undisturbed comes to in it."""

    def __init__(
        self, root: Path, backend: str = "auto", *, cache: Path | None = None, run: Path | None = None
    ) -> None:
        self.root, self.backend = root, backend
        self.cache, self.runs, self.temporary = cache or root / "cache", run or root / "runs", root / "tmp"
        for folder in (self.cache, self.runs, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        self.made, self.pids = 0, set[int]()
        first = Case(self)
        began = time.monotonic()
        first.go()
        self.first_seconds = time.monotonic() - began
        assert first.result and first.result.scored, first.said()
        self.result, self.steps = first.result, Episode.read(first.folder).steps()
        self.files = self.listing()
        began = time.monotonic()
        Case(self).go()
        self.seconds = time.monotonic() - began

    def listing(self, cache: Path | None = None) -> set[str]:
        """The names in the cache, two levels down."""
        cache = cache or self.cache
        return {str(path.relative_to(cache)) for pattern in ("*", "*/*") for path in cache.glob(pattern)}

    def orphans(self, cache: Path | None = None) -> list[str]:
        """Processes, mounts, folders and locks that speak of this world; those that are ending have a moment."""
        end = time.monotonic() + 5
        while (found := self._orphans(cache or self.cache)) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def _orphans(self, cache: Path) -> list[str]:
        name = str(self.root)
        found = [f"folder {each}" for each in sorted(self.listing(cache) ^ self.files)]
        found += [f"folder {path}" for path in self.temporary.iterdir()]
        groups = [path for home in set(own().values()) for path in home.iterdir() if path.is_dir()]
        found += [f"group {path}" for path in groups if (m := NAME.fullmatch(path.name)) and int(m[1]) in self.pids]
        found += [f"claim {path}" for path in (self.root / "runtime").glob("*-claim")]
        found += [f"folder {path}" for path in self.runs.rglob("*.part*")]
        found += [f"mount {row}" for row in Path("/proc/mounts").read_text().splitlines() if f"{name}/cache/" in row]
        for process in Path("/proc").glob("[0-9]*"):
            if int(process.name) == os.getpid():
                continue
            try:
                mounts = (process / "mountinfo").read_text()
                told = (process / "environ").read_text("utf-8", "replace") + (process / "cmdline").read_text()
                if f"{name}/" in told or f"{name}/cache/scratch" in mounts:
                    found.append(f"process {process.name} {(process / 'cmdline').read_bytes()[:80]!r}")
            except OSError:
                continue
        for lock in self.runs.rglob("lock"):
            with lock.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    found.append(f"lock {lock}")
        return found


class Case:
    """One episode, run as often as it takes; what it has ever told is held against what is there later."""

    def __init__(
        self, world: World, *, model: str = SCRIPT, url: str = "", cache: Path | None = None, patience_s: float = 60
    ) -> None:
        world.made += 1
        self.patience_s = patience_s
        self.world, self.cache = world, cache or world.cache
        self.place = world.runs / str(world.made)
        self.folder = self.place  # found when there is one
        self.log = world.root / f"{world.made}.log"
        self.calls = world.root / f"{world.made}.calls"
        self.calls.touch()
        self.command = [sys.executable, "-m", "mlgym", "run", str(TASK), "-m", model, "-o", str(self.place)]
        self.command += ["--sandbox", world.backend, *(["--base-url", url] if url else [])]
        self.read = self.lost_steps = self.lost_attempts = 0
        self.steps: list[bytes] = []
        self.attempts: dict[int, Attempt] = {}
        self.seen: set[tuple[int, int]] = set()
        self.result: Result | None = None

    def start(self, log: str = "") -> "subprocess.Popen[bytes]":
        """The command, once more; what it prints goes into a log of its own where one is named."""
        own = {"MLGYM_CACHE": self.cache, "TMPDIR": self.world.temporary, CALLS: self.calls, "PYTHONPATH": ROOT}
        own |= {"MLGYM_PAUSE": 0.1, "MLGYM_MODEL_PAUSE": 0.1}
        own |= {
            "MLGYM_RUNTIME": self.world.root / "runtime",
            "OPENAI_API_KEY": "k",
            "MLGYM_MODEL_TIMEOUT": self.patience_s,
            "NO_PROXY": "*",
        }
        env = {**os.environ, **{key: str(value) for key, value in own.items()}}
        with (self.world.root / log if log else self.log).open("ab") as out:
            made = subprocess.Popen(self.command, stdout=out, stderr=out, env=env, cwd=ROOT, start_new_session=True)
        self.world.pids.add(made.pid)
        return made

    def go(self, process: "subprocess.Popen[bytes] | None" = None) -> int:
        """Run the command to its end (or wait for the one that runs) and look at what it left; the exit code."""
        process = process or self.start()
        try:
            code = process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"It hung: {self.said()[-500:]}") from None
        self.look()
        return code

    def finish(self) -> None:
        """The same command again, once at least, until there is a scored result."""
        for _ in range(AGAINS):
            self.go()
            if self.result and self.result.scored:
                return

    def said(self) -> str:
        """All that was printed so far."""
        return self.log.read_text("utf-8", "replace")

    def look(self) -> None:
        """Hold what was reported against what is recorded now, and remember what is."""
        printed = self.said()[self.read :]
        self.read += len(printed)
        told = [int(n) for n in re.findall(r"^step (\d+) \(", printed, re.MULTILINE)]
        self.folder = next((path.parent for path in self.place.rglob("spec.json")), self.place)
        if not (self.folder / "spec.json").exists():
            assert not told
            return
        there = Episode.read(self.folder)
        rows = lines(self.folder / "steps.jsonl")
        found = [Step.model_validate_json(row) for row in rows]
        assert [step.n for step in found] == list(range(1, len(found) + 1))
        self.lost_steps += sum(n > len(rows) for n in told)
        self.lost_steps += sum(row not in rows[n : n + 1] for n, row in enumerate(self.steps))
        unscored = {step.n for step in found if step.reward is None}
        self.steps = [row for row, step in zip(rows, found, strict=True) if step.n not in unscored]
        attempts = {attempt.n: attempt for attempt in there.attempts()}
        self.lost_attempts += sum(not _kept(old, attempts.get(n)) for n, old in self.attempts.items())
        self.attempts = {n: attempt for n, attempt in attempts.items() if attempt.step not in unscored}
        path = self.folder / "result.json"
        self.result = there.result if path.exists() and path.stat().st_size else None

    def differences(self) -> list[str]:
        """Where the end differs from the undisturbed one. A command that lost its shell is a step more, sent again."""
        if not self.result:
            return ["there is no result"]
        mine, theirs = self.result, self.world.result
        out = [
            f"{name}: {getattr(mine, name)!r}, not {getattr(theirs, name)!r}"
            for name in ("ended", "boundary", "why", "final", "best", "selected", "progress", "scored")
            if getattr(mine, name) != getattr(theirs, name)
        ]
        steps = Episode.read(self.folder).steps()
        struck = sum(AGAIN in step.observation.text for step in steps)
        steps = [step for step in steps if AGAIN not in step.observation.text]
        pairs = [(_told(steps, struck), _told(self.world.steps, struck))]
        pairs += [(_graded(mine, struck), _graded(theirs, struck))]
        if not struck:
            pairs.append(([mine.cost.calls], [theirs.cost.calls]))
        out += [f"{a} is not {b}" for one, other in pairs for a, b in zip(one, other, strict=False) if a != b]
        out += [f"{len(one)} in place of {len(other)}" for one, other in pairs if len(one) != len(other)]
        return out

    def extra_calls(self) -> int:
        """Calls of the model beyond one for each step."""
        return self.calls.stat().st_size - len(Episode.read(self.folder).steps())

    def strike(self, process: "subprocess.Popen[bytes]", role: str, after: float, sign: int = signal.SIGKILL) -> bool:
        """After so many seconds send a signal to the run itself, or to the first process of that role; whether it met.

        Roles: run, sandbox, inside (its driver), shell, grader, player.
        """
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            while process.poll() is None:
                tree = descendants(process.pid)
                self.seen |= {(pid, since) for pid, since, _, _ in tree}
                victim = process.pid if role == "run" else chosen(tree, role)
                if victim and hit(victim, process.pid, sign):
                    return True
                time.sleep(0.01)
        return False


def descendants(root: int) -> list[tuple[int, int, int, bytes]]:
    """(pid, start, parent, command line) of the processes below one, parents first."""
    children: dict[int, list[tuple[int, int]]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_bytes().rpartition(b") ")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z":
            children.setdefault(int(fields[1]), []).append((int(path.parent.name), int(fields[19])))
    found, waiting = [], [root]
    while waiting:
        parent = waiting.pop(0)
        for pid, since in children.get(parent, []):
            waiting.append(pid)
            try:
                found.append((pid, since, parent, Path(f"/proc/{pid}/cmdline").read_bytes()))
            except OSError:
                continue
    return found


def chosen(tree: list[tuple[int, int, int, bytes]], role: str) -> int:
    """The process of that role, 0 while there is none; of several sandboxes of a kind the first."""
    if role == "shell":
        drivers = {pid for pid, _, _, line in tree if MARKS["sandbox"] in line}
        return next((pid for pid, _, up, line in tree if up in drivers and line.startswith(b"bash\0--norc")), 0)
    mark = MARKS["sandbox" if role == "inside" else role]
    found = [(pid, line) for pid, _, _, line in tree if mark in line]
    if role == "inside":
        found = [(pid, line) for pid, line in found if b"python" in line.split(b"\0")[0]]
    return found[0][0] if found else 0


def hit(pid: int, owner: int, sign: int) -> bool:
    """Signal a process that is, or descends from, `owner`, and no other that has come to its number meanwhile."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if pid != owner and pid not in {each for each, *_ in descendants(owner)}:
            return False
        signal.pidfd_send_signal(handle, sign)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def lose(others: set[int]) -> None:
    """Kill the first sandbox of this process that is none of the `others`, and wait until nothing of it is left."""
    tree = [each for each in descendants(os.getpid()) if each[0] not in others]
    pid = chosen(tree, "sandbox")
    assert pid, "there is no sandbox"
    inner = {each for each, *_ in descendants(pid)}
    parts = {(each, since) for each, since, *_ in tree if each == pid or each in inner}
    assert hit(pid, os.getpid(), signal.SIGKILL)
    end = time.monotonic() + WAIT_S
    while alive(parts):
        assert time.monotonic() < end, "the sandbox lives on"
        time.sleep(0.01)


def mine() -> set[int]:
    """The processes below this one."""
    return {pid for pid, *_ in descendants(os.getpid())}


def alive(seen: set[tuple[int, int]]) -> list[int]:
    """Which of the processes (pid, start) still run."""
    found = []
    for pid, since in seen:
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z" and int(fields[19]) == since:
            found.append(pid)
    return found


def _kept(old: Attempt, new: Attempt | None) -> bool:
    """Whether an attempt is still there, with every score that it had."""
    if new is None or (old.kind, old.files, old.code) != (new.kind, new.files, new.code):
        return False
    return all(getattr(old, split) in (None, getattr(new, split)) for split in ("validation", "test"))


def _told(steps: list[Step], struck: int) -> list[Any]:
    left_out = {"seconds_left", "id", *(["steps_left"] if struck else [])}
    return [
        (step.action.tool, step.action.args, step.observation.model_dump(exclude=left_out), step.reward)
        for step in steps
    ]


def _graded(result: Result, struck: int) -> list[Any]:
    left_out = {"step"} if struck else set()
    return [attempt.model_dump(exclude=left_out) for attempt in result.attempts]


Outcome = dict[str, Any]


def outcome(world: World, case: Case, faults: int, calls_allowed: int | None = None) -> Outcome:
    """Finish a disturbed episode and judge it."""
    before = len(case.steps)
    case.finish()
    orphans = world.orphans(case.cache) + [f"process {pid}" for pid in alive(case.seen)]
    extra = case.extra_calls() if case.result else 0
    allowed = faults if calls_allowed is None else calls_allowed
    crashed = [row for row in case.said().splitlines() if "Traceback" in row or row.startswith("mlgym failed")]
    return {
        "faults": faults,
        "steps_before": before,
        "resumed": bool(case.result and case.result.scored),
        "differs": case.differences(),
        "lost_steps": case.lost_steps,
        "lost_attempts": case.lost_attempts,
        "extra_calls": max(0, extra),
        "too_many_calls": extra > allowed,
        "orphans": orphans,
        "crashed": crashed,
    }
