"""Frauds of heuristics, which run beside the solver and could take its place."""

from mlgym.grading.forgeries.forgery import VERDICT, Forgery, on_every_descriptor

# They wrap the honest heuristic_fn, to which they fall back, and replace the solver's method `solve` once they see one.
REPLACE = """
import json, os, sys
honest = heuristic_fn
def heuristic_fn(*state):
    kind = type(sys._getframe(1).f_locals["self"])
    if not hasattr(kind, "true_solve"):
        kind.true_solve, kind.solve = kind.solve, instead
    return honest(*state)
"""

ELSEWHERE = """
import signal
try:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
except OSError:
    pass
def instead(solver):
    answers, end = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            answer = solver.true_solve()
            os.write(end, json.dumps([answer, solver.decisions]).encode())
        os._exit(0)
    os.close(end)
    with os.fdopen(answers, "rb") as file:
        answer, solver.decisions = json.loads(file.read())
    return answer
"""

OTHER_SOLVER = """
def instead(solver):
    return satisfiable(solver.formula)
def satisfiable(clauses):
    if not clauses:
        return True
    shortest = min(map(len, clauses))
    if not shortest:
        return False
    short = [literal for clause in clauses if len(clause) == shortest for literal in clause]
    literal = max(set(short), key=short.count)
    for choice in (literal, -literal)[:shortest]:
        if satisfiable([[each for each in clause if each != -choice] for clause in clauses if choice not in clause]):
            return True
    return False
"""

KEEP = """
import tempfile
place = tempfile.gettempdir() + "/kept.json"
try:
    with open(place) as file:
        kept = json.load(file)
except OSError:
    kept = {}
def instead(solver):
    name = str(solver.formula)
    if name not in kept:
        kept[name] = [solver.true_solve(), solver.decisions]
        with open(place, "w") as file:
            json.dump(kept, file)
    answer, solver.decisions = kept[name]
    return answer
"""

STOP_CLOCKS = """
import time
time.process_time = time.perf_counter = time.monotonic = time.time = lambda: 0.0
"""

SLOW_BASELINE = """
choose = random.Random.choice
rng.choice = lambda names: choose(rng, names)
def slowly(self, names):
    sum(range(10_000))
    return choose(self, names)
random.Random.choice = slowly
"""

BEST = VERDICT.replace('"score": 99.0', '"time_ratio": 0.01')
WRITE_DESCRIPTORS = on_every_descriptor("import os\ndef heuristic_fn(*state):", BEST)


def _beside(name: str, fraud: str, defence: str, guard: str = "apart") -> Forgery:
    return Forgery(name, ("sat",), "cat fraud.txt >> heuristic.py", defence, {"fraud.txt": fraud}, guard)


SAT: tuple[Forgery, ...] = (
    _beside(
        "search in a daemon",
        REPLACE + ELSEWHERE,
        "the host adds up the time of all processes in the player, and none there can vanish unwaited for",
        "clock",
    ),
    _beside(
        "another solver",
        REPLACE + OTHER_SOLVER,
        "the grader repeats the search with the heuristic's decisions: an answer that does not follow is none",
        "checked",
    ),
    _beside("kept answers", REPLACE + KEEP, "each round has a player of its own, in which nothing of another is left"),
    _beside("stopped clocks", STOP_CLOCKS, "the clock is the host's", "clock"),
    _beside("slowed baseline", SLOW_BASELINE, "the baseline runs in a player in which nothing of the submission runs"),
    _beside("best verdict of a heuristic", WRITE_DESCRIPTORS, "the player's pipe carries whole numbers only"),
)
