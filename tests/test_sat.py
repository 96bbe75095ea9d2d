"""3-SAT heuristics: the solver is right, the time is all of it, and nothing but a search by decisions pays."""

import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mlgym.grading import Grader, Verdict
from mlgym.grading.cpu import tree_s
from mlgym.grading.forgeries import Forgery, fitting, run_forgeries
from mlgym.grading.forgeries.sat import ELSEWHERE, REPLACE, SAT
from mlgym.grading.prepare import KINDS, prepare
from mlgym.sandbox import seccomp
from mlgym.task import SHIPPED, load_task

TASK = SHIPPED / "3sat"
BASELINE = (TASK / "workspace" / "heuristic.py").read_text()
SOLUTION = (TASK / "solution" / "heuristic.py").read_text()
# A small set in the task's form; its labels come from our solver, which is compared with all assignments below.
CODE = """
import json, random
from pathlib import Path
from kinds import dpll, sat

def prepare(public, private, *, settings, seed):
    rng = random.Random(1)
    choose = lambda clauses, *state: (abs(clauses[0][0]), clauses[0][0] > 0)
    lines = []
    for _ in range(12):
        formula = [[v * rng.choice((-1, 1)) for v in rng.sample(range(1, 31), 3)] for _ in range(128)]
        lines.append(json.dumps({"clauses": formula, "satisfiable": dpll.Solver(formula, choose).solve()}))
    (private / "validation.jsonl").write_text("\\n".join(lines))
    (private / "baseline.py").write_text(BASELINE)
    (public / "solver.py").write_text(sat.SOLVER)

def grade(submission, private, *, settings, split, seed):
    return sat.grade(submission, private, rounds=settings["rounds"], split=split, seed=seed)
"""


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


dpll = module(KINDS / "dpll.py")


