"""How agents are named, and the agents without a model."""

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

from mlgym import agents
from mlgym.agents.commands import shell, write
from mlgym.agents.numerals import numerals
from mlgym.agents.places import replaced, written
from mlgym.errors import UsageError
from mlgym.records import Action
from tests.worlds import CLASSIC, MODERN, STRATEGY, World, play


def values(source: str) -> list[Any]:
    return [numeral.value for numeral in numerals(source)]


def test_every_nickname_is_a_generator() -> None:
    for name in agents.NICKNAMES:
        assert inspect.isgeneratorfunction(agents.load(name).func)


def test_an_agent_may_be_named_by_its_module(tmp_path: Path) -> None:
    world = World(tmp_path)
    actions = world.drive(agents.load("mlgym.agents.replay:nop")(world.brief, None))
    assert [action.tool for action in actions] == ["submit"]


@pytest.mark.parametrize(
    ("spec", "said"), [("nobody", "known: .*nop.*react"), ("tuner?trails=3", "trails.*it has: trials")]
)
def test_unknown_agents_and_options_are_refused(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        agents.load(spec)


@pytest.mark.parametrize("tools", [MODERN, CLASSIC])
def test_replay_takes_the_actions_again(tmp_path: Path, tools: Any) -> None:
    world = World(tmp_path, tools=tools)
    actions = [shell(world.brief, "echo hello > a"), Action(tool="validate"), Action(tool="submit")]
    assert world.drive(agents.load("replay", moves=actions)(world.brief, None)) == actions
    assert (tmp_path / "a").read_text() == "hello\n"


@pytest.mark.parametrize("tools", [MODERN, CLASSIC])
def test_the_oracle_writes_runs_validates_and_submits(tmp_path: Path, tools: Any) -> None:
    text = 'def row_strategy(history):\n    return 0  # it\'s "$HOME" `x` \\\nEND_OF_FILE = 1\n'
    world = World(tmp_path, tools=tools)
    world.brief = world.brief.model_copy(update={"baseline": {**world.brief.baseline, "command": "echo made > out"}})
    files = {"strategy.py": text, "deep/er file.txt": "no newline"}
    world.drive(agents.load("oracle", files=files)(world.brief, None))
    assert (tmp_path / "strategy.py").read_text() == text
    assert (tmp_path / "deep/er file.txt").read_text() == "no newline\n"
    assert (tmp_path / "out").read_text() == "made\n"
    assert world.seen[1][1].validation["Score"] == pytest.approx(1.44, abs=0.03) and world.submitted


def test_a_written_file_may_hold_the_end_mark(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.step(shell(world.brief, write({"a": "END_OF_FILE\nEND_OF_FILE_\n"}, "cat a > b")))
    assert (tmp_path / "b").read_text() == "END_OF_FILE\nEND_OF_FILE_\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (STRATEGY, [0.1, 0.2, 0.9]),
        ("ALPHA = 0.1", [0.1]),
        ("model = Ridge(alpha=2.5, random_state=42)", [2.5]),
        ("SEED = 42\nrandom.seed(7)\nrng = default_rng(5)", []),
        ("def f(a, b=3, *, c=0.5, seed=9): pass", [3, 0.5]),
        ("a = x[7] + y[2:5] * 3.0", [3.0]),
        ("return_ = f'{3.5}'\nb = True\nc = None", []),
        ("def f(n):\n    if n == 4: return 5\n    return 0.25 if n > 2 else 6", [2]),
        ("for i in range(10): print(3, 4)", []),
        ("x: float = -1e-3", [0.001]),
        ("é = 'ü'; y = 2.5", [2.5]),
        ("not python at all", []),
    ],
)
def test_the_numbers_worth_tuning(source: str, found: list[float]) -> None:
    assert values(source) == found


def test_numbers_are_replaced_in_place_and_nothing_else() -> None:
    source = "é = 0.1  # 0.1\nif rnum < 0.2: y = f(3, k=4e-5)\n"
    changed = replaced(source, numerals(source), [1.0, 1e-9, 12, 2.5])
    assert changed == "é = 1.0  # 0.1\nif rnum < 1.0e-09: y = f(12, k=2.5)\n"


