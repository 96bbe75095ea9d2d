"""The graders of language models: honest ones get their loss, those that see their targets get one sentence.

A model of pairs of tokens, in numpy, stands for the transformer, through the real grader; the shipped task's own model
is tried at the end, where its packages can be had.
"""

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlgym.errors import SourceError
from mlgym.grading import Grader, Verdict
from mlgym.grading.forgeries import fitting, run_forgeries
from mlgym.grading.forgeries.language_models import LANGUAGE_MODELS
from mlgym.grading.kinds import InvalidSubmission, language_models
from mlgym.grading.prepare import KINDS, Prepared, prepare
from mlgym.task import load_task

TOML = """
version = 1
title = "Pairs"
kind = "language-model"
canary = "a canary that is long enough"
metric = "val_loss"
direction = "minimize"
instruction = "Model the tokens."
packages = "numpy"
[submission]
paths = ["model.py", "weights"]
[baseline]
command = "python train.py"
files = ["train.py"]
[limits]
grade_s = 30
call_s = 1.5
memory_mb = 2048
"""
TASK = """
import numpy as np
from kinds import language_models
def prepare(public, private, *, settings, seed):
    rng, tokens = np.random.default_rng(0), [0]
    table = rng.dirichlet(np.full(12, 0.3), 12)
    for _ in range(8000):
        tokens.append(rng.choice(12, p=table[tokens[-1]]))
    tokens = np.array(tokens, np.uint8)
    np.save(public / "train.npy", tokens[:4000])
    language_models.write_split(private, "validation", tokens[4000:6000], 24, 60)
    language_models.write_split(private, "test", tokens[6000:], 24, 60)
    language_models.write_secrets(private, np.full(12, 3, np.uint8))
def grade(submission, private, *, settings, split, seed):
    return language_models.grade(submission, private, split, seed, positions=150, at_once=16)
"""
TRAIN = """
import os
import numpy as np
tokens = np.load("data/train.npy")
counts = np.full((12, 12), 0.5)
np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
os.makedirs("weights", exist_ok=True)
np.save("weights/table.npy", np.log(counts / counts.sum(1, keepdims=True)).astype("f4"))
"""
MODEL = """
import numpy as np
table = np.load("weights/table.npy")
def log_probs(tokens):
    return table[tokens[:, :-1], tokens[:, 1:]]
def next_log_probs(prefix):
    return table[prefix[-1]]
"""
FIRST = "\nhonest, honest_next, seen = log_probs, next_log_probs, []\n"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("task") / "pairs"
    (folder / "workspace").mkdir(parents=True)
    for name, text in {"task.toml": TOML, "task.py": TASK, "workspace/train.py": TRAIN, "workspace/model.py": MODEL}.items():
        (folder / name).write_text(text)
    return prepare(load_task(folder))


@pytest.fixture(scope="module")
def grader(pairs: Prepared) -> Iterator[Grader]:
    with Grader(pairs) as grader:
        yield grader


@pytest.fixture
def honest(pairs: Prepared, tmp_path: Path) -> Path:
    """A folder with the trained model of pairs."""
    (tmp_path / "model").mkdir()
    os.symlink(pairs.public, tmp_path / "model" / "data")
    subprocess.run([sys.executable, "-c", TRAIN], cwd=tmp_path / "model", check=True)
    (tmp_path / "model" / "data").unlink()
    (tmp_path / "model" / "model.py").write_text(MODEL)
    return tmp_path / "model"


def graded(grader: Grader, folder: Path, code: str = "", split: Any = "validation") -> Verdict:
    (folder / "model.py").write_text(MODEL + (FIRST + code if code else ""))
    return grader.grade(folder, split)


