"""Saved classifiers of pairs of texts: both forms of a submission, what is refused, the frauds, mnli's data."""

import csv
import importlib.util
import json
import sys
import zipfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mlgym.check import measure
from mlgym.errors import SourceError
from mlgym.grading import Grader
from mlgym.grading.forgeries import fitting, guarded, run_forgeries, run_without
from mlgym.grading.prepare import KINDS, Prepared, prepare
from mlgym.sandbox import choose
from mlgym.sources import fetch
from mlgym.task import load_task

LABELS = ("entailment", "neutral", "contradiction")
PACKED = (load_task("mnli").folder / "workspace" / "submission" / "packed.py").read_text()
TOML = """
version = 1
title = "Made pairs"
kind = "classifier"
canary = "a canary of twenty characters"
metric = "accuracy"
direction = "maximize"
instruction = "Classify."
packages = "numpy"
submission = { paths = ["submission"], max_mb = 1 }
limits = { call_s = 10 }
[anchors]
baseline = { validation = 0.333, test = 0.333 }
noise = { validation = 0.075, test = 0.105 }
source = "The starter is right about a third; the noise is that of guessing on 40 and on 20 pairs."
"""
TASK = """
import csv
from kinds.classifiers import grade_pairs

LABELS = ("entailment", "neutral", "contradiction")

def prepare(public, private, *, settings, seed):
    rows = [(f"Premise é {n}.", f"Hypothesis {n} {LABELS[n // 20]}.", LABELS[n // 20]) for n in range(60)]
    with (private / "answers.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("id", "premise", "hypothesis", "label", "split"))
        out.writerows((n, *row, "validation" if n % 3 else "test") for n, row in enumerate(rows))

def grade(submission, private, *, settings, split, seed):
    return grade_pairs(submission, private / "answers.csv", labels=LABELS, split=split, seed=seed)
"""
NEUTRAL = 'def predict(premises, hypotheses):\n    return ["neutral"] * len(premises)\n'
READS = """
def predict(premises, hypotheses):
    assert all(text.startswith("Premise é ") for text in premises)
    return [text.rstrip(".").split()[-1] for text in hypotheses]
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A task of 60 pairs, sorted by label as data sets often are; its starter always says neutral."""
    folder = tmp_path_factory.mktemp("tasks") / "pairs"
    (folder / "workspace" / "submission").mkdir(parents=True)
    (folder / "task.toml").write_text(TOML)
    (folder / "task.py").write_text(TASK)
    (folder / "workspace" / "submission" / "packed.py").write_text(PACKED)
    (folder / "workspace" / "submission" / "model.py").write_text(NEUTRAL)
    return prepare(load_task(folder))


@pytest.fixture(scope="module")
def grader(prepared):
    with Grader(prepared) as grader:
        yield grader


def model(folder: Path, code: str, packed: str = PACKED) -> Path:
    """A submission with this model."""
    (folder / "submission").mkdir()
    (folder / "submission" / "model.py").write_text(code)
    (folder / "submission" / "packed.py").write_text(packed)
    return folder


def table(folder: Path, rows: list[tuple[object, str]], header: str = "id,label") -> Path:
    """A submission with these predictions."""
    (folder / "submission").mkdir()
    text = "\n".join([header, *(f"{key},{label}" for key, label in rows)])
    (folder / "submission" / "predictions.csv").write_text(text + "\n")
    return folder


def test_a_model_that_reads_the_texts_is_right(grader, tmp_path):
    files = model(tmp_path, READS)
    for split in ("validation", "test"):
        assert grader.grade(files, split).scores == {"accuracy": 1.0}


