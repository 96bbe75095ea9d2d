"""Captions: BLEU and CIDEr as worked out by hand, what is refused, the frauds, and the data of the task."""

import csv
import importlib.util
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mlgym.check import measure
from mlgym.errors import SourceError
from mlgym.grading import Grader
from mlgym.grading.forgeries import fitting, run_forgeries
from mlgym.grading.kinds import InvalidSubmission
from mlgym.grading.kinds.captions import cider, grade_captions
from mlgym.grading.prepare import KINDS, Prepared, prepare
from mlgym.sandbox import choose
from mlgym.task import load_task

# Two images; in logarithms of 2 every word and n-gram of one image weighs 1, what both have weighs 0.
REFERENCES = [["a red cat"], ["a blue dog"]]


@pytest.mark.parametrize(
    ("caption", "score"),
    [
        ("a red cat", 3 / 4),  # 1 for words, pairs and triples; there are no four words in a row
        ("A RED cat!", 3 / 4),
        ("a red dog", (1 / 2 + 1 / 2) / 4),  # one of two words that weigh, one of two pairs
        ("a red", math.exp(-1 / 72) * (math.sqrt(1 / 2) + math.sqrt(1 / 2)) / 4),  # a word less: a penalty
        (
            "red red",
            math.exp(-1 / 72) * math.sqrt(1 / 2) / 2 / 4,
        ),  # 2 times "red" counts once, but lengthens the caption
        ("green fish", 0),
    ],
)
def test_cider_is_as_worked_out_by_hand(caption, score):
    assert cider([caption, "something else"], REFERENCES) == pytest.approx(10 * score / 2)


def test_cider_takes_the_mean_over_an_images_references():
    one = cider(["a red cat", "x"], [["a red cat"], ["a blue dog"]])
    two = cider(["a red cat", "x"], [["a red cat", "nothing of this"], ["a blue dog"]])
    assert two == pytest.approx(one / 2)


def test_cider_does_not_fail_where_nothing_weighs():
    assert cider(["a cat"], [["a cat"]]) == 0  # what all images have weighs nothing


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.csv"
    path.write_text("id,caption,split\n0,a red cat,test\n0,one cat,test\n1,a blue dog,validation\n")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,caption\n0,a cat\n", "1 of 2 rows are missing, first id 1."),
        ("id,caption\n0,a cat\n1,a dog\n2,a fish\n", "Line 4 has an unknown id, '2'."),
        ("id,caption\n0,a cat\n0,a cat\n", "The id 0 is there twice, again in line 3."),
        ("id,caption\n0,a cat\n1, \n", "The caption of image 1 is empty."),
        ("id,caption\n0,a cat\n1," + "dog " * 101 + "\n", "The caption of image 1 has more than 100 words."),
        ("id,caption,bleu\n0,a cat,1\n1,a dog,1\n", "The first line must be id,caption, but it is 'id,caption,bleu'."),
        ("id,caption\n0,a cat, red\n1,a dog\n", "Line 2 has 3 values instead of 2."),
        ("", "The first line must be id,caption, but it is ''."),
    ],
)
def test_a_broken_file_gets_one_sentence(answers, tmp_path, text, said):
    (tmp_path / "captions.csv").write_text(text)
    with pytest.raises(InvalidSubmission) as caught:
        grade_captions(tmp_path / "captions.csv", answers, split="test")
    assert str(caught.value) == said


