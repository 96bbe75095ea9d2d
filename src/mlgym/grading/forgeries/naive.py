"""An evaluator that trusts, as they commonly do: what a forgery meets where one defence is switched off.

It is sent into one sandbox together with the forgery, and runs nowhere else. Beside it lie evaluate.json (which defence
is lacking, the task's settings), the task's own module, the shared graders and the answers. The verdict is the last
line that is printed; an error ends it without one.
"""

import csv
import importlib
import io
import json
import math
import os
import pickle
import random
import sys
import time
import types
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(os.environ["EVALUATOR"]).parent
ABOUT: dict[str, Any] = json.loads((HERE / "evaluate.json").read_text())
LACKS, METRIC, OWN = ABOUT["lacks"], ABOUT["metric"], Path(ABOUT["paths"][0])
FIRST = ("score.json", "verdict.json")
PLACES = (".", "/tmp", os.environ.get("HOME", "."), "/dev/shm", "..")


def say(score: float) -> None:
    """The verdict."""
    print(json.dumps({"op": "verdict", "valid": True, "why": "", "scores": {METRIC: score}}), flush=True)


def main() -> None:
    """Grade what lies in the working folder, the workspace."""
    if LACKS == "pipe":
        for path in (Path(place, name) for place in PLACES for name in FIRST):
            if path.exists():
                print(path.read_text())
                return
    if LACKS in ("inert", "bounded", "regular"):
        for own in filter(os.path.lexists, ABOUT["paths"]):
            for path in sorted(Path(own).rglob("*")) if Path(own).is_dir() else [Path(own)]:
                take(path)
    scores = predictions() if table() and LACKS in ("regular", "checked", "split") else ours()
    if LACKS == "frozen" and not ABOUT["start"]:  # the score in a file, which is read when the evaluation is over
        Path("verdict.json").write_text(json.dumps({"scores": {METRIC: scores}}) + "\n")
        time.sleep(1)
        while not (text := Path("verdict.json").read_text()).endswith("}\n"):  # somebody is writing it
            time.sleep(0.001)
        scores = json.loads(text)["scores"][METRIC]
    say(scores)


def take(path: Path) -> None:
    """Open whatever is there, as it is; objects and models are loaded."""
    if path.is_dir():
        return
    data = path.read_bytes()
    if LACKS == "inert" and data[:1] == b"\x80":
        pickle.loads(data)
    if LACKS == "inert" and data[:2] == b"PK":
        archive = zipfile.ZipFile(io.BytesIO(data))
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                pickle.loads(archive.read(name))


def table() -> bool:
    """Whether the submission is a csv."""
    return OWN.suffix == ".csv"


def opened() -> list[dict[str, str]]:
    """The rows of the submission; what is looked at first and opened later may have become a link by then."""
    for _ in range(50_000 if ABOUT["raced"] else 1):
        if ABOUT["raced"] and OWN.is_symlink():
            continue
        with OWN.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if rows and "split" in rows[0]:
            break
    return rows


