"""The families of games, mazes and formulas: exact values, ceilings that are ceilings, and what is no submission."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym.check import SPLITS, measurements
from mlgym.grading import Grader
from mlgym.grading.forgeries import fitting, run_forgeries, run_without
from mlgym.grading.kinds import duels, mazes, replies
from mlgym.grading.prepare import prepare
from mlgym.task import load_task

chances = st.floats(0, 1)
players = st.lists(chances, min_size=5, max_size=5)
payoffs = st.lists(st.floats(-10, 10), min_size=4, max_size=4)
discounts = st.floats(0, 0.95)


@given(payoffs, players, players, discounts)
def test_a_duels_value_is_the_discounted_sum_of_its_rounds(payoffs, row, column, discount):
    """Round by round, from the chances of the four outcomes, until what is left is nothing."""
    total, now = 0.0, _round(row[0], column[0])
    for n in range(800):
        total += discount**n * sum(p * u for p, u in zip(now, payoffs, strict=True))
        after = [_round(row[m + 1], column[m + 1]) for m in range(4)]
        now = [sum(now[m] * after[m][n] for m in range(4)) for n in range(4)]
    assert abs(duels.value(payoffs, row, column, discount) - (1 - discount) * total) < 1e-9


tenths = st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=5, max_size=5)


@settings(max_examples=10)
@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), tenths, tenths, st.floats(0, 0.7), st.integers(0, 9))
def test_a_duels_value_is_what_games_earn_on_average(payoffs, row, column, discount, seed):
    rng, earned = random.Random(seed), []
    for _ in range(1000):
        p, q, total = row[0], column[0], 0.0
        while True:
            outcome = 2 * (rng.random() < p) + (rng.random() < q)
            total, p, q = total + payoffs[outcome], row[outcome + 1], column[outcome + 1]
            if rng.random() >= discount:
                break
        earned.append((1 - discount) * total)
    # what a game earns is at most 9 (1 - discount) times its length: its deviation is below 9 * 1.4
    assert (
        abs(duels.value(payoffs, row, column, discount) - sum(earned) / len(earned)) < 6 * 9 * 1.4 / len(earned) ** 0.5
    )


@given(payoffs, players, players, discounts)
def test_no_player_earns_more_than_the_best_reply(payoffs, row, column, discount):
    top = duels.value(payoffs, duels.best(payoffs, column, discount), column, discount)
    assert duels.value(payoffs, row, column, discount) <= top + 1e-9


@given(st.lists(st.floats(0.2, 0.8), min_size=5, max_size=5), st.integers(0, 99))
def test_logs_are_the_same_again_and_show_the_player(column, seed):
    games = duels.logs(column, 300, 10, seed)
    assert games == duels.logs(column, 300, 10, seed)
    assert all(abs(seen - true) < 0.25 for seen, true in zip(duels.estimated(games), column, strict=True))


def _round(p: float, q: float) -> list[float]:
    return [(1 - p) * (1 - q), (1 - p) * q, p * (1 - q), p * q]


@given(payoffs, st.lists(chances, min_size=8, max_size=8), st.integers(0, 9), st.integers(1, 4))
def test_no_table_earns_more_than_the_best_reply_of_a_fixed_number_of_rounds(payoffs, opponent, seed, rounds):
    rng = random.Random(seed)
    table = [[rng.random() for _ in range(8)] for _ in range(rounds)]
    mean, variance = replies.moments(payoffs, opponent, table)
    assert mean <= replies.moments(payoffs, opponent, replies.best(payoffs, opponent, rounds))[0] + 1e-9
    total, square = _played(payoffs, opponent, table, 0)
    assert abs(mean - total / rounds) < 1e-9
    assert abs(variance - (square - total**2) / rounds**2) < 1e-8


def _played(payoffs, opponent, table, state):
    """Mean and mean square of the sum, over all ways that the rest of a game may go."""
    if not table:
        return 0.0, 0.0
    total = square = 0.0
    for n, p in enumerate(_round(table[0][state], opponent[state])):
        first, second = _played(payoffs, opponent, table[1:], replies.after(state, n // 2, n % 2))
        total += p * (payoffs[n] + first)
        square += p * (payoffs[n] ** 2 + 2 * payoffs[n] * first + second)
    return total, square


@given(st.integers(0, 2**31 - 1), st.integers(0, 10))
def test_no_route_is_cheaper_than_the_shortest(seed, tenths):
    settings = load_task(f"maze-s{seed}-d{tenths / 10:g}").settings
    grid = settings["grid"]
    costs = {mazes.where(grid, "S"): 0}  # Bellman and Ford, a way of its own
    for _ in range(len(grid) ** 2):
        before = dict(costs)
        for place, paid in before.items():
            for down, right in mazes.MOVES.values():
                there = (place[0] + down, place[1] + right)
                if mazes.enterable(grid, there):
                    costs[there] = min(costs.get(there, 10**9), paid + mazes.price(grid, there))
        if costs == before:
            break
    assert costs[mazes.where(grid, "G")] == settings["best"] == mazes.shortest(grid)
    assert settings["start"] >= 1.2 * settings["best"]


@pytest.mark.parametrize("name", ["duel-s1-d0", "duel-s1-d0.9", "maze-s1-d0.5", "games-s1-d0.9", "sat-s1-d0"])
def test_the_starter_is_at_the_floor_and_the_solution_at_the_ceiling(name):
    task = load_task(name)
    assert task.anchors and task.anchors.best == 1
    for solution, skill in ((False, 0), (True, 1)):
        [found] = measurements(task, 1, solution=solution)
        for split in SPLITS:
            assert abs(found.scores[split]["skill"] - skill) <= 5 * task.anchors.noise[split] + 1e-9


@pytest.mark.parametrize(
    ("name", "file", "text", "said"),
    [
        ("duel-s1-d0", "strategy.txt", "1 1 1 1", "has 4 numbers instead of 5"),
        ("duel-s1-d0", "strategy.txt", "1 1 1 1 1 1", "has 6 numbers"),
        ("duel-s1-d0", "strategy.txt", "1 1 1 1 nan", "'nan', which is not a number"),
        ("duel-s1-d0", "strategy.txt", "1 1 1 1 1e999", "1e999, which is not between 0 and 1"),
        ("duel-s1-d0", "strategy.txt", "1 1 1 1 -0.1", "not between"),
        ("duel-s1-d0", "strategy.txt", "1 1 1 1 1_0", "not a number"),
        ("duel-s1-d0", "strategy.txt", "1 1 1 1 \u0661", "not plain text"),
        ("maze-s1-d0", "route.txt", "UUU", "Move 1 of the route, U, runs into a wall"),
        ("maze-s1-d0", "route.txt", "", "The route ends at row 1, column 1"),
        ("maze-s1-d0", "route.txt", "X", "only the letters U, D, L, R are known"),
        ("maze-s1-d0", "route.txt", "R" * 1000, "1000 letters; 196 are the most"),
    ],
)
def test_what_is_no_submission_is_said_in_a_sentence(name, file, text, said, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / file).write_text(text, "utf-8")
    with Grader(prepare(load_task(name))) as grader:
        verdict = grader.grade(tmp_path / "files", "test")
    assert not verdict.valid and said in verdict.why


@pytest.mark.parametrize("name", ["duel-s1-d0", "maze-s1-d0"])
def test_a_fraud_of_a_text_pays_where_nothing_is_checked_and_only_there(name):
    prepared = prepare(load_task(name))
    chosen = [forgery for forgery in fitting(prepared.task.kind) if forgery.kinds]
    assert chosen
    assert [outcome for outcome in run_forgeries(prepared, chosen=chosen) if outcome.scored] == []
    assert [outcome for outcome in run_without(prepared, chosen) if not outcome.scored] == []
