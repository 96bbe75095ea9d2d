"""The families of games, mazes and formulas: exact values, ceilings that are ceilings, and what is no submission."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym.grading.kinds import duels

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


@settings(max_examples=10)
@given(payoffs, players, players, st.floats(0, 0.9), st.integers(0, 9))
def test_a_duels_value_is_what_games_earn_on_average(payoffs, row, column, discount, seed):
    rng, earned = random.Random(seed), []
    for _ in range(1500):
        p, q, total = row[0], column[0], 0.0
        while True:
            outcome = 2 * (rng.random() < p) + (rng.random() < q)
            total, p, q = total + payoffs[outcome], row[outcome + 1], column[outcome + 1]
            if rng.random() >= discount:
                break
        earned.append((1 - discount) * total)
    mean = sum(earned) / len(earned)
    spread = (sum((one - mean) ** 2 for one in earned) / len(earned) / len(earned)) ** 0.5
    assert abs(duels.value(payoffs, row, column, discount) - mean) <= 6 * spread + 1e-9


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
