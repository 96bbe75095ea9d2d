"""Count the decisions of heuristic.py for the sample formulas: python count.py"""

import json
import sys

sys.path.insert(0, "data")
from heuristic import heuristic_fn
from solver import Solver

decisions = wrong = 0
with open("data/formulas.jsonl") as file:
    formulas = [json.loads(line) for line in file]
for formula in formulas:
    solver = Solver(formula["clauses"], heuristic_fn)
    wrong += solver.solve() != formula["satisfiable"]
    decisions += len(solver.decisions)
print(f"{len(formulas)} formulas, {wrong} wrong, {decisions} decisions")
