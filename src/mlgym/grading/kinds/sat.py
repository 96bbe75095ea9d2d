"""Heuristics of a 3-SAT solver: processor time of solver and heuristic, against the baseline's on the same formulas.

The solver runs in the player, beside the heuristic, which could replace it there. What counts is therefore told by
others: the host measures the time from outside, and the grader repeats the search with the decisions that came back.
An answer that does not follow from them by the solver as it is given is none; and the time counted is at least what the
repetition takes, so that nobody gains by another solver.
"""

import gc
import importlib
import json
import random
import secrets
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import InvalidSubmission, dpll

SOLVER = Path(__file__).with_name("dpll.py").read_text()
# What the player runs: the solver, and this. Collecting garbage would be noise; the search makes none.
PLAY = """
def play(formula):
    import gc, heuristic
    gc.disable()
    solver = Solver(formula, heuristic.heuristic_fn)
    return [int(solver.solve()), *solver.decisions]
"""


class Formula(NamedTuple):
    """A formula and whether it can be satisfied."""

    clauses: dpll.Clauses
    satisfiable: bool


def prepare(public: Path, private: Path, baseline: Path, groups: Sequence[Mapping[str, Any]]) -> None:
    """Write the solver and sample formulas for the agent, and other formulas of the same law for each split.

    They are drawn anew each time: who has read this file knows none of them.
    """
    (public / "solver.py").write_text(SOLVER)
    (private / "baseline.py").write_bytes(baseline.read_bytes())
    for folder, name in ((public, "formulas"), (private, "validation"), (private, "test")):
        rng = random.Random(secrets.randbits(128))
        found = [formula for group in groups for formula in draw(rng, baseline.read_text(), **group)]
        rng.shuffle(found)
        lines = (json.dumps(formula._asdict(), separators=(",", ":")) for formula in found)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def draw(
    rng: random.Random,
    baseline: str,
    *,
    variables: int,
    clauses: int,
    satisfiable: int,
    unsatisfiable: int,
    decisions: tuple[int, int],
) -> Iterator[Formula]:
    """So many satisfiable and unsatisfiable formulas for which the baseline needs that many decisions, least to most.

    Each clause is of three variables, negated or not by a coin, as in SATLIB's uniform random 3-SAT. The bounds make
    all draws about equally hard; random search alone differs by factors of ten.
    """
    solvers = importlib.import_module("pysat.solvers")
    wanted = {True: satisfiable, False: unsatisfiable}
    while any(wanted.values()):
        formula = [
            [variable * rng.choice((-1, 1)) for variable in rng.sample(range(1, variables + 1), 3)]
            for _ in range(clauses)
        ]
        with solvers.Solver("m22", bootstrap_with=formula) as real:
            truth = bool(real.solve())
        if not wanted[truth]:
            continue
        heuristic: dict[str, Any] = {}
        exec(baseline, heuristic)
        ours = dpll.Solver(formula, heuristic["heuristic_fn"])
        if ours.solve() is not truth:
            raise RuntimeError("two solvers do not agree about a formula")
        if decisions[0] <= len(ours.decisions) <= decisions[1]:
            wanted[truth] -= 1
            yield Formula(formula, truth)


def grade(submission: Any, private: Path, *, rounds: int, split: str, seed: int) -> dict[str, float]:
    """`time_ratio`: the median, over rounds, of the submission's processor time by the baseline's just before.

    Beside it the medians of both times, in seconds for all formulas, and of the number of decisions.
    """
    baseline = (private / "baseline.py").read_text()
    lines = (private / f"{split}.jsonl").read_text().splitlines()
    formulas = [Formula(**json.loads(line)) for line in lines]
    theirs, ours, counts = [], [], []
    for _ in range(rounds):
        player = submission.player("", seed, timed=True)
        player.define("heuristic", baseline)
        player.define("solver", SOLVER + PLAY)
        for formula in formulas:
            _ask(player, formula)
        theirs.append(player.cpu_s())
        player = submission.player("heuristic", seed, timed=True)
        player.define("solver", SOLVER + PLAY)
        answers = [_ask(player, formula) for formula in formulas]
        ours.append(max(player.cpu_s(), _repeated(formulas, answers)))
        counts.append(sum(len(answer) - 1 for answer in answers))
    return {
        "time_ratio": statistics.median(own / base for own, base in zip(ours, theirs, strict=True)),
        "seconds": statistics.median(ours),
        "baseline_seconds": statistics.median(theirs),
        "decisions": statistics.median(counts),
    }


def _ask(player: Any, formula: Formula) -> list[int]:
    """What the player says: 1 for satisfiable or 0, then its decisions as literals."""
    found: list[int] = player.numbers("play", np.array(formula.clauses, np.int16))
    return found


def _repeated(formulas: Sequence[Formula], answers: Sequence[list[int]]) -> float:
    """The seconds in which the solver comes to the same answers with the same decisions; InvalidSubmission if not."""
    began = time.process_time()
    gc.disable()
    try:
        for number, (formula, answer) in enumerate(zip(formulas, answers, strict=True), 1):
            if answer[:1] != [formula.satisfiable] or not follows(formula, answer[1:]):
                raise InvalidSubmission(
                    f"The answer to formula {number} does not follow from heuristic_fn's decisions by the solver as it"
                    " is given: heuristic_fn must change neither the solver nor what it is handed."
                )
    finally:
        gc.enable()
    return time.process_time() - began


def follows(formula: Formula, decisions: Sequence[int]) -> bool:
    """Whether the solver comes to the right answer with exactly these decisions (literals)."""
    left = iter(decisions)

    def recorded(*state: Any) -> tuple[int, bool]:
        literal = next(left)
        return abs(literal), literal > 0

    try:
        answer = dpll.Solver(formula.clauses, recorded).solve()
    except (StopIteration, ValueError):
        return False
    return answer is formula.satisfiable and next(left, None) is None
