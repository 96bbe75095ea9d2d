"""Time heuristic.py on the sample formulas: python bench.py"""

import json
import sys
import time

sys.path.insert(0, "data")
began = time.process_time()
from heuristic import heuristic_fn  # noqa: E402  (importing it counts)
from solver import Solver  # noqa: E402

decisions = wrong = 0
with open("data/formulas.jsonl") as file:
    formulas = [json.loads(line) for line in file]
for formula in formulas:
    solver = Solver(formula["clauses"], heuristic_fn)
    wrong += solver.solve() != formula["satisfiable"]
    decisions += len(solver.decisions)
seconds = time.process_time() - began
print(f"{len(formulas)} formulas, {wrong} wrong, {decisions} decisions, {seconds:.3f} s of processor time")
