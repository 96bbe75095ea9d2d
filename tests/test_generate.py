"""Episodes in bulk: ranges of tasks, shards, and going on after a kill."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym.audit import audit
from mlgym.cli.exporting import run as export
from mlgym.errors import UsageError
from mlgym.generate import DONE, Bulk, Way, generate, part_of
from mlgym.grid import from_flags
from mlgym.launchers import Launched, Specs, in_process, threads
from mlgym.launchers.flow import Job
from mlgym.pack import pack
from mlgym.ranges import Names
from mlgym.store import Episode, episode_folder, episodes
from mlgym.verify import verify

ROOT = Path(__file__).parent.parent
AGENTS = [{"agent": "nop"}, {"agent": "tuner?trials=2"}]


def bulk(*tasks: str, cells: int = 500, seeds: int = 1, agents: list[dict[str, str]] = AGENTS) -> Bulk:
    return Bulk(from_flags({"tasks": tasks, "agents": agents, "seeds": seeds}), cells)


def test_ranges_of_made_tasks() -> None:
    names = Names(["duel-s0..2-d0.2..0.8..0.3", "maze-s5-d0.1..0.3", "maze-s9-d1"])
    assert len(names) == 9 + 3 + 1
    assert names[:4] == ["duel-s0-d0.2", "duel-s0-d0.5", "duel-s0-d0.8", "duel-s1-d0.2"]
    assert names[9:] == ["maze-s5-d0.1", "maze-s5-d0.2", "maze-s5-d0.3", "maze-s9-d1"]
    assert len(Names(["duel-s0..999999-d0.1..0.9"])) == 9_000_000


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("duel-s0..9", "is written as"),
        ("duel-s9..0-d0.1", "from the smaller to the larger"),
        ("duel-s0..9-d0.9..0.1", "from the smaller to the larger"),
        ("duel-s0-d0.1..0.9..0", "steps of 0.001"),
        ("duel-s0..9-d0.1..x", "is written as"),
        ("duel-s0..9-d0.5..1.5", "a number from 0 to 1"),
        ("duel-s0..9999999999-d0.5", "a whole number from 0 to"),
    ],
)
def test_ranges_that_are_none(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Names([name])


def test_ranges_that_meet() -> None:
    with pytest.raises(UsageError, match="name the same tasks"):
        Names(["duel-s0..9-d0.2", "duel-s5..20-d0.1..0.3"])
    Names(["duel-s0..9-d0.2", "duel-s10..20-d0.2", "duel-s0..9-d0.3", "maze-s0..9-d0.2"])


@settings(max_examples=10)
@given(cells=st.integers(1, 9), seeds=st.integers(1, 3), tasks=st.integers(1, 3))
def test_shards_are_all_cells_in_one_order(cells: int, seeds: int, tasks: int) -> None:
    made = bulk(f"duel-s0..{tasks - 1}-d0.2", cells=cells, seeds=seeds)
    shards = [list(made.specs(shard)) for shard in range(made.shards)]
    found = [(spec.task, spec.agent, spec.seed) for specs in shards for spec in specs]
    names = [f"duel-s{n}-d0.2" for n in range(tasks)]
    assert found == [(t, a["agent"], seed) for t in names for a in AGENTS for seed in range(seeds)]
    assert len(found) == len(made) and max(map(len, shards)) <= cells


def test_a_shard_of_millions_is_made_alone() -> None:
    made = bulk("duel-s0..999999-d0.1..0.9", seeds=100)
    assert len(made) == 1_800_000_000
    assert [spec.task for spec in made.specs(made.shards - 1)][-1] == "duel-s999999-d0.9"
    assert made.folder(Path("run"), 7).name == "shard-0000007"


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is for evaluation"):
        bulk("blotto")
    with pytest.raises(UsageError, match="There is no family 'nosuch'"):
        bulk("nosuch-s0..9-d0.2")
    assert part_of("3/16") == (3, 16)
    for text in ("16/16", "x", "-1/2"):
        with pytest.raises(UsageError, match="--shard takes I/N"):
            part_of(text)
    (tmp_path / "plan.json").write_text(json.dumps(bulk("duel-s0..9-d0.2").told()))
    with pytest.raises(UsageError, match="another plan"):
        generate(bulk("duel-s0..8-d0.2"), tmp_path, Way(lambda: in_process))


def test_parts_go_on_and_are_exported(tmp_path: Path) -> None:
    """One part is stopped after an episode and goes on, the other is another process'; compact records stay whole."""
    run, made = tmp_path / "run", bulk("duel-s0..1-d0.2", cells=2)
    way = Way(lambda: in_process, compact=True)

    def once(job: Job, specs: Specs) -> Launched:
        for spec in specs:
            assert spec
            yield spec, job(spec)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        generate(made, run, Way(lambda: once, compact=True), (0, 2))
    assert len(list(episodes(run / "shard-0000"))) == 1 and not (run / "shard-0000" / DONE).exists()
    done, code = generate(made, run, way, (0, 2))
    assert (code, done.episodes, done.new, done.shards_done) == (0, 2, 1, 1)
    assert [path.name for path in sorted(run.glob("shard-*"))] == ["shard-0000"]
    done, code = generate(made, run, Way(lambda: threads(2), compact=True, concurrent=2))
    assert (code, done.episodes, done.new, done.shards_done) == (0, 4, 2, 2)
    again, _ = generate(made, run, way)
    assert (again.episodes, again.new, again.steps) == (4, 0, 0) and "4 of 4 episodes, 2 of 2 shards" in again.line
    for shard in sorted(run.glob("shard-*")):
        assert audit(shard) == ([], [])
        for folder in episodes(shard):
            assert not list((folder / "attempts").glob("*.json")) and Episode(folder).attempts()
    packed = pack(run / "shard-0000", tmp_path / "shard.mlgym.tar.gz")
    assert verify(packed.file, grade=False).difference == ""
    told = export([run], tmp_path / "out", {"format": "chat", "validation": 0, "filter": {"alike": 1}}, print)
    assert told.rows == {"train": 4} and told.left_out == {}
    steps = next(run.glob("shard-0000/*/tuner*/0/steps.jsonl"))
    steps.write_text("".join(line + "\n" for line in steps.read_text().splitlines()[:-2]))
    told = export([run], tmp_path / "less", {"format": "chat", "validation": 0, "filter": {"alike": 1}}, print)
    assert told.left_out == {"suspicious by audit": 1}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    command = ["data", "generate", "duel-s0..5-d0.2", "-a", "nop", "-a", "tuner?trials=2", "-n", "2", "--cells", "4"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    luck = random.Random(0)
    for seconds in (*(luck.uniform(1, 5) for _ in range(4)), None):
        process = subprocess.Popen([sys.executable, "-m", "mlgym", *command, "--compact", "-o", str(tmp_path)], env=env)
        try:
            assert process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    made = bulk("duel-s0..5-d0.2", cells=4)
    for shard in range(made.shards):
        for spec in made.specs(shard):
            store = Episode.read(episode_folder(made.folder(tmp_path, shard), spec))
            assert store.result and store.result.scored and store.spec == spec
        assert audit(made.folder(tmp_path, shard))[0] == []