# The data of the task.


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hidden module of image-captioning, as the grader loads it."""

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
    return load("task", load_task("image-captioning").code)


def coco(folder: Path, picture: bytes = b"picture") -> dict[str, Path]:
    """COCO's own layout in small: unpacked folders; `picture` is every image's bytes."""
    sizes = {"train2014": 12, "val2014": 9}
    sources = {name: folder / name for name in (*sizes, "annotations")}
    for path in sources.values():
        path.mkdir(parents=True)
    for part, count in sizes.items():
        names = [f"COCO_{part}_{n:012}.jpg" for n in range(count)]
        for name in names:
            (sources[part] / name).write_bytes(picture + name.encode() if picture == b"picture" else picture)
        about = {
            "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
            "annotations": [
                {"image_id": n, "caption": f"Photo {n} of\n {part}, caption {k}. "}
                for k in range(2)
                for n in range(count)
            ],
        }
        (sources["annotations"] / f"captions_{part}.json").write_text(json.dumps(about))
    return sources


def zipped(source: Path) -> Path:
    """The folder as the zip file that is fetched."""
    return Path(shutil.make_archive(str(source), "zip", source.parent, source.name))


def read(parts: dict) -> dict:
    """The parts with the images read."""
    return {name: [(image(), texts) for image, texts in items] for name, items in parts.items()}


def test_coco_is_read_from_its_zips_and_from_folders(task, tmp_path):
    sources = coco(tmp_path)
    settings = {"validation": 3, "test": 4}
    parts = read(task.coco(sources, settings, np.random.default_rng(0)))
    zips = {name: zipped(path) for name, path in sources.items()}
    assert read(task.coco(zips, settings, np.random.default_rng(0))) == parts
    assert {name: len(items) for name, items in parts.items()} == {"train": 12, "validation": 3, "test": 4}
    for part, items in parts.items():
        for image, texts in items:
            folder = "train2014" if part == "train" else "val2014"
            number = int(image.decode()[-16:-4])
            assert folder.encode() in image
            assert texts == [f"Photo {number} of {folder}, caption {k}." for k in range(2)]
    assert {image for image, _ in parts["validation"]}.isdisjoint(image for image, _ in parts["test"])


def tgz(path: Path, files: dict[str, bytes]) -> Path:
    """An npm package with these files."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_the_skin_tones_of_an_emoji_stay_together_and_flags_are_left_out(task, tmp_path):
    names = {
        "👋": {"name": "waving hand", "group": "People & Body"},
        "✌️": {"name": "victory hand", "group": "People & Body"},
        "🍎": {"name": "red apple", "group": "Food & Drink"},
        "🇩🇰": {"name": "flag Denmark", "group": "Flags"},
    }
    pictures = ["1f44b", "1f44b-1f3fe", "1f44b-1f3fb", "270c-fe0f", "270c-1f3fb", "1f34e", "1f1e9-1f1f0", "1f971"]
    sources = {
        "names": tgz(tmp_path / "names.tgz", {"data-by-emoji.json": json.dumps(names).encode()}),
        "pictures": tgz(tmp_path / "pictures.tgz", {f"assets/{name}.webp": name.encode() for name in pictures}),
    }
    parts = read(task.emoji(sources, {"validation": 1, "test": 1}, np.random.default_rng(0)))
    captions = {text: name for name, items in parts.items() for _, (text,) in items}
    assert len({captions[text] for text in captions if "waving" in text}) == 1
    assert set(captions) == {
        "people and body: waving hand",
        "people and body: waving hand, medium dark skin tone",
        "people and body: waving hand, light skin tone",
        "people and body: victory hand",
        "people and body: victory hand, light skin tone",
        "food and drink: red apple",
    }
    assert sorted(captions.values()).count("train") < 6 and set(captions.values()) == {"train", "validation", "test"}


# With sacrebleu, which the dev environment has not.