def expected(pairs: Prepared, folder: Path, split: str) -> float:
    """The loss counted here, from the hidden rows."""
    rows, table = np.load(pairs.private / f"{split}.npy"), np.load(folder / "weights" / "table.npy")
    return -float(table[rows[:, :-1], rows[:, 1:]].mean(dtype=np.float64))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_an_honest_model_gets_its_loss(pairs, grader, honest, split):
    scores = graded(grader, honest, split=split).scores
    loss = expected(pairs, honest, split)
    wanted = {"val_loss": loss, "perplexity": np.exp(loss), "bits_per_byte": loss / np.log(2) / 3}
    assert scores == pytest.approx(wanted, abs=1e-6)
    assert 0.5 < loss < 2


NEARLY = "return honest(tokens) + np.float32({0})\n"
REFUSED = {
    "sees the targets": (
        "def log_probs(tokens):\n    return honest(tokens) * np.float32(0.5)\n",
        "For random tokens, next_log_probs gives the token after the first 1 a log-probability of",
    ),
    "sees them after the rehearsal": (
        "def log_probs(tokens):\n    seen.append(1)\n    return honest(tokens) * np.float32(0.5 if seen[1:] else 1)\n",
        "log_probs answers differently from next_log_probs, which sees the tokens before a target only: at one of 150",
    ),
    "knows prefixes from whole rows": (
        "def next_log_probs(prefix):\n    return np.full(12, -np.log(12), 'f4') if len(prefix) % 2 else table[prefix[-1]]\n",
        "For random tokens, next_log_probs gives",
    ),
    "looks one token ahead": (
        "def log_probs(tokens):\n    seen.append(1)\n    given = honest(tokens).copy()\n"
        "    given[:, :-1] += np.float32(0.05) * (tokens[:, 2:] > 5) * (len(seen) > 1)\n    return np.minimum(given, 0)\n",
        "log_probs answers differently",
    ),
    "does not sum to one": (
        "def log_probs(tokens):\n    return np.minimum(honest(tokens) + 0.2, 0).astype('f4')\n"
        "def next_log_probs(prefix):\n    return np.minimum(honest_next(prefix) + 0.2, 0).astype('f4')\n",
        "next_log_probs answers with log-probabilities whose probabilities do not sum to one (within 0.001).",
    ),
    "gives logits": ("def next_log_probs(prefix):\n    return honest_next(prefix) * 1000\n", "do not sum to one"),
    "is above 0": ("def log_probs(tokens):\n    return -honest(tokens)\n", "log_probs answers with a number above 0"),
    "is not a number": (
        "def log_probs(tokens):\n    return honest(tokens) * np.float32('nan')\n",
        "log_probs answers with a number that is not finite.",
    ),
    "is nowhere a number": (
        "def next_log_probs(prefix):\n    return np.full(12, np.nan, 'f4')\n",
        "do not sum to one",
    ),
    "has probability 0": (
        "def log_probs(tokens):\n    return honest(tokens) - np.float32('inf')\n",
        "log_probs answers with a number that is not finite.",
    ),
    "is of the wrong shape": (
        "def log_probs(tokens):\n    return table[tokens]\n",
        "The submission answered with <f4[2, 25, 12] where <f4[2, 24] was expected.",
    ),
    "is of the wrong type": (
        "def next_log_probs(prefix):\n    return honest_next(prefix).astype('f8')\n",
        "The submission answered with <f8[12] where <f4[12] was expected.",
    ),
    "raises": (
        "def log_probs(tokens):\n    raise ValueError('no idea')\n",
        "The submission's code failed: model.py line 12: ValueError: no idea.",
    ),
    "is too slow": (
        "def next_log_probs(prefix):\n    import time\n    time.sleep(60)\n",
        "The submission's code took too long and was stopped (limits: 1.5 seconds for a batch of calls",
    ),
    "has no such function": ("del log_probs\n", "has no attribute 'log_probs'"),
}


