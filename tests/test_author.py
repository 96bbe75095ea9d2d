"""`mlgym tasks init`: what it writes passes `mlgym check` at once, and what cannot be a task is one sentence."""

import csv
import random
from pathlib import Path

import pytest

from mlgym.author import init
from mlgym.check import Examination, check_task
from mlgym.errors import UsageError
from mlgym.task import load_task


def table(path: Path, rows: int = 200) -> Path:
    """A csv with an id, two features, a number that depends on them, and a class."""
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["UserId", "size", "colour", "price", "kind"])
        for number in range(rows):
            size, colour = draw.gauss(0, 1), draw.choice(["red", "blue", ""])
            price = 3 * size + (colour == "red") + draw.gauss(0, 0.5)
            out.writerow([number, f"{size:.4f}", colour, f"{price:.4f}", "big" if size > 0 else "small, really"])
    return path


def checked(folder: Path) -> Examination:
    """The folder's task, checked."""
    examination = Examination(load_task(folder))
    list(check_task(examination))
    return examination


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("target", "metric", "expected", "best"),
    [
        ("price", "", "r2", 1.0),
        ("price", "rmse", "rmse", 0.0),
        ("kind", "", "accuracy", 1.0),
    ],
)
def test_a_table_becomes_a_task_that_passes_its_check(tmp_path, target, metric, expected, best):
    said: list[str] = []
    init(tmp_path / "shop", "table", table(tmp_path / "shop.csv"), target, metric, say=said.append)
    task = load_task(tmp_path / "shop")
    assert (task.metric, task.anchors and task.anchors.best) == (expected, best)
    assert any("put a better-founded one in" in line for line in said)
    examination = checked(tmp_path / "shop")
    assert examination.ok and [f.what for f in examination.findings][:3] == [
        "baseline runs",
        "baseline is valid",
        "baseline validation",
    ]
    assert examination.baseline
    scores = examination.baseline.scores["test"]
    assert scores[expected] > 0.8 if expected != "rmse" else 0.3 < scores["rmse"] < 0.8
    assert "UserId" in task.instruction and "60 other rows" in task.instruction


@pytest.mark.slow
def test_a_game_becomes_a_task_that_passes_its_check(tmp_path):
    said: list[str] = []
    init(tmp_path / "pennies", "game", None, "", "", say=said.append)
    task = load_task(tmp_path / "pennies")
    assert task.anchors and task.anchors.best is None and task.anchors.noise["test"] > 0
    assert any("no progress until you write one down" in line for line in said)
    assert checked(tmp_path / "pennies").ok


@pytest.mark.parametrize(
    ("kind", "target", "metric", "said"),
    [
        ("opera", "price", "", "--kind is table or game, not 'opera'"),
        ("table", "", "", "A table needs --csv FILE and --target COLUMN"),
        ("table", "cost", "", "has no column 'cost'; it has UserId, size, colour, price, kind"),
        ("table", "colour", "", "rows have no value in the column colour"),
        ("table", "kind", "r2", "which is no number: use --metric accuracy"),
        ("table", "price", "accuracy", "different values: use --metric r2 or rmse"),
        ("table", "price", "f1", "--metric is r2, rmse, accuracy, not 'f1'"),
    ],
)
def test_what_cannot_be_a_task_is_one_sentence_and_leaves_nothing(tmp_path, kind, target, metric, said):
    with pytest.raises(UsageError) as caught:
        init(tmp_path / "shop", kind, table(tmp_path / "shop.csv"), target, metric)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as a csv with a header"),
        ("a,b\n1,2\n", "has 1 rows; 50 are the fewest"),
        ("a,b\n" + "1,2\n" * 60 + "1\n", "row 62 has another number of values"),
        ("a,a\n" + "1,2\n" * 60, "give each column a name of its own"),
    ],
)
def test_a_table_that_is_none(tmp_path, text, said):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        init(tmp_path / "shop", "table", tmp_path / "x.csv", "a", "")


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "shop").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        init(tmp_path / "shop", "game", None, "", "")
    assert (tmp_path / "shop").exists()