TOML = """
version = 1
title = "Made captions"
kind = "captions"
canary = "a canary of twenty characters"
metric = "bleu"
direction = "maximize"
instruction = "Describe."
packages = "numpy"
grader_packages = {pins}
submission = {{ paths = ["captions.csv"] }}
"""
TASK = """
from kinds.captions import grade_captions

def prepare(public, private, *, settings, seed):
    rows = ["0,a red cat sits on a mat,test", '1,"two dogs run, far away",validation', "1,dogs on the run,validation"]
    (private / "answers.csv").write_text("id,caption,split\\n" + "\\n".join(rows) + "\\n")

def grade(submission, private, *, settings, split, seed):
    return grade_captions(submission.path("captions.csv"), private / "answers.csv", split=split)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Two images, one with two captions; the starter's captions are bad."""
    folder = tmp_path_factory.mktemp("tasks") / "made"
    (folder / "workspace").mkdir(parents=True)
    (folder / "task.toml").write_text(TOML.format(pins=list(load_task("image-captioning").grader_packages)))
    (folder / "task.py").write_text(TASK)
    (folder / "workspace" / "captions.csv").write_text(
        "id,caption\n0,a red cat sits there\n1,the dogs on the run home\n"
    )
    try:
        return prepare(load_task(folder))
    except SourceError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("caption", "bleu"),
    [
        ("A red cat sits on a mat", 1.0),
        # precisions 4/5, 3/4, 2/3, 1/2 of five words against seven
        ("a red cat sits there", math.exp(1 - 7 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)),
        ("a dog", 0.0),
    ],
)
def test_bleu_is_as_worked_out_by_hand(made, tmp_path, caption, bleu):
    (tmp_path / "captions.csv").write_text(f"id,caption\n0,{caption}\n1,dogs\n")
    with Grader(made) as grader:
        scores = grader.grade(tmp_path, "test").scores
    assert scores and scores["bleu"] == pytest.approx(bleu)


@pytest.mark.slow
@pytest.mark.network
def test_bleu_takes_the_best_of_several_captions(made, tmp_path):
    with Grader(made) as grader:
        for text in ('"two dogs run, far away"', "dogs on the run"):
            (tmp_path / "captions.csv").write_text(f"id,caption\n0,x\n1,{text}\n")
            scores = grader.grade(tmp_path, "validation").scores
            assert scores and scores["bleu"] == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.network
def test_no_fraud_of_captions_scores(made):
    outcomes = list(run_forgeries(made))
    assert [outcome.name for outcome in outcomes] == [forgery.name for forgery in fitting("captions")]
    assert [outcome for outcome in outcomes if outcome.scored] == []


def naive(path: Path) -> float:
    """The mean of the agent's own numbers, which is how the original scores captions; without them no score."""
    with path.open(newline="") as file:
        return float(np.mean([float(row.get("bleu") or 0) for row in csv.DictReader(file)]))


@pytest.mark.parametrize("forgery", [f for f in fitting("captions") if "scores" in f.name], ids=lambda f: f.name)
def test_own_scores_pay_where_they_are_believed(tmp_path, forgery):
    (tmp_path / "captions.csv").write_text("id,caption\n0,x\n1,y\n")
    (tmp_path / "python").symlink_to(sys.executable)
    for path, text in forgery.files.items():
        (tmp_path / path).write_text(text)
    assert naive(tmp_path / "captions.csv") == 0
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SUBMISSION": "captions.csv"}
    subprocess.run(["bash", "-c", forgery.command], cwd=tmp_path, env=env, check=True)
    assert naive(tmp_path / "captions.csv") == 1


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)  # on a loaded machine
def test_the_tiny_task_runs_and_its_solution_is_better(tmp_path):
    try:
        prepared = prepare(load_task("image-captioning-tiny"))
    except SourceError as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(prepared.public / "test.zip") as archive, (prepared.public / "test.csv").open() as file:
        assert archive.namelist() == [f"{row['id']}.jpg" for row in csv.DictReader(file)]
    with Grader(prepared) as grader:
        kind = choose("auto")
        start = measure(prepared, kind, grader, tmp_path / "baseline")
        better = measure(prepared, kind, grader, tmp_path / "solution", solution=True)
    assert start.why == better.why == ""
    for split in ("validation", "test"):
        assert better.scores[split]["bleu"] > start.scores[split]["bleu"] + 0.01