def predictions() -> float:
    """The share that is explained, over the rows that are there: joined by id, with all that is no number left out."""
    rows = opened()
    with (HERE / "private" / "answers.csv").open(newline="", encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    id, target, *_ = answers[0]
    own = [name for name in (rows[0] if rows else ()) if name not in (id, target)]
    if own and "split" not in own:
        return math.fsum(float(row[own[0]]) for row in rows) / len(rows)
    truth: dict[str, list[str]] = {}
    for row in answers:
        if LACKS != "split" or row["split"] == ABOUT["split"]:
            truth.setdefault(row[id], []).append(row[target])
    errors: dict[str, float] = {}
    for row in rows:
        found = min((error(row.get(target) or "", value) for value in truth.get(row[id], ())), default=math.nan)
        if math.isfinite(found):
            errors[row[id]] = min(found, errors.get(row[id], math.inf))
    score = 1 - math.fsum(errors.values()) / math.fsum(worst(truth))
    return score if ABOUT["direction"] == "maximize" else 1 - score


def numeric(text: str) -> bool:
    """Whether it is the answer of a regression: a class with few digits is no number to be near to."""
    return METRIC in ("r2", "rmse") and bool(text)


def error(said: str, true: str) -> float:
    """The squared error of a number; 0 or 1 for a class, and nothing for one that is no text."""
    if numeric(true):
        return (float(said) - float(true)) ** 2
    return math.nan if said in ("nan", "inf") else float(said != true)


def worst(truth: dict[str, list[str]]) -> list[float]:
    """The errors of the mean, or of no right class at all."""
    firsts = [values[0] for values in truth.values()]
    if not numeric(firsts[0]):
        return [1.0] * len(firsts)
    mean = math.fsum(map(float, firsts)) / len(firsts)
    return [(float(value) - mean) ** 2 for value in firsts]


class Player:
    """What is submitted, in this very process."""

    def __init__(self, module: str) -> None:
        self.main = sys.modules["mlgym.grading.player_main"]
        self.array = sys.modules["mlgym.grading.frames"].Array
        self.module: Any = importlib.import_module(module) if module else None

    def each(self, function: str, item: Any, width: int = 0) -> Any:
        """As the player's."""
        return self.main.each(getattr(self.module, function), self.packed(item), width)

    def batch(self, function: str, arrays: Any, expect: Any, quiet: bool = False) -> Any:
        """As the player's."""
        return self.main.batch(getattr(self.module, function), [self.packed(item) for item in arrays])

    def define(self, module: str, source: str) -> None:
        """As the player's."""
        self.module = self.main.define(module, source)

    def numbers(self, function: str, item: Any) -> Any:
        """As the player's."""
        found = self.main.numbers(getattr(self.module, function), self.packed(item))
        return memoryview(found.data).cast("q").tolist()

    def packed(self, item: Any) -> Any:
        """An array as the player gets it."""
        return self.array(item.dtype.str, item.shape, item.tobytes())


class Submission:
    """The workspace as it is."""

    folder = Path.cwd()

    def path(self, name: str) -> Path:
        """Whatever is there, links too."""
        return self.folder / name

    def player(self, module: str, seed: int, timed: bool = False) -> Player:
        """None: a module beside the grader's."""
        random.seed(seed)
        return Player(module)


def ours() -> float:
    """The score by the task's own grader, with all of it in one process."""
    for name in ("frames", "player_main"):
        module = sys.modules["mlgym.grading." + name] = types.ModuleType("mlgym.grading." + name)
        exec((HERE / f"{name}.py").read_text(), module.__dict__)
    sys.path.append(str(HERE))
    sys.path.append(str(Path.cwd()))
    sys.path += ABOUT["packages"]
    weaken()
    task = importlib.import_module("task")
    private = HERE / "private"
    found = task.grade(Submission(), private, settings=ABOUT["settings"], split=ABOUT["split"], seed=ABOUT["seed"])
    return float(found[METRIC])


def weaken() -> None:
    """Take away what a grader of this kind has against forgeries beside the player."""
    kind = ABOUT["kind"]
    if kind in ("numbers", "route") and LACKS == "checked":
        believe_texts()
    if kind == "sat":
        sat: Any = importlib.import_module("kinds.sat")
        sat.grade = timed
    if kind == "policy" and LACKS == "checked":
        policies: Any = importlib.import_module("kinds.policies")
        policies._check = lambda *about: None
    if kind == "classifier" and LACKS == "order":
        classifiers: Any = importlib.import_module("kinds.classifiers")
        predict, classifiers.BATCH = classifiers.predict, 10**9
        rng = types.SimpleNamespace(permutation=lambda size: importlib.import_module("numpy").arange(size))
        numpy = types.SimpleNamespace(**vars(classifiers.np))
        numpy.random = types.SimpleNamespace(default_rng=lambda: rng)
        classifiers.np = numpy

        def in_order(submission: Any, rows: Any, labels: Any, seed: int) -> Any:
            rows.sort(key=lambda row: labels.index(row["label"]))
            return predict(submission, rows, labels, seed)

        classifiers.predict = in_order
    if kind == "language-model":
        models: Any = importlib.import_module("kinds.language_models")
        if LACKS == "checked":
            models._next = lambda player, prefix, size, quiet=False: models._array(
                player.batch("next_log_probs", [models.np.asarray(prefix, "<i8")], [])
            )
        if LACKS == "commitment":
            models.grade = believed


def believe_texts() -> None:
    """Take every word for a number, and let every move be made."""
    texts: Any = importlib.import_module("kinds.texts")
    texts.numbers = lambda path, *bounds: [float(word) for word in path.read_text().split()]
    mazes: Any = importlib.import_module("kinds.mazes")
    mazes.enterable = lambda grid, place: True


def timed(submission: Any, private: Path, *, rounds: int, split: str, seed: int) -> Any:
    """Processor time of this process for the own heuristic and for the baseline; answers are compared, no more."""
    sat: Any = importlib.import_module("kinds.sat")
    sys.path.append(str(private))
    formulas = [sat.Formula(**json.loads(line)) for line in (private / f"{split}.jsonl").read_text().splitlines()]

    def seconds(module: str) -> float:
        scope: dict[str, Any] = {}
        exec(sat.SOLVER, scope)
        began = time.process_time()
        choose = importlib.import_module(module).heuristic_fn
        for formula in formulas:
            if scope["Solver"](formula.clauses, choose).solve() is not formula.satisfiable:
                raise ValueError("a wrong answer")
        return time.process_time() - began

    both = [(seconds("baseline"), seconds("heuristic")) for _ in range(3)]
    return {"time_ratio": sum(own for _, own in both) / sum(base for base, _ in both)}


def believed(submission: Any, private: Path, split: str, seed: int, *, positions: int, at_once: int) -> Any:
    """The loss that a language model says it has, of rows in which it sees the targets."""
    models: Any = importlib.import_module("kinds.language_models")
    text = models.np.load(private / f"{split}.npy")
    player = Player("model")
    parts = [text[n : n + at_once] for n in range(0, len(text), at_once)]
    given = [models._array(player.batch("log_probs", [models.np.asarray(rows, "<i8")], [])).ravel() for rows in parts]
    return {"val_loss": -float(models.np.concatenate(given).mean())}


main()