@pytest.mark.parametrize(("code", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_refused_in_one_sentence(grader, honest, code, why):
    verdict = graded(grader, honest, code)
    assert verdict.scores is None and why in verdict.why
    assert verdict.why.endswith(".") and "\n" not in verdict.why and len(verdict.why) < 300


def test_without_weights_there_is_no_score(grader, honest):
    (honest / "weights" / "table.npy").unlink()
    assert "FileNotFoundError" in graded(grader, honest).why


LEAKS = {
    "by its words": "raise ValueError(str(tokens.tolist()))",
    "by a shape": "return np.empty((0, *map(int, tokens[0, :7])), 'f4')",
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS.keys())
def test_a_failure_says_nothing_of_the_hidden_text(grader, honest, leak):
    """In the rehearsal, whose tokens are random, everything is said; later nothing that the model chooses."""
    told = graded(grader, honest, f"def log_probs(tokens):\n    {leak}\n").why
    assert "[[" in told or "[0, " in told
    later = f"def log_probs(tokens):\n    seen.append(1)\n    if seen[1:]:\n        {leak}\n    return honest(tokens)\n"
    verdict = graded(grader, honest, later)
    assert verdict.why in (
        "The submission's code failed: its words are not shown, for it had seen hidden data.",
        "The submission answered with something else where <f4[16, 24] was expected.",
    )


def test_a_lift_within_the_tolerance_gains_nothing(pairs, grader, honest):
    """A steady gain of 0.0009 nats, in the answers to whole rows or in all distributions, is taken back."""
    loss = expected(pairs, honest, "validation")
    whole = "def log_probs(tokens):\n    return np.minimum(honest(tokens) + np.float32(9e-4), 0)\n"
    both = whole + "def next_log_probs(prefix):\n    return np.minimum(honest_next(prefix) + np.float32(9e-4), 0)\n"
    for code in (whole, both):
        verdict = graded(grader, honest, code)
        assert verdict.scores and verdict.scores["val_loss"] == pytest.approx(loss, abs=2e-5), verdict.why


def test_prefixes_come_in_the_order_of_the_text_one_at_a_time(pairs):
    """So a player has seen no token that stands after the one that it is asked for."""
    rows = np.load(pairs.private / "validation.npy")
    asked: list[list[int]] = []

    class Player:
        def batch(self, function: str, arrays: Any, expect: Any, quiet: bool = False) -> Any:
            if function == "log_probs":
                answer = np.full((len(arrays[0]), 24), -np.log(12), "f4")
            else:
                answer = np.full(12, -np.log(12), "f4")
                asked.extend([arrays[0].tolist()] if quiet else [])
            return [SimpleNamespace(descr="<f4", shape=answer.shape, data=answer.tobytes())]

    submission = SimpleNamespace(player=lambda module, seed: Player())
    language_models.grade(submission, pairs.private, "validation", 0, positions=400, at_once=7)
    text, at = rows.ravel().tolist(), -1
    assert len(asked) == 400
    ends = []
    for prefix in asked:
        starts = [n for n in range(0, len(text), 25) if text[n : n + len(prefix)] == prefix]
        ends.append(min(n + len(prefix) for n in starts if n + len(prefix) > at))
        at = ends[-1]
    assert ends == sorted(set(ends)) and np.ptp(ends) > 0.9 * len(text)


def test_positions_depend_on_the_salt_and_on_every_bit_of_the_answers():
    given = np.full(5000, -1, "f4")
    drawn = language_models.challenge("salt", "test", 0, given, 200)
    assert len(set(drawn.tolist())) == 200 and (np.diff(drawn) > 0).all() and drawn.max() < 5000
    assert (language_models.challenge("salt", "test", 0, given, 200) == drawn).all()
    other = given.copy()
    other[4321] = np.nextafter(other[4321], 0)
    changed = [("pepper", "test", 0, given), ("salt", "validation", 0, given), ("salt", "test", 1, given)]
    for arguments in [*changed, ("salt", "test", 0, other)]:
        assert len(set(language_models.challenge(*arguments, 200)) & set(drawn)) < 40
    assert language_models.challenge("salt", "test", 0, given[:50], 200).tolist() == list(range(50))


def test_one_who_cheats_at_a_part_of_the_positions_escapes_as_seldom_as_is_said():
    """(1 - f)^n: at 2 % of the targets and 100 checks 0.133."""
    cheated = np.zeros(5000, bool)
    cheated[np.random.default_rng(0).choice(5000, 100, replace=False)] = True
    given = np.full(5000, -1, "f4")
    draws = [language_models.challenge(str(n), "test", 0, given, 100) for n in range(2000)]
    assert np.mean([not cheated[drawn].any() for drawn in draws]) == pytest.approx(0.98**100, abs=0.03)


# The forgeries.


def test_no_forgery_scores(pairs):
    outcomes = list(run_forgeries(pairs))
    assert [outcome.name for outcome in outcomes] == [forgery.name for forgery in fitting("language-model")]
    assert {forgery.name for forgery in LANGUAGE_MODELS} <= {outcome.name for outcome in outcomes}
    assert [outcome for outcome in outcomes if outcome.scored] == []
    own = {outcome.name: outcome.why for outcome in outcomes}
    for forgery in LANGUAGE_MODELS:
        assert own[forgery.name].endswith("."), "refused with a sentence, not scored as an honest model"


NAIVE = """
import json, sys
import numpy as np
import model
rows = np.load(sys.argv[1])
loss = -float(np.mean([model.log_probs(rows[n : n + 16]).mean() for n in range(0, 48, 16)]))
print(json.dumps({"scores": {"val_loss": loss}}), flush=True)
"""


@pytest.mark.parametrize("name", ["targets seen", "some targets seen", "not normalised", "verdict from the model"])
def test_a_forgery_pays_where_the_model_is_handed_its_targets(pairs, honest, name):
    """As the original does it: the loss is what the model says of whole rows, the verdict the last line printed."""
    rows = str(pairs.private / "validation.npy")

    def loss() -> float:
        argv = [sys.executable, "-c", NAIVE, rows]
        ran = subprocess.run(argv, cwd=honest, capture_output=True, text=True, check=False)
        return float(json.loads(ran.stdout.strip().splitlines()[-1])["scores"]["val_loss"])

    fair = loss()
    forge(honest, name)
    assert loss() < fair - 0.2


@pytest.mark.parametrize(
    ("name", "fresh"), [("targets remembered", False), ("targets left on disk", True), ("text in the caller's frames", True)]
)
def test_a_forgery_pays_where_the_two_players_are_not_apart(pairs, honest, tmp_path, monkeypatch, name, fresh):
    """Our own protocol without the sandboxes: one process, and (where `fresh`) a module loaded anew for each player."""
    for variable in ("HOME", "TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(honest)
    fair = expected(pairs, honest, "validation")
    forge(honest, name)
    loaded: list[ModuleType] = []

    class Player:
        def __init__(self) -> None:
            if fresh or not loaded:
                loaded.append(module("model", honest / "model.py", monkeypatch))

        def batch(self, function: str, arrays: Any, expect: Any, quiet: bool = False) -> Any:
            answer = getattr(loaded[-1], function)(*arrays)
            return [SimpleNamespace(descr="<f4", shape=answer.shape, data=answer.tobytes())]

    submission = SimpleNamespace(player=lambda module, seed: Player())
    scores = language_models.grade(submission, pairs.private, "validation", 0, positions=150, at_once=16)
    assert scores["val_loss"] < fair - 0.2


def forge(folder: Path, name: str) -> None:
    forgery = next(forgery for forgery in LANGUAGE_MODELS if forgery.name == name)
    with (folder / "model.py").open("a") as file:
        file.writelines(forgery.files.values())


def module(name: str, path: Path, monkeypatch: pytest.MonkeyPatch, package: bool = False) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)] * package)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, made)
    spec.loader.exec_module(made)
    return made
