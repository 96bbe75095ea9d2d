"""The task titanic on Kaggle's labelled passengers. Needs the package registry once; then all is in the cache."""

import csv
import itertools
from pathlib import Path

import pytest

from mlgym.check import Examination, check_task, measure
from mlgym.errors import SourceError
from mlgym.grading import Grader
from mlgym.grading.prepare import Prepared, prepare
from mlgym.sandbox import choose
from mlgym.task import load_task

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    try:
        return prepare(load_task("titanic"))
    except SourceError as error:
        pytest.skip(str(error))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_passenger_is_in_one_place_and_the_pool_does_not_show_the_split(prepared):
    train, pool = rows(prepared.public / "train.csv"), rows(prepared.public / "test.csv")
    answers = {row["PassengerId"]: row for row in rows(prepared.private / "answers.csv")}
    splits = [answers[row["PassengerId"]]["split"] for row in pool]
    assert (len(train), splits.count("validation"), splits.count("test")) == (535, 89, 267)
    assert sorted(int(row["PassengerId"]) for row in [*train, *pool]) == list(range(1, 892))
    assert sum(a != b for a, b in itertools.pairwise(splits)) > 80  # in a random order some 130, sorted by split 1
    assert set(train[0]) - set(pool[0]) == {"Survived"}
    saved = sum(int(row["Survived"]) for row in [*train, *answers.values()])
    assert saved == 342


def test_the_answers_are_in_no_visible_file(prepared):
    assert sorted(path.name for path in prepared.public.iterdir()) == ["sample_submission.csv", "test.csv", "train.csv"]
    assert {row["Survived"] for row in rows(prepared.public / "sample_submission.csv")} == {"0"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",0\n", ",0.0\n", "which is not one of the classes."),
        (",0\n", ",yes\n", "has 'yes', which is not one of the classes."),
        (",0\n", ",\n", "has '', which is not one of the classes."),
        ("PassengerId", "Id", "The first line must be PassengerId,Survived, but it is 'Id,Survived'."),
        ("Survived\n", "Survived\n1000,1\n", "Line 2 has an unknown PassengerId, '1000'."),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_sentence(prepared, tmp_path, old, new, said):
    sample = (prepared.public / "sample_submission.csv").read_text()
    (tmp_path / "submission.csv").write_text(sample.replace(old, new, 1))
    with Grader(prepared) as grader:
        for split in ("validation", "test"):
            verdict = grader.grade(tmp_path, split)
            assert not verdict.valid and verdict.why.endswith(said)


def test_nobody_survives_is_an_honest_answer_and_scores_as_one(prepared, tmp_path):
    (tmp_path / "submission.csv").write_bytes((prepared.public / "sample_submission.csv").read_bytes())
    with Grader(prepared) as grader:
        for split, floor in prepared.task.anchors.floor.items():
            assert grader.grade(tmp_path, split).scores == {"accuracy": pytest.approx(floor, abs=1e-6)}
    assert set(prepared.task.anchors.floor) == {"validation", "test"}


@pytest.mark.slow
def test_the_hidden_solution_is_clearly_better(prepared, tmp_path):
    anchors, kind = prepared.task.anchors, choose("auto")
    with Grader(prepared, kind) as grader:
        found = measure(prepared, kind, grader, tmp_path / "solution", solution=True)
    assert anchors and found.scores["test"]["accuracy"] == pytest.approx(anchors.best, abs=0.015)
    for split in ("validation", "test"):
        assert found.scores[split]["accuracy"] > anchors.baseline[split] + 0.04


@pytest.mark.slow
def test_the_baseline_is_as_recorded_and_no_forgery_scores(prepared):
    findings = list(check_task(Examination(prepared.task)))
    assert [finding for finding in findings if not finding.ok] == []
    assert sum(finding.what.startswith("forgery") for finding in findings) > 5
