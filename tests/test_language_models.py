"""The graders of language models: honest ones get their loss, those that see their targets get one sentence.

A model of pairs of tokens, in numpy, stands for the transformer, through the real grader; the shipped task's own model
is tried at the end, where its packages can be had.
"""

import importlib.util
import io
import json
import shutil
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
from mlgym.grading.kinds import language_models
from mlgym.grading.prepare import KINDS, Prepared, prepare
from mlgym.grading.starter import run_starter
from mlgym.sandbox import choose
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
call_s = 1
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
    for name, text in {
        "task.toml": TOML,
        "task.py": TASK,
        "workspace/train.py": TRAIN,
        "workspace/model.py": MODEL,
    }.items():
        (folder / name).write_text(text)
    return prepare(load_task(folder))


@pytest.fixture(scope="module")
def grader(pairs: Prepared) -> Iterator[Grader]:
    with Grader(pairs) as grader:
        yield grader


@pytest.fixture(scope="module")
def trained(pairs: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trained model of pairs."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "data").symlink_to(pairs.public)
    subprocess.run([sys.executable, "-c", TRAIN], cwd=folder, check=True)
    (folder / "data").unlink()
    (folder / "model.py").write_text(MODEL)
    return folder


@pytest.fixture
def honest(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


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
        "def next_log_probs(prefix):\n    return table[prefix[-1] - len(prefix) % 2]\n",
        "For random tokens, next_log_probs gives",
    ),
    "looks one token ahead": (
        "def log_probs(tokens):\n    seen.append(1)\n    given = honest(tokens).copy()\n"
        "    given[:, :-1] += np.float32(0.05) * (tokens[:, 2:] > 5) * (len(seen) > 1)\n"
        "    return np.minimum(given, 0)\n",
        "log_probs answers differently",
    ),
    "does not sum to one": (
        "def log_probs(tokens):\n    return np.minimum(honest(tokens) + 0.2, 0).astype('f4')\n"
        "def next_log_probs(prefix):\n    return np.minimum(honest_next(prefix) + 0.2, 0).astype('f4')\n",
        "next_log_probs answers with log-probabilities whose probabilities do not sum to one (within 0.001).",
    ),
    "is above 0": ("def log_probs(tokens):\n    return -honest(tokens)\n", "log_probs answers with a number above 0"),
    "is not a number": (
        "def log_probs(tokens):\n    return honest(tokens) * np.float32('nan')\n",
        "log_probs answers with a number that is not finite.",
    ),
    "is nowhere a number": (
        "def next_log_probs(prefix):\n    return np.full(12, np.nan, 'f4')\n",
        "do not sum to one",
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
        "The submission's code failed: model.py line 11: ValueError: no idea.",
    ),
    "is too slow": (
        "def next_log_probs(prefix):\n    import time\n    time.sleep(60)\n",
        "The submission's code took too long and was stopped (limits: 1 seconds for a batch of calls",
    ),
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
    """A steady gain of 0.0009 nats, in the answers to whole rows and in all distributions, is taken back."""
    lift = "(*a):\n    return np.minimum({0}(*a) + np.float32(9e-4), 0)\n"
    code = "def log_probs" + lift.format("honest") + "def next_log_probs" + lift.format("honest_next")
    verdict = graded(grader, honest, code)
    assert verdict.scores, verdict.why
    assert verdict.scores["val_loss"] == pytest.approx(expected(pairs, honest, "validation"), abs=2e-5)


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


HANDED = ("targets seen", "some targets seen", "not normalised", "verdict from the model")
TOGETHER = ("targets remembered", "targets left on disk", "text in the caller's frames")


def test_the_frauds_tried_here_are_shipped():
    assert {*HANDED, *TOGETHER} <= {forgery.name for forgery in LANGUAGE_MODELS}


@pytest.mark.parametrize("name", ["some targets seen", *TOGETHER, "verdict from the model"])
def test_a_forgery_gets_a_sentence_instead_of_a_score(grader, honest, name):
    forge(honest, name)
    verdict = grader.grade(honest, "validation")
    assert verdict.scores is None and verdict.why.endswith(".")


@pytest.mark.slow
def test_no_forgery_scores_out_of_a_workspace(pairs):
    outcomes = list(run_forgeries(pairs))
    assert [outcome.name for outcome in outcomes] == [forgery.name for forgery in fitting("language-model")]
    assert {forgery.name for forgery in LANGUAGE_MODELS} <= {outcome.name for outcome in outcomes}
    assert [outcome for outcome in outcomes if outcome.scored] == []


NAIVE = """
import json, sys
import numpy as np
import model
rows = np.load(sys.argv[1])
loss = -float(np.mean([model.log_probs(rows[n : n + 16]).mean() for n in range(0, 48, 16)]))
print(json.dumps({"scores": {"val_loss": loss}}), flush=True)
"""


@pytest.mark.parametrize("name", HANDED)
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


@pytest.mark.parametrize(("name", "fresh"), [*zip(TOGETHER, (False, True, True), strict=True)])
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


# The data.


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hidden module of the shipped task, as the grader loads it."""
    module("kinds", KINDS / "__init__.py", monkeypatch, package=True)
    monkeypatch.delitem(sys.modules, "kinds.language_models", raising=False)
    return module("task", load_task("language-modeling").code, monkeypatch)


def shard(path: Path, tokens: Any, header: tuple[int, ...] = (20240520, 1)) -> Path:
    """A shard as llm.c writes it."""
    head = np.zeros(256, "<i4")
    head[: len(header)], head[2] = header, len(tokens)
    path.write_bytes(head.tobytes() + np.asarray(tokens, "<u2").tobytes())
    return path


def test_shards_are_read_and_wrong_ones_named(tmp_path):
    good = shard(tmp_path / "a.bin", [50256, 1, 2, 65535])
    assert language_models.read_shard(good).tolist() == [50256, 1, 2, 65535]
    cut = tmp_path / "cut.bin"
    cut.write_bytes(good.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"cut\.bin has 5 bytes of tokens where its header says 4 tokens of 2 bytes"):
        language_models.read_shard(cut)
    for other in (shard(tmp_path / "b.bin", [1], (20240521, 1)), shard(tmp_path / "b.bin", [1], (20240520, 2))):
        with pytest.raises(ValueError, match=r"b.bin is no shard of tokens \(magic number 20240520, version 1\)"):
            language_models.read_shard(other)
    (tmp_path / "page.bin").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.bin is no shard"):
        language_models.read_shard(tmp_path / "page.bin")


def test_the_full_data_out_of_made_shards(task, tmp_path):
    """The first tokens of the held-out shard, which the original scored, are the test; those after them validation."""
    vocabulary = {"a": 0, "bc": 1, "\u0120def": 2, "<|endoftext|>": 3}
    (tmp_path / "encoder.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    sources = {
        "train_2": shard(tmp_path / "2.bin", [2, 2, 2]),
        "train_1": shard(tmp_path / "1.bin", [3, 1, 0, 1]),
        "held_out": shard(tmp_path / "h.bin", [3, 0, 1, 2, 0, 1, 2, 2, 3, 1, 1, 1]),
        "vocabulary": tmp_path / "encoder.json",
    }
    settings = {
        "sources": {name: str(path) for name, path in sources.items()},
        "length": 2,
        "rows": 100,
        "size": "full",
    }
    public, private = tmp_path / "public", tmp_path / "private"
    public.mkdir(), private.mkdir()
    task.prepare(public, private, settings={**settings, "test_tokens": 7, "validation_tokens": 4}, seed=0)
    assert np.load(public / "train.npy").tolist() == [3, 1, 0, 1, 2, 2, 2]
    assert json.loads((public / "about.json").read_text()) == {
        "vocabulary": 4,
        "length": 2,
        "train_tokens": 7,
        "size": "full",
    }
    assert np.load(private / "test.npy").tolist() == [[3, 0, 1], [2, 0, 1]]
    assert np.load(private / "validation.npy").tolist() == [[2, 3, 1]]
    assert json.loads((private / "sizes.json").read_text()) == [1, 2, 4, 0]


def test_rows_are_spread_over_the_text(tmp_path):
    language_models.write_split(tmp_path, "test", np.arange(1000), 9, 5)
    assert np.load(tmp_path / "test.npy")[:, 0].tolist() == [0, 240, 490, 740, 990]
    language_models.write_split(tmp_path, "test", np.arange(35), 9, 5)
    assert np.load(tmp_path / "test.npy").tolist() == np.arange(30).reshape(3, 10).tolist()


def test_the_brown_corpus_loses_its_tags_and_is_dealt_by_document(task, tmp_path):
    tagged = (
        "\n\n\tThe/at jury/nn said/vbd ,/, ``/`` no/at either/or/cc evidence/nn ''/'' ./.\n"
        "Why/wrb ?/. ?/.\n\n\n\tIt/pps (/( he/pps )/) ;/. ;/.\n"
    )
    assert task.plain(tagged) == 'The jury said, "no either/or evidence". Why?\nIt (he);\n'
    with tarfile.open(tmp_path / "brown.tgz", "w:gz") as tar:
        for name, text in {"package/ca02": "B/nn", "package/README": "no", "package/ca01": "A/nn"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    assert task.documents(str(tmp_path / "brown.tgz")) == [b"A\n", b"B\n"]
    texts = [bytes([65 + n]) for n in range(20)]
    parts = {split: part.tobytes() for split, part in task.dealt(texts, {"validation": 3, "test": 4}, 1).items()}
    assert {split: len(part) for split, part in parts.items()} == {"validation": 6, "test": 8, "train": 26}
    assert sorted(b"".join(parts.values()).replace(b"\0", b"")) == sorted(b"".join(texts))
    assert parts == {
        split: part.tobytes() for split, part in task.dealt(texts, {"validation": 3, "test": 4}, 1).items()
    }
    assert parts["test"] != task.dealt(texts, {"validation": 3, "test": 4}, 2)["test"].tobytes()


# The shipped task, where its packages can be had.


@pytest.fixture(scope="module")
def tiny() -> Prepared:
    try:
        return prepare(load_task("language-modeling-tiny"))
    except SourceError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.network
def test_the_real_text_is_english_and_in_one_split_only(tiny):
    train = np.load(tiny.public / "train.npy").tobytes()
    assert len(train) > 4_500_000 and train.count(b" the ") > 40_000 and b"/nn" not in train
    for split in ("validation", "test"):
        rows = np.load(tiny.private / f"{split}.npy")
        assert rows.shape == (60, 257) and rows.dtype == np.uint8
        assert sum(row.tobytes()[100:160] in train for row in rows) == 0


@pytest.mark.slow
@pytest.mark.network
def test_the_solution_beats_the_baseline(tiny, tmp_path):
    scores = {}
    with Grader(tiny) as grader:
        for solution in (False, True):
            trial = run_starter(tiny, choose("auto"), tmp_path / str(solution), solution=solution)
            verdict = grader.grade(trial.files, "test")
            assert verdict.scores, verdict.why
            scores[solution] = verdict.scores
    anchors = tiny.task.anchors
    assert anchors and scores[False]["val_loss"] == pytest.approx(
        anchors.baseline["test"], abs=4 * anchors.noise["test"]
    )
    assert scores[True]["val_loss"] < scores[False]["val_loss"] - 0.04
    assert scores[True]["bits_per_byte"] == pytest.approx(scores[True]["val_loss"] / np.log(2))
