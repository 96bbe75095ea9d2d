"""Procedures that are paid by the question: the grader answers each one, so that their number is exact.

The submission's function in probe.py, which has the problem's name, is a generator: it yields a question, gets the
answer, and returns the result. It runs in the player; instances and answers are the grader's. Many instances are solved
side by side, a question of each at a time. The problems, of n things or places with hidden ranks:

- find: (i,) -> -1, 0 or 1: the one sought lies before, at or after place i of n in a row. Result: its place.
- peak: (i, j) -> 1 where thing i has the lower rank; ranks rise and then fall. Result: the place of the highest.
- order: (i, j) -> 1 where thing i comes before j. Result: all things, from the first to the last.
- pool: any things -> 1 where one of the bad ones is among them. Result: the bad ones.
- extremes: (i, j) -> 1 where thing i has the lower rank. Result: the lowest and the highest.
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import InvalidSubmission, skills

PLAY = """
import probe
games = []
def begin(given):
    games[:] = [probe.PROBLEM(*given[1:]) for _ in range(given[0])]
    return go([None] * given[0])
def go(answers):
    said, left = [], []
    for game, answer in zip(games, answers):
        try:
            what, over = game.send(answer), 0
            left.append(game)
        except StopIteration as end:
            what, over = end.value, 1
        what = [what] if isinstance(what, int) else list(what)
        said += [over, len(what), *what]
    games[:] = left
    return said
