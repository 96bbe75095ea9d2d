"""The tuner's search: what it proposes, what it learns from runs that break, lag or take long, and what it submits."""

import math
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mlgym import agents
from mlgym.agents.breaks import Breaks
from mlgym.agents.places import Place, Value, fit
from mlgym.agents.proposals import Proposals
from mlgym.agents.study import Study
from mlgym.agents.trials import Trials
from mlgym.agents.watch import Watch, reports_of
from mlgym.errors import UsageError
from mlgym.records import Observation
from tests.worlds import World, play

TRAINING = """
LR = 0.1
WIDTH = 8
for epoch in range(8):
    print(f"epoch {epoch + 1}: loss {1 / (epoch + 1 + 10 * LR):.3f}, time {epoch * 3} s")
print("done")
open("strategy.py", "w").write(f"def row_strategy(history): return 0 if {LR} > 0.3 and history else 1")
"""


def places(*settings: tuple[str, Value]) -> list[Place]:
    made = []
    for n, (name, value) in enumerate(settings):
        there = fit(name, value)
        assert there is not None
        made.append(Place("a.py", n + 1, name, 0, 1, value, there))
    return made


def training(folder: Path, source: str = TRAINING, **baseline: Any) -> World:
    """A world whose baseline is a program that trains and reports."""
    world = World(folder)
    (folder / "train.py").write_text(source)
    told = {"command": f"{sys.executable} train.py", "files": ["train.py"], **baseline}
    world.brief = world.brief.model_copy(update={"baseline": {**world.brief.baseline, **told}})
    return world


def ran(world: World) -> list[tuple[str, str]]:
    """The thought and the output of each command."""
    return [(action.thought, seen.text) for action, seen in world.seen if action.tool == "bash"]


def search(spots: list[Place], score: Any, *, seed: int = 0, trials: int = 30, sampler: str = "tpe") -> Proposals:
    """A search over places whose score is a function of their values."""
    state = Trials({}, spots, Observation(text=""))
    study = Study(spots, "maximize", seed) if sampler == "tpe" else None
    found = Proposals(state, "maximize", seed, score(state.start), study, 8)
    for trial in range(1, trials + 1):
        values = found.next(trial)
        found.told(values, score(values))
    return found


def test_powers_of_two_stay_powers_of_two() -> None:
    spots = places(("lr", 0.01), ("batch", 64))
    for sampler in ("tpe", "near"):
        sizes = {
            values[1] for values in search(spots, lambda values: values[0] - values[1] / 100, sampler=sampler).tried
        }
        assert len(sizes) > 1 and sizes <= {16, 32, 64, 128, 256}


SPOTS = places(("lr", 0.01), ("epochs", 10), ("gamma", 0.99), ("chance", 0.5), ("scale", 3.0), ("on", False))


def hill(values: Any) -> float:
    lr, epochs, gamma, chance, scale, on = values
    away = (math.log10(lr) + 1.5) ** 2 + (math.log2(epochs) - 5) ** 2 / 4 + (math.log10(1 - gamma) + 1.3) ** 2
    return -float(away) - (chance - 1) ** 2 - math.log10(scale) ** 2 + (0.5 if on else 0)


@pytest.mark.parametrize("sampler", ["tpe", "near"])
def test_the_search_climbs(sampler: str) -> None:
    gains = [search(SPOTS, hill, seed=seed, sampler=sampler).score for seed in range(5)]
    assert min(gains) > hill([place.value for place in SPOTS]) + 1 and sum(gains) / 5 > -0.7


def test_the_search_follows_from_its_seed_and_from_what_it_was_told() -> None:
    one, two, other = (search(SPOTS, hill, seed=seed, trials=16) for seed in (3, 3, 4))
    assert one.tried == two.tried != other.tried
    assert len(set(one.tried)) == 17  # the starter and sixteen trials, none of them twice


def test_the_proposals_are_the_same_in_another_process() -> None:
    code = "from tests.test_tuner import *; print(search(SPOTS, hill, trials=12).tried)"
    made = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1 and b"0.01" in made.pop()


def test_what_only_looks_like_the_watchers_word_is_no_word() -> None:
    for said in (
        '[watched] {"seconds": 1}',
        "[watched] {}",
        "[watched] {x}",
        '[watched] {"seconds": "a", "reports": 3}',
    ):
        assert Watch().read(said).seconds == 0


def test_runs_that_break_are_halved_until_the_culprit_is_left_alone() -> None:
    def score(values: Any) -> float:
        return math.nan if values[1] != 10 else hill(values)

    found = search(SPOTS, score, trials=40)
    assert 1 not in found.open and len(found.open) == 5
    assert [values[1] for values in found.tried[-10:]] == [10] * 10 and found.score > score(found.tried[0])


