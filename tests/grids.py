"""A grid that is run and interrupted as often as asked, for test_interrupts.py and benchmarks/interrupts.py.

`python -m tests.grids RUN SEEDS TASK...` runs the grid as `mlgym run` does: every method on these tasks, two at once.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlgym.cache import cache_dir
from mlgym.records import EpisodeSpec, Step
from mlgym.store import Episode, episodes
from tests.faults import World, alive, descendants
from tests.policy import CALLS

ROOT = Path(__file__).parent.parent
TASKS = ("battle-of-sexes", "prisoners-dilemma", "blotto", "house-price")
WORKERS = 2
PLAN: list[tuple[str, dict[str, Any]]] = [
    ("bash", {"command": "python3 $(ls *.py | head -1) > /dev/null; ls; sleep 0.2"}),
    ("validate", {}),
    ("bash", {"command": "sleep 0.3; echo '# looked at' >> $(ls *.py | head -1)"}),
    ("validate", {}),
    ("submit", {}),
]


def reply(messages: Sequence[Any], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The script of the model: the same steps on every task; the file that CALLS names grows by a byte a call."""
    with Path(os.environ[CALLS]).open("ab") as calls:
        calls.write(b".")
    time.sleep(0.3)  # paid and not yet answered
    name, arguments = PLAN[sum(message.role == "assistant" for message in messages)]
    return {"text": f"Now {name}.", "calls": [{"name": name, "arguments": arguments}], "money": 0.01}


def methods() -> list[dict[str, str]]:
    """The baseline, the control `random`, the tuner, and react with a scripted model."""
    return [
        {"agent": "nop"},
        {"agent": "random?trials=3"},
        {"agent": "tuner?trials=4"},
        {"agent": "react", "model": "scripted/tests.grids:reply"},
    ]


def specs(tasks: Sequence[str], seeds: int) -> list[EpisodeSpec]:
    """The grid, seeds last."""
    from mlgym.task import load_task

    loaded = [load_task(name) for name in tasks]
    return [
        EpisodeSpec(task=task.reference, version=task.version, seed=seed, limits=task.episode_limits, **method)  # type: ignore[arg-type]
        for seed in range(seeds)
        for task in loaded
        for method in methods()
    ]