"""
Instance = dict[str, Any]  # `ranks` of the things, and the `result`


def draw(rng: random.Random, problem: str, given: Sequence[int]) -> Instance:
    """An instance of so many things (and, for `pool`, so many bad ones).

    Each is drawn by itself: a player that has them all at once learns nothing of one from another.
    """
    n = given[0]
    ranks = rng.sample(range(n), n)
    if problem == "find":
        result = [rng.randrange(n)]
    elif problem == "peak":
        result = [rng.randrange(n)]
        left = rng.sample(range(n - 1), result[0])
        ranks = [*sorted(left), n - 1, *sorted(set(range(n - 1)) - set(left), reverse=True)]
    elif problem == "order":
        result = sorted(range(n), key=ranks.__getitem__)
    elif problem == "pool":
        result = sorted(rng.sample(range(n), given[1]))
    else:
        result = [ranks.index(0), ranks.index(n - 1)]
    return {"ranks": ranks, "result": result}


def answer(problem: str, instance: Instance, question: Sequence[int]) -> int:
    """The answer; InvalidSubmission for what is no question."""
    n, result = len(instance["ranks"]), instance["result"]
    size = {"find": 1, "pool": len(question)}.get(problem, 2)
    if len(question) != size or not 0 < size <= n or not all(0 <= each < n for each in question):
        what = {"find": "a place", "pool": "some things"}.get(problem, "two things")
        raise InvalidSubmission(f"{problem} asked {list(question)[:10]}; a question is {what} from 0 to {n - 1}.")
    if problem == "find":
        return int(result[0] > question[0]) - int(result[0] < question[0])
    if problem == "pool":
        return int(any(each in result for each in question))
    return int(instance["ranks"][question[0]] < instance["ranks"][question[1]])


def floor(problem: str, given: Sequence[int]) -> float:
    """How many questions one has who asks all there are, or each thing by itself."""
    n = given[0]
    return {"find": n, "peak": n - 1, "order": n * (n - 1) / 2, "pool": n, "extremes": n * (n - 1) / 2}[problem]


def ceiling(problem: str, given: Sequence[int]) -> float:
    """The mean number of questions that nobody can do with less than.

    `find`: of the best tree of questions, exactly. `extremes`: 3 n / 2 - 2 (Pohl 1972, CACM 15(6)). Else the mean depth
    of the flattest binary tree with a leaf for each result (Knuth, The Art of Computer Programming 3, 5.3.1).
    """
    n = given[0]
    if problem == "find":
        return searches(n)[n] / n
    if problem == "extremes":
        return math.ceil(3 * n / 2) - 2
    results = math.factorial(n) if problem == "order" else math.comb(n, given[1]) if problem == "pool" else n
    depth = results.bit_length() - 1
    return float(depth + 2 * (results - 2**depth) / results)


def searches(most: int) -> list[int]:
    """The fewest questions for all of n places together, by n: none for the only one that is left."""
    best = [0, 0]
    for n in range(2, most + 1):
        best.append(n + min(best[left] + best[n - 1 - left] for left in range((n + 1) // 2)))
    return best


def prepare(private: Path, starter: Path, *, problem: str, given: Sequence[int], count: int, seed: int) -> None:
    """Draw `count` instances for each split, and ask the starter how many questions it has."""
    rng = random.Random(f"{problem} {seed}")
    scale = {}
    scope: dict[str, Any] = {}
    exec(compile(starter.read_text(), str(starter), "exec"), scope)
    for split in ("validation", "test"):
        instances = [draw(rng, problem, given) for _ in range(count)]
        (private / f"{split}.json").write_text(json.dumps(instances))
        mine = [_alone(problem, instance, scope[problem](*given)) for instance in instances]
        marks = {"floor": floor(problem, given), "starter": sum(mine) / count, "ceiling": ceiling(problem, given)}
        scale[split] = {name: math.log1p(questions) for name, questions in marks.items()}
    skills.write(private, scale)


def _alone(problem: str, instance: Instance, game: Any) -> int:
    """The number of questions of a procedure that is trusted; ValueError where its result is wrong."""
    said, count = next(game), 0
    while True:
        try:
            count += 1
            said = game.send(answer(problem, instance, list(said)))
        except StopIteration as end:
            if sorted(end.value) != sorted(instance["result"]) or (
                problem != "pool" and end.value != instance["result"]
            ):
                raise ValueError(f"the starter's result {end.value} is wrong") from None
            return count


def grade(
    submission: Any, private: Path, *, problem: str, given: Sequence[int], split: str, seed: int
) -> dict[str, float]:
    """skill, on the logarithm of one more than the mean number of questions, and that mean."""
    instances = json.loads((private / f"{split}.json").read_text())
    player = submission.player("probe", seed)
    player.define("play", PLAY.replace("PROBLEM", problem))
    left, asked = list(range(len(instances))), [0] * len(instances)
    said = player.numbers("begin", np.array([len(instances), *given], "<i8"))
    while left:
        answers, next_left = [], []
        for n, (over, words) in zip(left, _parsed(said, len(left)), strict=True):
            if over:
                _check(problem, instances[n], words)
                continue
            asked[n] += 1
            if asked[n] > 2 * floor(problem, given):
                raise InvalidSubmission(f"{problem} asked more than {2 * floor(problem, given):.0f} questions.")
            answers.append(answer(problem, instances[n], words))
            next_left.append(n)
        left = next_left
        if left:
            said = player.numbers("go", np.array(answers, "<i8"))
    mean = sum(asked) / len(asked)
    return {"skill": skills.skill(private, split, math.log1p(mean)), "questions": mean}


def _parsed(said: Sequence[int], count: int) -> Iterator[tuple[bool, list[int]]]:
    """For each of `count` instances whether it is over, and the words of the question or the result."""
    at = 0
    for _ in range(count):
        if len(said) < at + 2 or said[at] not in (0, 1) or not 0 <= said[at + 1] <= len(said) - at - 2:
            raise InvalidSubmission("The function asked something that is no question.")
        yield said[at] == 1, list(said[at + 2 : at + 2 + said[at + 1]])
        at += 2 + said[at + 1]
    if at != len(said):
        raise InvalidSubmission("The function asked something that is no question.")


def _check(problem: str, instance: Instance, result: list[int]) -> None:
    if (sorted(result) if problem == "pool" else result) != instance["result"]:
        raise InvalidSubmission("The function returned a wrong result for one of the hidden instances.")
