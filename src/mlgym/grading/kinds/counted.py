"""Heuristics of a SAT solver, by the number of their decisions: the same each time, on every machine.

The solver runs in the player, beside the heuristic, which could replace it there: the grader repeats each search with
the decisions that came back, and an answer that does not follow from them is none.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import InvalidSubmission, dpll
from .sat import SOLVER, Formula, follows

# What the player runs: the solver, and this. Clauses of two literals have a zero more, so that all are of one length.
PLAY = """
def play(formula):
    import heuristic
    solver = Solver([[literal for literal in clause if literal] for clause in formula], heuristic.heuristic_fn)
    return [int(solver.solve()), *solver.decisions]
"""


MARGIN = 1.4  # so many times the solution's decisions are the least that the starter needs for a set of formulas


def prepare(public: Path, private: Path, starter: Path, solution: Path, settings: Mapping[str, Any], seed: int) -> None:
    """Write the solver and sample formulas for the agent, and other formulas of the same law for each split.

    marks.json has the decisions that the starter and the solution need for each split.
    """
    (public / "solver.py").write_text(SOLVER)
    marks = {}
    for folder, name in ((public, "formulas"), (private, "validation"), (private, "test")):
        rng, start, best = random.Random(f"{name} {seed}"), 0, 1
        while start < MARGIN * best:
            found = [_kept(rng, starter, settings) for _ in range(settings["formulas"])]
            start, best = (_counted(code, [each.clauses for each in found])[0] for code in (starter, solution))
        marks[name] = start, best
        lines = (json.dumps(formula._asdict(), separators=(",", ":")) for formula in found)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (private / "marks.json").write_text(json.dumps(marks) + "\n")


def _kept(rng: random.Random, starter: Path, settings: Mapping[str, Any]) -> Formula:
    """The next formula for which the starter needs `least` to `most` decisions."""
    while True:
        clauses = drawn(rng, settings)
        count, answers = _counted(starter, [clauses], settings["most"])
        if settings["least"] <= count <= settings["most"]:
            return Formula(clauses, answers[0])


def drawn(rng: random.Random, settings: Mapping[str, Any]) -> dpll.Clauses:
    """A formula of the law that the settings give.

    `clauses` of them over `variables`; a share `pairs` of them has two literals, the others three; a literal is
    negative with the chance `negative`; with the chance `near` a clause takes its variables from one of `groups` equal
    groups (Giráldez-Cru and Levy 2016 draw communities so).
    """
    size, found = settings["variables"] // settings["groups"], dpll.Clauses()
    for _ in range(settings["clauses"]):
        first, last = 1, settings["variables"]
        if rng.random() < settings["near"]:
            first = 1 + size * rng.randrange(settings["groups"])
            last = first + size - 1
        names = rng.sample(range(first, last + 1), 2 if rng.random() < settings["pairs"] else 3)
        found.append([-name if rng.random() < settings["negative"] else name for name in names])
    return found


def _counted(code: Path, formulas: Sequence[dpll.Clauses], most: int = 10**9) -> tuple[int, list[bool]]:
    """The decisions of a heuristic of our own for all formulas, and their answers; given up at one beyond `most`."""
    scope: dict[str, Any] = {}
    exec(code.read_text(), scope)
    count, answers = 0, []

    def asked(*state: Any) -> Any:
        nonlocal count
        count += 1
        if count > most:
            raise OverflowError
        return scope["heuristic_fn"](*state)

    try:
        for clauses in formulas:
            answers.append(dpll.Solver(clauses, asked).solve())
    except OverflowError:
        pass
    return count, answers


def grade(submission: Any, private: Path, *, split: str, seed: int) -> dict[str, float]:
    """`decisions` that the submission's heuristic needs for all formulas; `skill`, on a scale of the logarithm on which
    the starter is 0 and the hidden solution 1.
    """
    lines = (private / f"{split}.jsonl").read_text().splitlines()
    formulas = [Formula(**json.loads(line)) for line in lines]
    player = submission.player("heuristic", seed)
    player.define("solver", SOLVER + PLAY)
    count = 0
    for number, formula in enumerate(formulas, 1):
        padded = [clause + [0] * (3 - len(clause)) for clause in formula.clauses]
        answer = player.numbers("play", np.array(padded, np.int16))
        if answer[:1] != [formula.satisfiable] or not follows(formula, answer[1:]):
            raise InvalidSubmission(
                f"The answer to formula {number} does not follow from heuristic_fn's decisions by the solver as it is"
                " given: heuristic_fn must change neither the solver nor what it is handed."
            )
        count += len(answer) - 1
    start, best = json.loads((private / "marks.json").read_text())[split]
    return {"skill": math.log(start / max(count, 1)) / math.log(start / best), "decisions": count}