@pytest.mark.parametrize("value", [1.0, 0.1, 123456.0, 1e-9, 1e22, 7, 250])
def test_written_numbers_keep_their_kind(value: float) -> None:
    again = ast.literal_eval(written(value))
    assert type(again) is type(value) and again == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_the_tuner_beats_the_baseline(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed=seed)
    world.drive(agents.load("tuner")(world.brief, None))
    assert world.submitted and world.steps >= 1
    assert play((tmp_path / "strategy.py").read_text(), 99, 1000) > 1.3


def test_the_tuner_is_decided_by_its_seed(tmp_path: Path) -> None:
    def actions(name: str, seed: int) -> list[Action]:
        (tmp_path / name).mkdir()
        world = World(tmp_path / name, seed=seed)
        return world.drive(agents.load("tuner?trials=4")(world.brief, None))

    assert actions("a", 3) == actions("b", 3) != actions("c", 4)


@pytest.mark.parametrize("steps", [2, 6, 9])
def test_the_tuner_keeps_within_the_steps_and_submits_its_best(tmp_path: Path, steps: int) -> None:
    world = World(tmp_path, steps=steps)
    world.drive(agents.load("tuner")(world.brief, None))
    assert world.submitted
    scores = [seen.validation["Score"] for _, seen in world.seen if seen.validation]
    assert play((tmp_path / "strategy.py").read_text(), 1) == pytest.approx(max([1.0227, *scores]), abs=0.02)


def test_the_tuner_counts_broken_trials_as_worse(tmp_path: Path) -> None:
    world = World(tmp_path)
    guard = "LIMIT = 0.5\nassert LIMIT == 0.5\ndef row_strategy(history):\n    return 1\n"
    (tmp_path / "strategy.py").write_text(guard)
    world.drive(agents.load("tuner?trials=5")(world.brief, None))
    assert world.submitted and (tmp_path / "strategy.py").read_text() == guard


def test_the_tuner_runs_the_baseline_command_in_each_trial(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    world = World(tmp_path / "w", steps=12)
    update = {"baseline": {**world.brief.baseline, "command": "echo ran >> ../log"}}
    world.brief = world.brief.model_copy(update=update)
    world.drive(agents.load("tuner?trials=3")(world.brief, None))
    assert len((tmp_path / "log").read_text().split()) == 4  # the starter is run too


def test_random_draws_around_the_baseline_whatever_the_scores_are(tmp_path: Path) -> None:
    def thoughts(name: str, metric: str, seed: int = 3) -> list[str]:
        (tmp_path / name).mkdir()
        world = World(tmp_path / name, seed=seed)
        world.brief = world.brief.model_copy(update={"metric": metric})
        actions = world.drive(agents.load("random?trials=6")(world.brief, None))
        assert world.submitted and [action.tool for action in actions[1:]] == ["bash", "validate"] * 6 + ["submit"]
        return [action.thought for action in actions if action.tool == "bash"]

    assert thoughts("a", "Score") == thoughts("b", "no such metric") != thoughts("c", "Score", seed=4)


def test_random_submits_its_last_change(tmp_path: Path) -> None:
    world = World(tmp_path)
    actions = world.drive(agents.load("random?trials=4")(world.brief, None))
    (_, _, _, last) = [action.args["command"] for action in actions if action.thought.startswith("Trial")]
    assert (tmp_path / "strategy.py").read_text() in last


@pytest.mark.parametrize("steps", [2, 6, 9])
def test_random_has_the_steps_of_the_tuner(tmp_path: Path, steps: int) -> None:
    def made(name: str) -> int:
        (tmp_path / name).mkdir()
        world = World(tmp_path / name, steps=steps)
        world.drive(agents.load(name)(world.brief, None))
        assert world.submitted
        return sum(seen.validation is not None for _, seen in world.seen)

    assert made("random") == made("tuner")


@pytest.mark.parametrize("name", ["tuner", "random"])
def test_without_numbers_it_submits(tmp_path: Path, name: str) -> None:
    world = World(tmp_path)
    (tmp_path / "strategy.py").write_text("def row_strategy(history):\n    return 0\n")
    assert [action.tool for action in world.drive(agents.load(name)(world.brief, None))] == ["bash", "submit"]


def test_the_tuner_validates_nothing_that_did_not_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.brief = world.brief.model_copy(update={"baseline": {**world.brief.baseline, "command": "false"}})
    tools = [action.tool for action in world.drive(agents.load("tuner?trials=3")(world.brief, None))]
    assert tools == ["bash"] * 5 + ["submit"]  # read, the starter, three trials