def test_a_table_of_predictions_counts_by_split(grader, tmp_path):
    rows = [(n, LABELS[n // 20] if n % 3 else LABELS[n // 20 - 1]) for n in range(60)]
    files = table(tmp_path, rows[::-1])
    assert grader.grade(files, "validation").scores == {"accuracy": 1.0}
    assert grader.grade(files, "test").scores == {"accuracy": 0.0}


def test_the_same_files_are_asked_once_for_both_splits(grader, tmp_path):
    code = "import os\ndef predict(premises, hypotheses):\n"
    code += '    return [["neutral", "entailment", "contradiction"][byte % 3] for byte in os.urandom(len(premises))]\n'
    files = model(tmp_path, code)
    found = [grader.grade(files, split).scores["accuracy"] for split in ("validation", "test") * 4]
    assert len(set(found[::2])) == len(set(found[1::2])) == 1
    (tmp_path / "submission" / "model.py").write_text(READS)
    assert grader.grade(files, "validation").scores == {"accuracy": 1.0}


def test_the_model_sees_the_whole_pool_whatever_the_split(grader, tmp_path):
    code = "def predict(premises, hypotheses):\n    raise ValueError(f'{len(premises)} {len(set(premises))}')\n"
    files = model(tmp_path, code)
    said = {grader.grade(files, split).why for split in ("validation", "test")}
    assert said == {"The submission's code failed: submission/model.py line 2: ValueError: 60 60."}


BROKEN = {
    "return ['neutral'] * (len(premises) - 1)": "answered with <i8[59] where <i8[60] was expected",
    "return ['maybe'] * len(premises)": "'maybe' is not in list",
    "return [1] * len(premises)": "1 is not in list",
    "return None": "'NoneType' object is not iterable",
    "1 / 0": "submission/model.py line 2: ZeroDivisionError: division by zero",
    "import os; os._exit(3)": "ended its own process (with code 3)",
}


@pytest.mark.parametrize(("body", "said"), BROKEN.items())
def test_a_broken_model_gets_one_sentence(grader, tmp_path, body, said):
    verdict = grader.grade(model(tmp_path, f"def predict(premises, hypotheses):\n    {body}\n"), "test")
    assert not verdict.valid and said in verdict.why and "\n" not in verdict.why and verdict.why.endswith(".")


def test_numbers_that_are_no_labels_are_refused(grader, tmp_path):
    packed = "import numpy\ndef predict_packed(premises, hypotheses):\n    return numpy.full(len(premises), {})\n"
    verdict = grader.grade(model(tmp_path, "", packed.format(7)), "test")
    assert verdict.why == "The model answered with a number that is no label's: 0 to 2 are."
    (tmp_path / "submission" / "packed.py").write_text(packed.format(1.0))
    assert "answered with <f8[60] where <i8[60] was expected" in grader.grade(tmp_path, "test").why


def test_broken_folders_get_one_sentence(grader, tmp_path):
    (tmp_path / "submission").mkdir()
    assert grader.grade(tmp_path, "test").why == "submission/ holds neither a model (packed.py) nor predictions.csv."
    (tmp_path / "submission" / "packed.py").write_text(PACKED)
    assert "No module named 'submission.model'" in grader.grade(tmp_path, "test").why
    (tmp_path / "submission" / "predictions.csv").write_text("id,label\n")
    assert "holds both predictions.csv and a model" in grader.grade(tmp_path, "test").why


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([(n, "neutral") for n in range(59)], "id,label", "1 of 60 rows are missing, first id 59."),
        (
            [(n, "maybe") for n in range(60)],
            "id,label",
            "The row of id 0 has 'maybe', which is not one of the classes.",
        ),
        ([(n, "neutral") for n in range(61)], "id,label", "Line 62 has an unknown id, '60'."),
        ([(0, "neutral")] * 60, "id,label", "The id 0 is there twice, again in line 3."),
        ([(n, "neutral") for n in range(60)], "label,id", "The first line must be id,label, but it is 'label,id'."),
    ],
)
def test_a_broken_table_gets_one_sentence(grader, tmp_path, rows, header, said):
    assert grader.grade(table(tmp_path, rows, header), "test").why == said


@pytest.mark.slow
def test_no_fraud_of_a_classifier_scores(prepared):
    outcomes = list(run_forgeries(prepared))
    assert [outcome.name for outcome in outcomes] == [forgery.name for forgery in fitting("classifier")]
    assert [outcome for outcome in outcomes if outcome.scored] == []


def test_a_fraud_of_a_classifier_pays_without_its_defence(prepared):
    outcomes = list(run_without(prepared, [forgery for forgery in guarded("all", "classifier") if forgery.kinds]))
    assert len(outcomes) >= 6
    assert [outcome for outcome in outcomes if not outcome.scored] == []


# The data of mnli.


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hidden module of mnli, as the grader loads it."""

    def load(name: str, path: Path, *places: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=list(places) or None)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    for name in [name for name in sys.modules if name.startswith("kinds.")]:
        monkeypatch.delitem(sys.modules, name)
    load("kinds", KINDS / "__init__.py", str(KINDS))
    return load("task", load_task("mnli").code)


def multinli(prompts: int) -> dict[str, str]:
    """Files of MultiNLI's own form, with three pairs for each prompt and one that has no label."""

    def lines(count: int, part: str) -> str:
        rows = [
            {"promptID": str(n), "sentence1": f"{part} {n}", "sentence2": f"{label} {n} ", "gold_label": label}
            for n in range(count)
            for label in (*LABELS, "-")
        ]
        return "".join(json.dumps(row) + "\n" for row in rows)

    return {
        "multinli_1.0_train.jsonl": lines(prompts, "train"),
        "multinli_1.0_dev_matched.jsonl": lines(20, "matched"),
        "multinli_1.0_dev_mismatched.jsonl": lines(20, "mismatched"),
    }


def test_multinli_is_read_from_its_zip_and_from_a_folder(task, tmp_path):
    source, folder = tmp_path / "multinli_1.0.zip", tmp_path / "multinli_1.0"
    folder.mkdir()
    with zipfile.ZipFile(source, "w") as archive:
        for name, text in multinli(50).items():
            archive.writestr(f"multinli_1.0/{name}", text)
            archive.writestr(f"__MACOSX/multinli_1.0/{name}", "not this one")
            (folder / name).write_text(text)
    parts = task.multinli(source, 30, np.random.default_rng(0))
    assert parts == task.multinli(folder, 30, np.random.default_rng(0))
    train, validation, test = parts
    assert [len(part) for part in parts] == [120, 30, 60]
    assert {row[0].split()[0] for row in test} == {"matched"} and {row[2] for row in test} == set(LABELS)
    assert {row[0] for row in train}.isdisjoint(row[0] for row in validation)
    assert all(hypothesis.split()[0] == label for _, hypothesis, label in train)


NOUNS = """  1 A licence.
00000010 05 n 02 dog 0 domestic_dog 0 002 @ 00000020 n 0000 ~ 00000030 n 0000 | a pet; "a dog barked"; "no match"
00000020 05 n 01 animal 0 001 ~ 00000010 n 0000 | a being; "the animal slept"
00000030 05 n 01 poodle 0 001 @ 00000010 n 0000 | a breed
"""
ADJECTIVES = """00000040 00 a 01 big(a) 0 002 ! 00000050 a 0101 & 00000060 a 0000 | large; "a big house"
00000050 00 a 01 small 0 001 ! 00000040 a 0101 | little
00000060 00 s 01 enormous 0 001 & 00000040 a 0000 | very big
"""


def test_wordnets_files_are_understood(task, tmp_path):
    (tmp_path / "data.noun").write_text(NOUNS)
    (tmp_path / "data.adj").write_text(ADJECTIVES)
    nouns = dict(task.read_synsets("noun", tmp_path / "data.noun"))
    dog = nouns["noun", "00000010"]
    assert dog == (["dog", "domestic dog"], [("noun", "00000020")], [], ["a dog barked", "no match"])
    adjectives = dict(task.read_synsets("adj", tmp_path / "data.adj"))
    assert adjectives["adj", "00000040"] == (["big"], [], [(("adj", "00000050"), 0)], ["a big house"])
    assert adjectives["adj", "00000060"].general == [("adj", "00000040")]


def test_a_changed_word_takes_its_article_along(task):
    assert task.changed("A dog saw a dog", "dog", "animal") == "An animal saw a dog"
    assert task.changed("an idea of his", "idea", "thought") == "a thought of his"
    assert task.changed("the ideals of an ideal man", "ideal", "real") == "the ideals of a real man"


@pytest.mark.slow
@pytest.mark.network
def test_the_wordnet_pairs_cannot_be_told_from_the_hypothesis_alone(task):
    mini = load_task("mnli-mini")
    try:
        files = {s.name: fetch(s, say=lambda line: None) for s in mini.sources if s.package == "wordnet-base"}
    except SourceError as error:
        pytest.skip(str(error))
    train, validation, test = task.wordnet(files, 600, 1400, np.random.default_rng(0))
    assert len(train) > 20_000 and 600 <= len(validation) < 610 and 1400 <= len(test) < 1410
    texts = [{text for row in part for text in row[:2]} for part in (train, validation, test)]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
    for part in (train, test):
        shares = Counter(row[2] for row in part)
        assert all(0.3 < shares[label] / len(part) < 0.37 for label in LABELS)
    counts = {label: Counter(word for row in train if row[2] == label for word in row[1].split()) for label in LABELS}
    words = {word for found in counts.values() for word in found}

    def guess(text: str) -> str:  # naive Bayes on the words of the hypothesis
        def weight(label: str) -> float:
            total = counts[label].total() + len(words)
            return sum(float(np.log((counts[label][word] + 1) / total)) for word in text.split())

        return max(LABELS, key=weight)

    assert sum(guess(row[1]) == row[2] for row in test) / len(test) < 0.43


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)  # on a loaded machine
def test_mnli_tiny_runs_and_its_solution_is_better(tmp_path):
    try:
        prepared = prepare(load_task("mnli-tiny"))
    except SourceError as error:
        pytest.skip(str(error))
    with (prepared.public / "test.csv").open(newline="") as file:
        assert list(csv.DictReader(file).fieldnames or ()) == ["id", "premise", "hypothesis"]
    with Grader(prepared) as grader:
        kind = choose("auto")
        start = measure(prepared, kind, grader, tmp_path / "baseline")
        better = measure(prepared, kind, grader, tmp_path / "solution", solution=True)
    assert start.why == better.why == ""
    gain = sum(better.scores[split]["accuracy"] - start.scores[split]["accuracy"] for split in ("validation", "test"))
    assert gain > 0.1