class Bench:
    """Grades a heuristic on the small set, by our grader and by one without defences."""

    def __init__(self, folder: Path) -> None:
        task = folder / "small"
        (task / "workspace").mkdir(parents=True)
        (task / "workspace" / "heuristic.py").write_text(BASELINE)
        (task / "task.py").write_text(CODE.replace("BASELINE", repr(BASELINE)))
        toml = (TASK / "task.toml").read_text().partition("# The formulas")[0].partition("[anchors]")[0]
        toml = "\n".join(line for line in toml.splitlines() if not line.startswith("grader_packages"))
        toml = toml.replace("call_s = 10", "call_s = 2")
        (task / "task.toml").write_text(toml + "\n[settings]\nrounds = 1\n[variant.thrice.settings]\nrounds = 3\n")
        self.prepared = prepare(load_task(task))
        self.grader = Grader(self.prepared)
        self.folder = folder / "submission"
        self.folder.mkdir()

    def ours(self, text: str) -> Verdict:
        (self.folder / "heuristic.py").write_text(text)
        return self.grader.grade(self.folder, "validation")

    def ratio(self, text: str) -> float:
        verdict = self.ours(text)
        assert verdict.scores, verdict.why
        return verdict.scores["time_ratio"]

    def naive(self, text: str) -> float:
        (self.folder / "heuristic.py").write_text(text)
        private, solver = self.prepared.private, self.prepared.public
        argv = [sys.executable, "-c", NAIVE, str(private), str(solver), str(self.folder)]
        env = {**os.environ, "TMPDIR": str(self.folder.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        return float(subprocess.run(argv, check=True, capture_output=True, timeout=60, env=env).stdout)


# As in-process evaluators do it: both heuristics and the clock in one process, the answers compared with the labels.
NAIVE = """
import json, sys, time
private, solver, submission = sys.argv[1:]
sys.path[:0] = [solver, private, submission]
import baseline
formulas = [json.loads(line) for line in open(private + "/validation.jsonl")]
def seconds(module):
    solver = {}
    exec(open(sys.argv[2] + "/solver.py").read(), solver)
    began = time.process_time()
    heuristic = __import__(module)
    for formula in formulas:
        assert solver["Solver"](formula["clauses"], heuristic.heuristic_fn).solve() == formula["satisfiable"]
    return time.process_time() - began
base = own = 0.0
for _ in range(3):
    base += seconds("baseline")
    own += seconds("heuristic")
print(own / base)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("sat"))
    with bench.grader:
        yield bench


def heuristic(text: str) -> object:
    found: dict[str, object] = {}
    exec(text, found)
    return found["heuristic_fn"]


@pytest.mark.parametrize("text", [BASELINE, SOLUTION], ids=["baseline", "solution"])
def test_the_solver_is_right_about_small_formulas(text):
    rng = random.Random(3)
    seen = set()
    for _ in range(150):
        count = rng.randint(6, 40)
        formula = [[v * rng.choice((-1, 1)) for v in rng.sample(range(1, 8), 3)] for _ in range(count)]
        solver = dpll.Solver(formula, heuristic(text))
        truth = any(
            all(any(values[abs(literal) - 1] == (literal > 0) for literal in clause) for clause in formula)
            for values in itertools.product((False, True), repeat=7)
        )
        assert solver.solve() is truth
        seen.add(truth)
        if truth:
            found = solver.assignments
            assert all(any(found.get(abs(each), False) == (each > 0) for each in clause) for clause in formula)
        assert solver.formula == formula
    assert seen == {True, False}


def test_what_the_heuristic_is_handed():
    formula = [[1, 2, 3], [-1, 2, 3], [1, -2, 3], [1, 2, -3], [-1, -2, 3], [-1, 2, -3], [1, -2, -3], [-1, -2, -3]]
    seen = []

    def first(clauses, assignments, conflict_count, assignment_history, level):
        free = min(variable for variable in conflict_count if variable not in assignments)
        seen.append((len(clauses), dict(assignments), sum(conflict_count.values()), list(assignment_history), level))
        return free, True

    solver = dpll.Solver(formula, first)
    assert not solver.solve()
    assert seen == [
        (8, {}, 0, [], 0),
        (4, {1: True}, 0, [(1, True, 0)], 1),
        (4, {1: False}, 6, [(1, False, 0)], 1),
    ]
    assert solver.decisions == [1, 2, 2]


def test_a_better_heuristic_wins_and_the_baseline_is_one(bench):
    verdict = bench.ours(BASELINE)
    assert verdict.scores and set(verdict.scores) == {"time_ratio", "seconds", "baseline_seconds", "decisions"}
    assert verdict.scores["time_ratio"] == pytest.approx(1, abs=0.35)
    better = bench.ours(SOLUTION).scores
    assert better and better["time_ratio"] < 0.6 and better["decisions"] < verdict.scores["decisions"] / 3


BROKEN = {
    "return 1, True": "heuristic_fn chose variable 1, which is assigned already",
    "return None": "heuristic_fn returned None instead of a variable and True or False",
    "return 0, True": "heuristic_fn returned (0, True) instead of",
    "return 99, True": "heuristic_fn returned (99, True) instead of",
    "return 1.5, True": "heuristic_fn returned (1.5, True) instead of",
    "return [], True": "heuristic_fn returned ([], True) instead of",
    "return 1, 'yes'": "heuristic_fn returned (1, 'yes') instead of",
    "return 1 / 0": "heuristic.py line 2: ZeroDivisionError",
    "clauses.clear(); return 1, True": "does not follow from heuristic_fn's decisions",
    "while True: pass": "took too long and was stopped",
}


@pytest.mark.parametrize(
    "line", [line if n < 3 else pytest.param(line, marks=pytest.mark.slow) for n, line in enumerate(BROKEN)]
)
def test_a_broken_heuristic_gets_one_sentence(bench, line):
    head = "def heuristic_fn(clauses, assignments, conflict_count, assignment_history, level):\n    "
    verdict = bench.ours(head + line + "\n")
    assert not verdict.valid and verdict.scores is None and BROKEN[line] in verdict.why, verdict.why
    assert verdict.why.startswith("The ") and verdict.why.endswith(".") and "\n" not in verdict.why


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "heuristic_fn = 1\n", "import nowhere\n"])
def test_a_heuristic_that_cannot_be_loaded_is_invalid(bench, text):
    verdict = bench.ours(text)
    assert not verdict.valid and verdict.why.startswith("The submission's code failed: ")


# Work of about 0.5 s outside the one process that a naive clock looks at.
BURN = "\nimport os, threading, time, subprocess\ndef burn(s=0.25):\n    e = time.thread_time() + s\n"
BURN += "    while time.thread_time() < e: pass\n"
MOVED = {
    "at import": "burn(0.5)\n",
    "in threads": (
        "ts = [threading.Thread(target=burn) for _ in '12']\n[t.start() for t in ts]\n[t.join() for t in ts]\n"
    ),
    "in a child": "p = os.fork()\nif not p:\n    burn(0.5)\n    os._exit(0)\nos.waitpid(p, 0)\n",
    "in children of children, left as zombies": (
        "r, w = os.pipe()\nif not os.fork():\n    if not os.fork():\n        burn(0.5)\n        os._exit(0)\n"
        "    os._exit(0)\nos.close(w)\nos.read(r, 1)\n"
    ),
    "in a daemon that goes on": (
        "r, w = os.pipe()\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n        burn(0.5)\n"
        "        os.close(w)\n        time.sleep(60)\n    os._exit(0)\nos.close(w)\nos.read(r, 1)\n"
    ),
    "in a program": (
        "import sys\nburn_there = 'import time\\nwhile time.process_time() < 0.5: pass'\n"
        "subprocess.run([sys.executable, '-c', burn_there])\n"
    ),
}


@pytest.mark.parametrize(
    "moved", [moved if "daemon" in moved else pytest.param(moved, marks=pytest.mark.slow) for moved in MOVED]
)
def test_work_counts_wherever_it_is_done(bench, moved):
    scores = bench.ours(SOLUTION + BURN + MOVED[moved]).scores
    assert scores and scores["seconds"] > 0.4


@pytest.mark.slow
def test_no_time_is_lost_by_an_end_after_the_last_answer(bench):
    """The end of the first process takes the daemon along, and nobody waits for that."""
    leave = """
def leave():
    time.sleep(0.003)
    os._exit(0)
honest, asked = heuristic_fn, []
def heuristic_fn(*state):
    if not state[1]:
        asked.append(state)
        if len(asked) == 12:
            threading.Thread(target=leave).start()
    return honest(*state)
"""
    verdict = bench.ours(SOLUTION + BURN + MOVED["in a daemon that goes on"] + leave)
    assert not verdict.scores or verdict.scores["seconds"] > 0.4
    assert verdict.scores or "ended its own process" in verdict.why


@pytest.mark.slow
def test_waiting_does_not_count(bench):
    scores = bench.ours(SOLUTION + "\nimport time\ntime.sleep(0.5)\n").scores
    assert scores and scores["seconds"] < 0.4


def named(name: str) -> Forgery:
    return next(forgery for forgery in SAT if forgery.name == name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [forgery.name for forgery in SAT if forgery.name != "best verdict of a heuristic"])
def test_a_forgery_pays_without_its_defence(bench, name):
    assert bench.naive(BASELINE + named(name).files["fraud.txt"]) < 0.85


@pytest.mark.slow
def test_children_that_vanish_are_kept_by_the_filter(bench, monkeypatch):
    fraud = SOLUTION + "\nimport random\n" + REPLACE + ELSEWHERE
    assert bench.ratio(fraud) > 1
    full = seccomp.program
    monkeypatch.setattr(seccomp, "program", lambda timed=False, **others: full(**others))
    slow = SOLUTION + BURN + "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n" + MOVED["in a child"]
    scores = bench.ours(slow.replace("os.waitpid(p, 0)", "time.sleep(1.5)")).scores
    assert scores and scores["seconds"] < 0.4, "without the filter the child's time is lost"


@pytest.mark.slow
def test_another_solver_is_no_faster_than_ours(bench):
    """One that answers at once with decisions that it had beforehand pays the time of our solver."""
    known = {}
    choose = heuristic(BASELINE)
    for line in (bench.prepared.private / "validation.jsonl").read_text().splitlines():
        solver = dpll.Solver(json.loads(line)["clauses"], choose)
        known[str(solver.formula)] = [solver.solve(), solver.decisions]
    text = BASELINE + REPLACE + f"known = {known!r}\n"
    text += "def instead(solver):\n    answer, solver.decisions = known[str(solver.formula)]\n    return answer\n"
    verdict = bench.ours(text)
    assert verdict.scores and verdict.scores["time_ratio"] > 0.5
    assert bench.naive(text) < 0.3


def test_the_time_of_a_tree_of_processes():
    code = (
        "import os, sys, time\n"
        "def burn(s):\n    e = time.process_time() + s\n    while time.process_time() < e: pass\n"
        "p = os.fork()\n"
        "if not p:\n    burn(.1)\n    os._exit(0)\n"
        "os.waitpid(p, 0)\n"
        "if not os.fork():\n    burn(.1)\n    os._exit(0)\n"
        "burn(.1)\ntime.sleep(.2)\nprint(flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdin
        process.stdout.readline()
        assert 0.3 <= tree_s(process.pid) < 0.6
        process.stdin.close()


@pytest.fixture(scope="module")
def tiny():
    return prepare(load_task("3sat-tiny"))


@pytest.mark.slow
@pytest.mark.network
def test_no_forgery_scores(tiny):
    outcomes = list(run_forgeries(tiny))
    assert [outcome.name for outcome in outcomes] == [forgery.name for forgery in fitting("sat")]
    assert [outcome for outcome in outcomes if outcome.scored] == []


@pytest.mark.slow
@pytest.mark.network
def test_the_formulas_are_as_the_settings_say(tiny):
    groups = load_task("3sat-tiny").settings["groups"]
    drawn = {}
    for path in (tiny.public / "formulas.jsonl", tiny.private / "validation.jsonl", tiny.private / "test.jsonl"):
        formulas = [json.loads(line) for line in path.read_text().splitlines()]
        drawn[path.name] = {str(formula["clauses"]) for formula in formulas}
        for group in groups:
            found = [f["satisfiable"] for f in formulas if len(f["clauses"]) == group["clauses"]]
            assert (found.count(True), found.count(False)) == (group["satisfiable"], group["unsatisfiable"])
        for formula in formulas:
            assert all(len({abs(literal) for literal in clause}) == 3 for clause in formula["clauses"])
    assert not set.intersection(*drawn.values()) and len(set.union(*drawn.values())) > 60
    assert (tiny.public / "solver.py").read_text() == (KINDS / "dpll.py").read_text()


@pytest.mark.slow
@pytest.mark.network
def test_the_workspace_times_itself_on_the_samples(tiny, tmp_path):
    for path in tiny.task.workspace.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "data").symlink_to(tiny.public)
    ran = subprocess.run([sys.executable, "bench.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "23 formulas, 0 wrong, " in ran.stdout
