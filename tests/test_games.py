"""The three games: the opponents play by the rules of the original, so that published scores compare."""

import importlib.util
import itertools
import random
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mlgym.grading import Grader
from mlgym.grading.prepare import KINDS, prepare
from mlgym.task import load_task

NAMES = ["battle-of-sexes", "prisoners-dilemma", "blotto"]
MANY = 40_000  # draws: the standard error of a frequency is at most 0.0025


def load(name: str, path: Path, monkeypatch: pytest.MonkeyPatch, package: bool = False) -> ModuleType:
    places = [str(path.parent)] if package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def task(request, monkeypatch) -> ModuleType:
    """The hidden module of a task, as the grader loads it."""
    load("kinds", KINDS / "__init__.py", monkeypatch, package=True)
    monkeypatch.delitem(sys.modules, "kinds.games", raising=False)
    return load("task", load_task(request.param).code, monkeypatch)


def only(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("task", [name], indirect=True)


def ones(task: ModuleType, history: list[tuple[int, int]]) -> float:
    """How often the opponent plays 1 after this history."""
    past = np.array([history] * MANY, np.uint8).reshape(MANY, len(history), 2)
    return float(np.mean(task.opponent(np.random.default_rng(1), past[:, :, 0], past[:, :, 1])))


HISTORIES = [
    [*zip(rows, columns, strict=True)]
    for length in range(4)
    for rows in itertools.product((0, 1), repeat=length)
    for columns in itertools.product((0, 1), repeat=length)
]


@only("battle-of-sexes")
def test_the_opponent_in_battle_of_the_sexes(task):
    for history in HISTORIES:
        first = history[0][0] if history else None
        expected = 1.0 if first is None else (0.8 if first == 1 else 0.2)
        assert ones(task, history) == pytest.approx(expected, abs=0.012), history


def defects(history: list[tuple[int, int]]) -> float:
    """The chance of 1 by the eleven rules, spelt out one by one."""
    if not history:
        return (1 + 0 + 0 + 1 + 0.5 + 0 + 0 + 0 + 1 + 0.5 + 0) / 11
    (r, c), rows = history[-1], [row for row, _ in history]
    twice = rows[-2:] == [1, 1]
    chances = [
        1 / 6 + 0.4 * c + 0.1 * (1 - r),
        r,
        0,
        1,
        0.5,
        1 in rows,
        r != c,
        twice,
        r,
        0.5,
        0 if twice else r,
    ]
    return sum(map(float, chances)) / 11


@only("prisoners-dilemma")
def test_the_opponent_in_the_prisoners_dilemma(task):
    for history in HISTORIES:
        assert ones(task, history) == pytest.approx(defects(history), abs=0.012), history


def test_the_best_in_the_prisoners_dilemma_is_the_optimum():
    """By dynamic programming over the row's last two moves, whether it ever defected, and the opponent's last move."""
    pay = [[3, 0], [5, 1]]

    @cache
    def value(rounds: int, grim: int, before: int, r: int, c: int) -> float:
        if rounds == 0:
            return 0.0
        chance = defects([(grim, 0), (before, 0), (r, c)])
        best = -1.0
        for move in (0, 1):
            after = [pay[move][other] + value(rounds - 1, grim | move, r, move, other) for other in (0, 1)]
            best = max(best, (1 - chance) * after[0] + chance * after[1])
        return best

    def start(move: int) -> float:
        return sum(
            chance * (pay[move][other] + value(9, move, 0, move, other))
            for other, chance in ((0, 1 - defects([])), (1, defects([])))
        )

    anchors = load_task("prisoners-dilemma").anchors
    assert anchors and max(start(0), start(1)) / 10 == pytest.approx(anchors.best, abs=1e-4)
    assert start(1) > start(0)


def plain_spread(rng: random.Random) -> list[int]:
    """Blotto's opponent in plain Python."""
    drawn = [rng.randint(0, 120) for _ in range(6)]
    spread = [int(number * 120 / sum(drawn)) for number in drawn]
    spread[rng.randrange(6)] += 120 - sum(spread)
    return spread


@only("blotto")
def test_the_opponent_in_blotto(task):
    past = np.zeros((MANY, 0, 6), np.uint8)
    drawn = task.opponent(np.random.default_rng(1), past, past)
    assert drawn.shape == (MANY, 6) and (drawn >= 0).all() and (drawn.sum(axis=1) == 120).all()
    rng = random.Random(1)
    plain = np.array([plain_spread(rng) for _ in range(MANY)])
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        assert np.quantile(drawn, quantile) == pytest.approx(np.quantile(plain, quantile), abs=1)
    assert drawn.mean(axis=0) == pytest.approx([20] * 6, abs=0.3)
    for move in ([30, 30, 30, 30, 0, 0], [20] * 6, [0, 0, 0, 0, 0, 120]):
        row = np.array([move] * MANY)
        assert task.GAME.payoff(row, drawn).mean() == pytest.approx(task.GAME.payoff(row, plain).mean(), abs=0.02)


@only("blotto")
@pytest.mark.parametrize(
    ("row", "column", "pay"),
    [
        ([20] * 6, [20] * 6, 0),
        ([21, 21, 21, 21, 36, 0], [20] * 6, 1),
        ([0, 0, 0, 0, 60, 60], [20] * 6, -1),
        ([0] * 6, [0, 0, 0, 0, 0, 120], -1),
        ([40, 40, 40, 0, 0, 0], [0, 0, 0, 40, 40, 40], 0),
    ],
)
def test_a_round_of_blotto_goes_to_the_majority_of_fields(task, row, column, pay):
    assert task.GAME.payoff(np.array([row]), np.array([column])).tolist() == [pay]


@pytest.mark.parametrize("task", NAMES, indirect=True)
def test_the_opponents_luck_does_not_depend_on_the_row_player(task):
    tail = (6,) if hasattr(task, "GAME") else ()
    states = []
    for move in (0, 1):
        rng = np.random.default_rng(3)
        past = np.full((50, 4, *tail), move, np.uint8)
        task.opponent(rng, past, 1 - past)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1]