def test_halves_that_go_well_leave_the_others_suspect_with_their_values() -> None:
    breaks, start = Breaks(SPOTS), [place.value for place in SPOTS]
    breaks.told([0.1, 20, 0.95, 0.9, *start[4:]], True)
    half = breaks.next(Random(0))
    assert half is not None and sum(a != b for a, b in zip(half, start, strict=True)) == 2
    breaks.told(half, False)
    quarter = breaks.next(Random(0))
    assert quarter is not None and sum(a != b for a, b in zip(quarter, start, strict=True)) == 1
    assert not any(a != c and b != c for a, b, c in zip(half, quarter, start, strict=True))
    breaks.told(quarter, False)
    last = breaks.next(Random(0))
    assert last is not None and sum(a != b for a, b in zip(last, start, strict=True)) == 1
    breaks.told(last, False)
    assert breaks.next(Random(0)) is None and not breaks.dropped  # only together do they break


def test_where_nothing_may_change_the_search_ends(tmp_path: Path) -> None:
    world = training(tmp_path, "LR = 0.1\nassert LR == 0.1\nimport strategy\n")
    world.drive(agents.load("tuner?trials=9")(world.brief, None))
    assert world.submitted and len(ran(world)) == 4  # read, the starter, two that broke
    assert (tmp_path / "train.py").read_text() == "LR = 0.1\nassert LR == 0.1\nimport strategy\n"


def test_the_starter_is_run_first_and_its_reports_are_found(tmp_path: Path) -> None:
    world = training(tmp_path)
    world.drive(agents.load("tuner?trials=1")(world.brief, None))
    first, second, *_ = ran(world)[1:]
    assert first[0].startswith("Run the starter as it is") and '"reports": []' in first[1]
    assert second[0].startswith("Trial 1, near the best so far: train.py:") and '"reports": [-0.' in second[1]
    assert world.submitted


def test_a_run_that_lags_behind_is_stopped_and_not_validated(tmp_path: Path) -> None:
    world = training(tmp_path, TRAINING.replace("    print", "    __import__('time').sleep(0.02)\n    print"))
    world.drive(agents.load("tuner?trials=10")(world.brief, None))
    stopped = [n for n, (_, text) in enumerate(ran(world)) if '"stopped": "behind"' in text]
    assert stopped and all("done" not in ran(world)[n][1] for n in stopped)
    assert sum(seen.validation is not None for _, seen in world.seen) == 10 - len(stopped)
    best = max(seen.validation["Score"] for _, seen in world.seen if seen.validation)
    assert play((tmp_path / "strategy.py").read_text(), 1) == best  # what was saved was gone back to


def test_nothing_is_stopped_for_lagging_where_it_is_off_or_output_is_not_progressive(tmp_path: Path) -> None:
    for name, options, source in (("a", "&prune=false", TRAINING), ("b", "", TRAINING.replace("loss", "state"))):
        (tmp_path / name).mkdir()
        world = training(tmp_path / name, source)
        world.drive(agents.load(f"tuner?trials=6{options}")(world.brief, None))
        assert not [text for _, text in ran(world) if '"stopped": "behind"' in text]


def test_a_run_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    watch = Watch(seconds=0.1)
    slow = f"{sys.executable} -c 'import time; print(1, flush=True); time.sleep(60)'"
    done = subprocess.run(["bash", "-c", watch.command(slow, 1.0)], capture_output=True, text=True)
    run = watch.read(done.stdout)
    assert done.returncode == 1 and run.stopped == "late" and 1 <= run.seconds < 10 and done.stdout.startswith("1\n")


def test_the_watch_passes_on_output_and_exit_code(tmp_path: Path) -> None:
    watch = Watch()
    code = 'import sys; print("it\'s"); print("é", file=sys.stderr); sys.exit(7)'
    script = tmp_path / "a.py"
    script.write_text(code)
    done = subprocess.run(
        ["bash", "-c", watch.command(f"{sys.executable} {script}", 60)], capture_output=True, text=True
    )
    assert done.returncode == 7 and done.stdout.splitlines()[:2] in (["it's", "é"], ["é", "it's"]) and not done.stderr
    assert watch.command("make all", 60) == "make all"  # where no Python is, nothing watches