class Grid(World):
    """A folder with a cache of its own (data and packages are shared), where the grid is run undisturbed and then
    disturbed.
    """

    def __init__(self, root: Path, tasks: Sequence[str] = TASKS, seeds: int = 3) -> None:
        self.root, self.tasks, self.seeds = root, tasks, seeds
        self.cache, self.runs, self.temporary = root / "cache", root / "runs", root / "tmp"
        for folder in (self.cache / "scratch", self.runs, self.temporary, root / "runtime"):
            folder.mkdir(parents=True, exist_ok=True)
        for shared in ("environments", "prepared", "packages", "sources"):
            (cache_dir() / shared).mkdir(parents=True, exist_ok=True)
            if not (self.cache / shared).exists():
                (self.cache / shared).symlink_to(cache_dir() / shared)
        self.pids, self.seen = set[int](), set[tuple[int, int]]()
        self.files = self.listing()
        self.log, self.calls = root / "log", root / "calls"

    def listing(self, cache: Path | None = None) -> set[str]:
        """What lies in the part of the cache that is not shared."""
        return {path.name for path in (self.cache / "scratch").iterdir()}

    def _orphans(self, cache: Path) -> list[str]:
        return super()._orphans(cache) + [f"folder {path}" for path in self.runs.glob("*/drivers")]

    def start(self, run: Path) -> "subprocess.Popen[bytes]":
        """The command, once more."""
        own = {"MLGYM_CACHE": self.cache, "TMPDIR": self.temporary, "MLGYM_RUNTIME": self.root / "runtime"}
        own |= {CALLS: self.root / f"{run.name}.calls", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        command = [sys.executable, "-m", "tests.grids", str(run), str(self.seeds), *self.tasks]
        env = {**os.environ, **{key: str(value) for key, value in own.items()}}
        with self.log.open("ab") as out:
            made = subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=ROOT, start_new_session=True)
        self.pids.add(made.pid)
        return made

    def undisturbed(self) -> tuple[Path, float]:
        """The run without an interruption, and its seconds."""
        began, run = time.monotonic(), self.runs / "undisturbed"
        assert self.start(run).wait() == 0, self.log.read_text()[-2000:]
        return run, time.monotonic() - began

    def disturbed(self, signs: Sequence[signal.Signals], within_s: tuple[float, float], seed: int) -> dict[str, Any]:
        """The run, stopped by these signals at random moments, then run to its end; what was seen."""
        run, chance = self.runs / "disturbed", random.Random(seed)
        seen: dict[str, Any] = {"met": [], "slowest_stop_s": 0.0, "codes": [], "orphans": []}
        for sign in signs:
            process = self.start(run)
            try:
                process.wait(chance.uniform(*within_s))
                seen["met"].append(f"{sign.name} came after the end")
                continue
            except subprocess.TimeoutExpired:
                self.seen |= {(pid, since) for pid, since, _, _ in descendants(process.pid)}
            began = time.monotonic()
            process.send_signal(sign)
            seen["codes"].append(process.wait(60))
            if sign != signal.SIGKILL:
                seen["slowest_stop_s"] = max(seen["slowest_stop_s"], time.monotonic() - began)
            seen["met"].append(sign.name)
            seen["orphans"] += [f"after {sign.name}: process {pid}" for pid in self._gone()]
        seen["code"] = self.start(run).wait()
        seen["orphans"] += self.orphans()
        seen["paid_twice"] = self.paid(run)
        return seen

    def _gone(self) -> list[int]:
        """Processes that still live a moment after their run has ended."""
        end = time.monotonic() + 5
        while (left := alive(self.seen)) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def paid(self, run: Path) -> int:
        """Calls of the model beyond those that are recorded."""
        recorded = sum(len(Episode.read(folder).replies()) for folder in episodes(run))
        return (self.root / f"{run.name}.calls").stat().st_size - recorded


def differences(one: Path, other: Path, cells: int) -> list[str]:
    """In what two runs of the same grid differ, clocks aside; and whatever is there twice or not at all."""
    out = []
    folders = {folder.relative_to(one): folder for folder in episodes(one)}
    others = {folder.relative_to(other): folder for folder in episodes(other)}
    if not len(folders) == len(others) == cells:
        out.append(f"{len(folders)} and {len(others)} episodes in place of {cells}")
    for name in folders.keys() & others.keys():
        a, b = Episode.read(folders[name]), Episode.read(others[name])
        numbers = [step.n for step in b.steps()]
        if numbers != list(range(1, len(numbers) + 1)):
            out.append(f"{name}: steps {numbers}")
        out += [f"{name}: {mine!r:.300} is not {theirs!r:.300}" for mine, theirs in _pairs(a, b) if mine != theirs]
    return out


def _pairs(a: Episode, b: Episode) -> list[tuple[Any, Any]]:
    one, other = a.result, b.result
    if one is None or other is None:
        return [("a result", "none")]
    fields = ("ended", "boundary", "why", "final", "best", "selected", "progress", "scored", "steps", "attempts")
    pairs = [(getattr(one, field), getattr(other, field)) for field in fields]
    pairs.append(([_told(step) for step in a.steps()], [_told(step) for step in b.steps()]))
    return [*pairs, (len(a.replies()), len(b.replies())), (one.cost.money, other.cost.money)]


def _told(step: Step) -> Any:
    observed = step.observation.model_dump(exclude={"seconds_left", "id"})
    return step.n, step.action.tool, step.action.args, observed, step.reward, step.attempt


def go() -> None:
    """The grid as a verb of the command line."""
    from mlgym import live
    from mlgym.cli import app, main

    @app.command()
    def grid(run: Path, seeds: int, tasks: list[str]) -> None:
        """Run the grid of tests.grids."""
        import typer

        if code := live.run(specs(tasks, seeds), run, WORKERS, "none"):
            raise typer.Exit(code)

    sys.argv.insert(1, "grid")
    main()


if __name__ == "__main__":
    go()
