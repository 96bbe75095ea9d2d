"""Faults at random moments, seeded: a share of benchmarks/faults.py, and what two of them come to in detail."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.fault_kinds import KINDS, killed
from tests.faults import ROOT, Case, Outcome, World

pytestmark = pytest.mark.timeout(600)  # a case of a loaded machine waits for the ones before it


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, World]]:
    from mlgym.sandbox.probe import probe

    if not probe("bubblewrap").works:
        assert "CI" not in os.environ
        pytest.skip("bubblewrap does not start here")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda n: World(tmp_path_factory.mktemp(f"world{n}"), "bubblewrap"), range(2))
    yield one, other


# The kinds that the default tests try; the others are slow.
QUICK = (
    "the run killed (SIGKILL)",
    "the sandbox killed, on the host",
    "the disk of the run full",
    "files torn",
    "the model's server answers half a JSON",
)
EACH = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


def run_all(
    pool: ThreadPoolExecutor, worlds: tuple[World, World], seed: int, kinds: Iterable[str]
) -> dict[str, "Future[Outcome]"]:
    """These kinds of fault once, two at a time."""
    free = list(worlds)

    def one(kind: str) -> Outcome:
        world = free.pop()
        try:
            return KINDS[kind][1](world, random.Random(f"{seed}-{kind}"))
        finally:
            free.append(world)

    return {kind: pool.submit(one, kind) for kind in kinds}


@pytest.fixture(scope="module")
def first(worlds: tuple[World, World], request: pytest.FixtureRequest) -> Iterator[dict[str, "Future[Outcome]"]]:
    asked = [item.callspec.params.get("kind", "") for item in request.session.items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(2) as pool:
        yield run_all(pool, worlds, 1, [kind for kind in KINDS if kind in asked])
        pool.shutdown(cancel_futures=True)


def judge(found: Outcome) -> None:
    if "skipped" in found:
        pytest.skip(found["skipped"])
    assert found["resumed"] and not found["differs"] and not found["crashed"]
    assert (found["lost_steps"], found["lost_attempts"], found["orphans"]) == (0, 0, [])
    assert not found["too_many_calls"]


@pytest.mark.parametrize("kind", EACH)
def test_an_episode_with_a_fault_ends_as_the_undisturbed(kind: str, first: dict[str, "Future[Outcome]"]) -> None:
    judge(first[kind].result())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_and_at_other_moments_too(worlds: tuple[World, World], seed: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        for kind, future in run_all(pool, worlds, seed, KINDS).items():
            print(kind, seed)
            if "skipped" not in future.result():
                judge(future.result())


@pytest.mark.slow
def test_without_isolation_the_run_the_sandbox_and_the_shell_may_be_killed_as_well(tmp_path: Path) -> None:
    world = World(tmp_path, "local")
    for role, seeds in (("run", 6), ("sandbox", 2), ("shell", 2)):
        for seed in range(seeds):
            judge(partial(killed, role, signal.SIGKILL)(world, random.Random(seed)))


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_can_be_caught_leaves_nothing_behind(worlds: tuple[World, World], sign: signal.Signals) -> None:
    case = Case(worlds[0])
    process = case.start()
    end = time.monotonic() + 30
    while not re.search(r"^step 1", case.said(), re.M) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(sign)
    assert case.go(process) == 128 + sign, case.said()
    assert case.said().endswith("Interrupted; the same command goes on.\n")
    assert not worlds[0].orphans()


FULL = """
import sys
from pathlib import Path
from mlgym.episode import run_episode
from mlgym.errors import StorageError
from mlgym.records import Action, EpisodeSpec
from mlgym.store import Episode

def filler(brief, model):
    yield Action(tool="bash", args={"command": "echo 41 > guess.txt"})
    yield Action(tool="validate")
    yield Action(tool="bash", args={"command": "cat /dev/zero > junk; rm guess.txt"})
    yield Action(tool="submit")

def modest(brief, model):
    yield Action(tool="bash", args={"command": "echo 41 > guess.txt"})
    yield Action(tool="submit")

def block(step, attempt):
    with open(small / "ballast", "wb", 0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError:
            pass

sys.modules["agents_here"] = sys.modules["__main__"]
task, small = sys.argv[1], Path(sys.argv[2])
spec = EpisodeSpec(task=task, agent="agents_here:filler", sandbox="bubblewrap")
result = run_episode(spec, small.parent / "filler", say=print)
assert (result.boundary, result.scored, result.ended) == ("sandbox", True, "error"), result
assert result.attempts[-1].fallback and result.final == {"closeness": 0.5} and "filled" in result.why, result
assert len(result.notes) == 1, result.notes

spec = spec.changed(agent="agents_here:modest")
try:
    run_episode(spec, small.parent / "modest", on_step=block)
    raise SystemExit("It went on with a full disk.")
except StorageError as error:
    print(error)
assert len(Episode.read(small.parent / "modest").steps()) == 1
(small / "ballast").unlink()
result = run_episode(spec, small.parent / "modest")
assert (result.ended, result.final, result.boundary) == ("submitted", {"closeness": 0.5}, ""), result
"""


@pytest.mark.root
def test_who_filled_the_disk_bears_the_blame(tmp_path: Path, worlds: tuple[World, World]) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = 'mount -t tmpfs -o size=64m small "$0" && exec "$@"'
    command = [sys.executable, "-c", FULL, str(ROOT / "examples" / "guess"), str(small)]
    ran = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, str(small), *command],
        env={**os.environ, "MLGYM_CACHE": str(small / "cache")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"^The disk under .* is full: make room, and the same command goes on\.$", ran.stdout, re.M)