@pytest.mark.parametrize(
    ("lines", "shape", "slot", "sign"),
    [
        (
            "epoch {n}: loss 0.{n}, accuracy on held-out pictures 0.{n}",
            "epoch #: loss #, accuracy on held-out pictures #",
            2,
            1,
        ),
        ("{n}00 frames, mean return of each policy [1.{n} 2 3e-1]", "# frames, mean return of each policy #", 1, 1),
        ("step {n}: training loss 3.{n}, 1 s", "step #: training loss #, # s", 1, -1),
        ('{{"epoch": {n}, "val_acc": 0.8{n}, "lr": 0.1}}', '{"epoch": #, "val_acc": #, "lr": #}', 1, 1),
        ("# {n}: loss 0.{n}", "#: loss #", 1, -1),
        ("{n} files done, 3 left", "", 0, 0),
    ],
)
def test_reports_are_recognised_by_their_names(lines: str, shape: str, slot: int, sign: int) -> None:
    text = "start\n" + "\n".join(lines.format(n=n) for n in range(1, 6)) + "\nscore 0.3\n"
    kind = reports_of(text, "accuracy", "maximize")
    assert (kind and (kind.shape, kind.slot, kind.sign)) == ((shape, slot, sign) if shape else None)


def test_the_bar_is_the_median_of_four_runs_after_a_quarter() -> None:
    watch = Watch(runs=[(1.0,) * 8, (2.0,) * 8, (4.0,) * 8])
    assert watch.least() == [None] * 8
    watch.runs.append((5.0,) * 4)
    assert watch.least() == [None, None, 3.0, 3.0, None, None, None, None]


def test_configuration_and_command_line_are_tuned_too(tmp_path: Path) -> None:
    source = (
        "import json, sys\nc = json.load(open('c.json'))\nopen('../out', 'a').write(f\"{c['lr']} {sys.argv[-1]}\\n\")\n"
    )
    (folder := tmp_path / "w").mkdir()
    (folder / "c.json").write_text('{"lr": 0.01, "seed": 4}\n')
    world = training(folder, source, command=f"{sys.executable} train.py --config c.json --depth 6")
    world.drive(agents.load("tuner?trials=6")(world.brief, None))
    lines = [line.split() for line in (tmp_path / "out").read_text().splitlines()]
    assert lines[0] == ["0.01", "6"] and len({rate for rate, _ in lines}) > 1 and len({depth for _, depth in lines}) > 1
    assert '"seed": 4' in (folder / "c.json").read_text()


def test_less_may_be_better(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.brief = world.brief.model_copy(update={"direction": "minimize"})
    world.drive(agents.load("tuner?trials=14")(world.brief, None))
    scores = [seen.validation["Score"] for _, seen in world.seen if seen.validation]
    final = world.seen[-1][0].thought
    assert min(scores) < 0.9 and final == f"Submit the best by validation, Score {min(scores):.4g}."


def test_a_fresh_tuner_fed_the_same_observations_does_the_same(tmp_path: Path) -> None:
    world = training(tmp_path)
    world.drive(agents.load("tuner?trials=6&startup=3")(world.brief, None))
    flow, again = agents.load("tuner?trials=6&startup=3")(world.brief, None), []
    sent: Observation | None = None
    for _, seen in world.moves:
        again.append(next(flow) if sent is None else flow.send(sent))
        sent = seen
    assert again == [move for move, _ in world.moves]


@pytest.mark.parametrize("sampler", ["tpe", "near"])
def test_a_starter_without_a_score_is_measured(tmp_path: Path, sampler: str) -> None:
    world = World(tmp_path)
    world.brief = world.brief.model_copy(update={"baseline": {**world.brief.baseline, "scores": {}}})
    actions = world.drive(agents.load(f"tuner?trials=2&sampler={sampler}")(world.brief, None))
    assert [action.tool for action in actions[:3]] == ["bash", "validate", "bash"] and world.submitted


def test_seconds_that_are_left_bound_a_trial(tmp_path: Path) -> None:
    spots = places(("lr", 0.1))
    brief = training(tmp_path).brief
    state = Trials({"a.py": "0"}, spots, Observation(text="", seconds_left=30.0), dearest=5.0)
    assert '"seconds": 22.5' in state.command(brief, [0.2])
    state.longest, state.watch.seconds = 4.0, 4.0
    assert '"seconds": 16.0' in state.command(brief, [0.2])
    assert state.time_left()
    state.dearest = 11.0
    assert not state.time_left()


def test_an_unknown_sampler_is_one_sentence(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(UsageError, match=r"^The tuner has no sampler 'grid'; it has tpe and near\.$"):
        next(agents.load("tuner?sampler=grid")(world.brief, None))


def test_without_optuna_the_tuner_searches_near_and_says_so() -> None:
    code = """
import sys
sys.modules["optuna"] = None
from mlgym import agents
from mlgym.agents.study import Study
from mlgym.errors import UsageError
print(agents.about("tuner")["options"]["sampler"])
try:
    Study([], "maximize", 0)
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "near",
        "The sampler 'tpe' needs Optuna: pip install 'mlgym-env[tuner]', or take sampler=near.",
    ]
    assert agents.about("tuner")["options"]["sampler"] == "tpe"
