"""Grading a table of predictions: what counts, what is refused and how that is said."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.grading.kinds import InvalidSubmission
from mlgym.grading.kinds.tables import grade_classes, grade_numbers, r2, rmse

ANSWERS = "Id,Price,split\n7,10,validation\n3,20,test\n9,40,validation\n1,30,test\n2,60,test\n"
GOOD = "Id,Price\n7,10\n3,20\n9,40\n1,30\n2,60\n"


def numbers(tmp_path: Path, text: str | bytes, split: str = "test") -> dict[str, float]:
    """The scores of a submitted text."""
    answers, submitted = tmp_path / "answers.csv", tmp_path / "submission.csv"
    answers.write_text(ANSWERS)
    submitted.write_bytes(text.encode() if isinstance(text, str) else text)
    return grade_numbers(submitted, answers, id="Id", target="Price", split=split)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "Id,Price\n2,60.0\n1,3e1\n9,40\n3,20\n7,10",
        "\ufeffId, Price\r\n 2 , 60\r\n1,30\r\n\r\n9,40\r\n3,20\r\n7,10\r\n",
        '"Id","Price"\n"2","60"\n1,30\n9,40\n3,20\n7,10\n',
    ],
)
def test_rows_are_matched_by_id_in_any_order_and_form(tmp_path, text):
    for split in ("validation", "test"):
        assert numbers(tmp_path, text, split) == {"r2": 1.0, "rmse": 0.0}


def test_only_the_rows_of_the_split_count(tmp_path):
    worse = GOOD.replace("9,40", "9,0")
    assert numbers(tmp_path, worse, "test")["r2"] == 1.0
    assert numbers(tmp_path, worse, "validation") == pytest.approx({"r2": 1 - 1600 / 450, "rmse": 800**0.5})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The first line must be Id,Price, but it is ''."),
        (GOOD.replace("Price", "price"), "The first line must be Id,Price, but it is 'Id,price'."),
        (GOOD.split("\n", 1)[1], "The first line must be Id,Price, but it is '7,10'."),
        ("Id,Price\n", "5 of 5 rows are missing, first Id 7."),
        (GOOD.replace("9,40\n", ""), "1 of 5 rows are missing, first Id 9."),
        (GOOD + "8,1\n", "Line 7 has an unknown Id, '8'."),
        (GOOD + "9,1\n", "The Id 9 is there twice, again in line 7."),
        (GOOD.replace("9,40", "9,nan"), "The prediction of 9 is nan, which is not a usable number."),
        (GOOD.replace("9,40", "9,-inf"), "The prediction of 9 is -inf, which is not a usable number."),
        (GOOD.replace("9,40", "9,1e200"), "The prediction of 9 is 1e200, which is not a usable number."),
        (GOOD.replace("9,40", "9,"), "The prediction of 9 is '', which is not a number."),
        (GOOD.replace("9,40", "9,forty"), "The prediction of 9 is 'forty', which is not a number."),
        (GOOD.replace("9,40", "9,40,1"), "Line 4 has 3 values instead of 2."),
        (GOOD.replace("9,40", '9,"40'), "Line 6 "),
        (b"\x93NUMPY\x01\x00\xff\xfe", "The file is not a csv in UTF-8."),
        ("Id,Price\n9,4\0\n", "Line 2 is not text."),
        ("Id,Price\n" + "9" * 20_000, "Line 2 is longer than 10000 characters."),
        ("Id,Price\n" + "\n" * 1000, "The file has more than 110 lines."),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_sentence_on_every_split(tmp_path, text, said):
    for split in ("validation", "test"):
        with pytest.raises(InvalidSubmission) as caught:
            numbers(tmp_path, text, split)
        if said == "Line 6 ":  # an open quotation mark swallows the rest: a missing row or a bad value, either will do
            continue
        assert str(caught.value) == said


def test_an_answer_or_a_split_is_never_in_what_is_said(tmp_path):
    for line in GOOD.splitlines()[1:]:
        for text in (GOOD.replace(f"{line}\n", ""), GOOD.replace(line, f"{line.split(',')[0]},x")):
            with pytest.raises(InvalidSubmission) as caught:
                numbers(tmp_path, text)
            said = str(caught.value)
            assert line.split(",")[1] not in said.split() and "validation" not in said and "test" not in said


def test_a_flood_is_refused_without_being_read(tmp_path):
    fifo = tmp_path / "flood"
    os.mkfifo(fifo)
    written = 0

    def flood() -> None:
        nonlocal written
        with pytest.raises(BrokenPipeError), fifo.open("wb", buffering=0) as file:
            while written < 10**9:
                written += file.write(b"1,1\n" * 10_000)

    thread = threading.Thread(target=flood)
    thread.start()
    (tmp_path / "answers.csv").write_text(ANSWERS)
    with pytest.raises(InvalidSubmission):
        grade_numbers(fifo, tmp_path / "answers.csv", id="Id", target="Price", split="test")
    thread.join(10)
    assert written < 1_000_000


def test_classes_are_graded_by_accuracy_and_only_known_ones_pass(tmp_path):
    (tmp_path / "answers.csv").write_text("Id,Label,split\n1,cat,test\n2,dog,test\n3,dog,validation\n")
    submitted = tmp_path / "submission.csv"
    about = {"id": "Id", "target": "Label", "classes": ["cat", "dog"]}
    submitted.write_text("Id,Label\n3,cat\n2,dog\n1,dog\n")
    assert grade_classes(submitted, tmp_path / "answers.csv", split="test", **about) == {"accuracy": 0.5}
    assert grade_classes(submitted, tmp_path / "answers.csv", split="validation", **about) == {"accuracy": 0.0}
    submitted.write_text("Id,Label\n3,cow\n2,dog\n1,dog\n")
    with pytest.raises(InvalidSubmission, match=r"^The row of Id 3 has 'cow', which is not one of the classes\.$"):
        grade_classes(submitted, tmp_path / "answers.csv", split="test", **about)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30).filter(lambda y: np.std(y) > 1e-3))
def test_r2_of_the_mean_is_zero_and_of_the_truth_one(values):
    y = np.array(values)
    assert r2(y, y) == 1.0 and rmse(y, y) == 0.0
    assert r2(y, np.full_like(y, y.mean())) == pytest.approx(0, abs=1e-9)
    assert r2(y, y + rmse(y, np.full_like(y, y.mean()))) == pytest.approx(0, abs=1e-6)