@pytest.fixture(scope="module", params=NAMES)
def graded(request):
    prepared = prepare(load_task(request.param))
    with Grader(prepared) as grader:
        yield prepared.task, grader


def test_the_baseline_scores_as_published_and_as_recorded(graded):
    task, grader = graded
    for split in ("validation", "test"):
        scores = [grader.grade(task.workspace, split, seed=seed).scores["score"] for seed in range(3)]
        assert len(set(scores)) == 3
        assert np.mean(scores) == pytest.approx(task.anchors.published["baseline"], abs=0.02)
        assert np.mean(scores) == pytest.approx(task.anchors.baseline[split], abs=4 * task.anchors.noise[split])


def test_the_solution_reaches_the_best_known(graded):
    task, grader = graded
    verdict = grader.grade(task.solution, "test")
    assert verdict.scores["score"] == pytest.approx(task.anchors.best, abs=0.02)
    assert verdict.scores["score"] > task.anchors.baseline["test"] + 0.2


def test_the_same_split_and_seed_give_the_same_score(graded):
    task, grader = graded
    scores = [grader.grade(task.workspace, split).scores for split in ("validation", "test", "validation")]
    assert scores[0] == scores[2] != scores[1]


def test_a_grading_of_10000_games_takes_seconds(graded):
    task, grader = graded
    assert grader.grade(task.solution, "validation").seconds < 10


@pytest.fixture(scope="module")
def blotto():
    prepared = prepare(load_task("blotto"))
    with Grader(prepared) as grader:
        yield prepared, grader


@pytest.mark.parametrize(
    ("move", "said"),
    [
        ("[120] * 6", "[120, 120, 120, 120, 120, 120] in round 1"),
        ("[121, 0, 0, 0, 0, 0]", "in round 1"),
        ("[-1, 0, 0, 0, 0, 0]", "[-1, 0, 0, 0, 0, 0] in round 1"),
        ("[2**62] * 6", "in round 1"),
        ("[10**40] * 6", "a sequence of 6 whole numbers"),
        ("[20] * 5", "a sequence of 6 whole numbers"),
        ("[20] * 7", "a sequence of 6 whole numbers"),
        ("[20.0] * 6", "a sequence of 6 whole numbers"),
        ("[float('nan')] * 6", "a sequence of 6 whole numbers"),
        ("20", "a sequence of 6 whole numbers"),
        ("'aaaaaa'", "a sequence of 6 whole numbers"),
        ("[[20]] * 6", "a sequence of 6 whole numbers"),
        ("__import__('numpy').full(6, 20.0)", "a sequence of 6 whole numbers"),
        ("[20] * 6 if len(history) < 3 else [30] * 6", "in round 4"),
    ],
)
def test_an_invalid_spread_makes_the_submission_invalid(blotto, tmp_path, move, said):
    (tmp_path / "strategy.py").write_text(f"def row_strategy(history):\n    return {move}\n")
    verdict = blotto[1].grade(tmp_path, "validation")
    assert not verdict.valid and said in verdict.why and verdict.why.endswith(".")


def test_without_the_check_of_moves_120_soldiers_on_each_field_win_everything(blotto, tmp_path):
    import naive_grading

    (tmp_path / "strategy.py").write_text("def row_strategy(history):\n    return [120] * 6\n")
    prepared, _ = blotto
    unchecked = tmp_path / "unchecked"
    unchecked.mkdir()
    code = prepared.task.code.read_text()
    (unchecked / "task.py").write_text(
        code + "\nGAME = games.Game(opponent, GAME.payoff, lambda row: row[:, 0] > -1, '', 6)\n"
    )
    assert naive_grading.grade(prepared.task.code, prepared.private, tmp_path)["valid"] is False
    assert naive_grading.grade(unchecked / "task.py", prepared.private, tmp_path)["scores"]["score"] > 0.99


@pytest.mark.parametrize("move", ["(30, 30, 30, 30, 0, 0)", "__import__('numpy').array([30, 30, 30, 30, 0, 0])"])
def test_tuples_and_arrays_of_whole_numbers_are_spreads(blotto, tmp_path, move):
    (tmp_path / "strategy.py").write_text(f"MOVE = {move}\ndef row_strategy(history):\n    return MOVE\n")
    assert blotto[1].grade(tmp_path, "validation").scores == {"score": pytest.approx(0.247, abs=0.02)}


def test_the_history_is_a_fresh_list_of_rounds(blotto, tmp_path):
    (tmp_path / "strategy.py").write_text(
        """
def row_strategy(history):
    assert type(history) is list and len(history) < 10, history
    for entry in history:
        row, column = entry
        assert type(entry) is tuple and row == (30, 30, 30, 30, 0, 0) and sum(column) == 120 and len(column) == 6
    history.append("mine")
    return [30, 30, 30, 30, 0, 0]
"""
    )
    verdict = blotto[1].grade(tmp_path, "validation")
    assert verdict.valid, verdict.why
