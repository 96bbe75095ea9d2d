"""Pictures and their answers: what the agent gets, what is graded, and the readers of the two data sets' own files."""

import csv
import gzip
import importlib.util
import io
import itertools
import json
import pickle
import shutil
import struct
import sys
import tarfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from mlgym.errors import SourceError
from mlgym.grading import Grader
from mlgym.grading.prepare import KINDS, prepare
from mlgym.task import load_task


def load(name: str, path: Path, monkeypatch: pytest.MonkeyPatch, package: bool = False) -> ModuleType:
    places = [str(path.parent)] if package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hidden(monkeypatch):
    """A function that loads a task's hidden module as the grader does."""
    for name in [name for name in sys.modules if name.startswith("kinds.")]:
        monkeypatch.delitem(sys.modules, name)
    load("kinds", KINDS / "__init__.py", monkeypatch, package=True)
    yield lambda task: load("task", load_task(task).code, monkeypatch)
    for name in [name for name in sys.modules if name.startswith("kinds.")]:
        del sys.modules[name]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def folders(place: Path) -> tuple[Path, Path]:
    for name in ("public", "private"):
        (place / name).mkdir(parents=True)
    return place / "public", place / "private"


def coded(number: int, size: int, colours: int = 1) -> np.ndarray:
    """Pictures whose first pixels are their number, so that each can be told wherever it goes."""
    pictures = np.zeros((number, size * size * colours), np.uint8)
    pictures[:, 0], pictures[:, 1] = np.arange(number) % 256, np.arange(number) // 256
    return pictures


FASHION = {"train": 300, "validation": 100, "test": 150}


@pytest.fixture
def fashion(tmp_path, hidden):
    """The task made of four files as Fashion-MNIST has them: 500 and 200 pictures, labelled by their number."""
    sources = {}
    for part, number in (("train", 500), ("test", 200)):
        pictures = coded(number, 28)
        pictures[:, 2] = part == "test"
        labels = (np.arange(number) % 10).astype(np.uint8)
        for name, magic, sizes, data in (
            ("images", 2051, (number, 28, 28), pictures),
            ("labels", 2049, (number,), labels),
        ):
            path = tmp_path / f"{part}-{name}.gz"
            path.write_bytes(gzip.compress(struct.pack(f">{1 + len(sizes)}i", magic, *sizes) + data.tobytes(), 1))
            sources[f"{part}-{name}"] = str(path)
    public, private = folders(tmp_path / "made")
    task = hidden("fashion-mnist")
    task.prepare(public, private, settings={**FASHION, "sources": sources}, seed=3)
    return task, public, private


def numbers(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), -1).astype(int)
    return flat[:, 0] + 256 * flat[:, 1]


def test_training_pool_and_answers_belong_together_and_no_picture_is_in_two(fashion):
    _, public, private = fashion
    train, pool = np.load(public / "train_images.npy"), np.load(public / "test_images.npy")
    assert (train.shape, pool.shape, train.dtype) == ((300, 28, 28), (250, 28, 28), np.uint8)
    assert (np.load(public / "train_labels.npy") == numbers(train) % 10).all()
    answers = rows(private / "answers.csv")
    assert [row["id"] for row in answers] == [str(number) for number in range(250)]
    assert [int(row["label"]) for row in answers] == (numbers(pool) % 10).tolist()
    of_test = pool[:, 0, 2] == 1
    assert [row["split"] == "test" for row in answers] == of_test.tolist() and of_test.sum() == 150
    used = [*numbers(train), *numbers(pool[~of_test])]
    assert len(set(used)) == len(used) == 400
    assert sum(a != b for a, b in itertools.pairwise(of_test)) > 70  # in a random order some 120, sorted by split 1


def test_the_visible_files_hold_no_answer(fashion):
    _, public, _ = fashion
    names = ["classes.txt", "sample_submission.csv", "test_images.npy", "train_images.npy", "train_labels.npy"]
    assert sorted(path.name for path in public.iterdir()) == names
    assert (public / "classes.txt").read_text().splitlines()[9] == "9 Ankle boot"
    assert {row["label"] for row in rows(public / "sample_submission.csv")} == {"0"}
    assert all(not np.load(path, allow_pickle=False).dtype.hasobject for path in public.glob("*.npy"))


def submitted(folder: Path, text: str) -> SimpleNamespace:
    (folder / "submission.csv").write_text(text)
    return SimpleNamespace(path=lambda name: folder / name)


def table(labels: list[object]) -> str:
    return "id,label\n" + "".join(f"{number},{label}\n" for number, label in enumerate(labels))


def test_the_score_is_the_share_of_right_classes_of_the_split(fashion, tmp_path):
    task, _, private = fashion
    answers = rows(private / "answers.csv")
    right = [row["label"] for row in answers]
    mixed = [row["label"] if row["split"] == "test" else (int(row["label"]) + 1) % 10 for row in answers]
    for labels, expected in ((right, (1.0, 1.0)), (mixed, (0.0, 1.0)), ([0] * 250, (0.1, 0.1))):
        given = submitted(tmp_path, table(labels))
        found = [task.grade(given, private, settings={}, split=s, seed=0)["accuracy"] for s in ("validation", "test")]
        assert found == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (table([0] * 250).replace("7,0\n", "7,10\n", 1), "The row of id 7 has '10', which is not one of the classes."),
        (table([0] * 250).replace("\n7,0", "\n7,0.0"), "The row of id 7 has '0.0', which is not one of the classes."),
        (table([0] * 250).replace("\n7,0", "\n7,nan"), "The row of id 7 has 'nan', which is not one of the classes."),
        (table([0] * 249), "1 of 250 rows are missing, first id 249."),
        (table([0] * 251), "Line 252 has an unknown id, '250'."),
        (table([0] * 250) + "3,1\n", "The id 3 is there twice, again in line 252."),
        ("label\n" + "0\n" * 250, "The first line must be id,label, but it is 'label'."),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_sentence(fashion, tmp_path, text, said):
    task, _, private = fashion
    refusal = sys.modules["kinds"].InvalidSubmission
    for split in ("validation", "test"):
        with pytest.raises(refusal) as caught:
            task.grade(submitted(tmp_path, text), private, settings={}, split=split, seed=0)
        assert str(caught.value) == said


class Python2(pickle._Pickler):
    """Writes bytes as Python 2 wrote its texts, which is how the files of CIFAR-10 are pickled."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def text(self, data: bytes | str) -> None:
        data = data if isinstance(data, bytes) else data.encode()
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch[bytes] = dispatch[str] = text


def batch(first: int, number: int) -> bytes:
    """A batch file of CIFAR-10: a class is the picture's number, modulo 10; the reds come first."""
    file = io.BytesIO()
    pictures = coded(first + number, 32, 3)[first:]
    Python2(file, 2).dump({"data": pictures, "labels": [(first + n) % 10 for n in range(number)], "batch_label": "x"})
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


BATCHES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
SMALL = {"train": 400, "validation": 50, "test": 100}


def unpacked(place: Path, extra: dict[str, bytes] = {}) -> Path:  # noqa: B006
    folder = place / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for n, name in enumerate(BATCHES):
        (folder / name).write_bytes(extra.get(name) or batch(100 * n, 100))
    return folder


def packed(place: Path, extra: dict[str, bytes] = {}) -> Path:  # noqa: B006
    path = place / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(unpacked(place / "full", extra), "cifar-10-batches-py")
    return path


@pytest.mark.parametrize("had", [packed, unpacked])
def test_cifar_10_is_read_from_its_archive_or_the_folder_that_it_unpacks_to(tmp_path, hidden, had):
    task = hidden("cifar10")
    public, private = folders(tmp_path / "made")
    task.prepare(public, private, settings={**SMALL, "sources": {"cifar10": str(had(tmp_path))}}, seed=1)
    train, pool = np.load(public / "train_images.npy"), np.load(public / "test_images.npy")
    assert (train.shape, pool.shape) == ((400, 32, 32, 3), (150, 32, 32, 3))
    reds = [pictures[:, 0, :2, 0].astype(int) @ [1, 256] for pictures in (train, pool)]
    assert (np.load(public / "train_labels.npy") == reds[0] % 10).all() and reds[0].max() < 500
    answers = rows(private / "answers.csv")
    assert [int(row["label"]) for row in answers] == (reds[1] % 10).tolist()
    assert [row["split"] == "test" for row in answers] == (reds[1] >= 500).tolist()
    assert len({*reds[0], *reds[1]}) == 550


@pytest.mark.network
def test_a_copy_of_cifar_10_that_the_user_has_becomes_the_task(tmp_path):
    """By the product's own way, `mlgym prepare --data`, but with fewer pictures and without torch."""
    folder = tmp_path / "cifar10"
    shutil.copytree(load_task("cifar10").folder, folder)
    toml = (folder / "task.toml").read_text()
    for old, new in (("45000", "400"), ("5000", "50"), ("10000", "100"), ('packages = "torch"', 'packages = "numpy"')):
        assert old in toml
        toml = toml.replace(old, new)
    (folder / "task.toml").write_text(toml)
    unpacked(tmp_path / "mine")
    try:
        prepared = prepare(load_task(folder), own=tmp_path / "mine")
    except SourceError as error:
        pytest.skip(str(error))
    assert prepared.data == "unchecked"
    given = submitted(tmp_path, table([row["label"] for row in rows(prepared.private / "answers.csv")]))
    with Grader(prepared) as grader:
        (tmp_path / "files").mkdir()
        shutil.copy(given.path("submission.csv"), tmp_path / "files")
        assert grader.grade(tmp_path / "files", "test").scores == {"accuracy": 1.0}


def test_the_settings_of_the_full_task_use_every_picture_once():
    full = load_task("cifar10").settings
    assert full["train"] + full["validation"] == 50_000 and full["test"] == 10_000
    full = load_task("fashion-mnist").settings
    assert full["train"] + full["validation"] == 60_000 and full["test"] == 10_000


class Exploit:
    """What a forged batch would run."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return Path.touch, (self.witness,)


@pytest.mark.parametrize("had", [packed, unpacked])
def test_a_batch_that_is_more_than_arrays_is_refused_before_it_runs(tmp_path, hidden, had):
    witness = tmp_path / "witness"
    forged = pickle.dumps(Exploit(witness))
    task = hidden("cifar10")
    public, private = folders(tmp_path / "made")
    source = had(tmp_path, {"data_batch_3": forged})
    with pytest.raises(pickle.UnpicklingError, match="which is not part of an array"):
        task.prepare(public, private, settings={**SMALL, "sources": {"cifar10": str(source)}}, seed=1)
    assert not witness.exists()
    pickle.loads(forged)
    assert witness.exists()


def test_women_and_men_of_one_emoji_are_one_family(hidden):
    task = hidden("cifar10")
    farmers = ["1f468-200d-1f33e", "1f469-200d-1f33e", "1f9d1-200d-1f33e"]
    runners = ["1f3c3", "1f3c3-200d-2640", "1f3c3-200d-2642"]
    assert len({task.family(key) for key in farmers}) == len({task.family(key) for key in runners}) == 1
    assert task.family("1f3c3") != task.family("1f9d1-200d-1f33e") != task.family("1f9d1-200d-1f52c")
    assert task.plain(["2764", "fe0f"]) == "2764"
    assert [task.family(key) for key in ("1f468", "1f469", "2640", "26a7")] == ["1f9d1", "1f9d1", "", "26a7"]


def icons(path: Path) -> Path:
    """An npm package of an icon set."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (
            ("icons.json", {"icons": {"a": {"body": "<g/>"}}, "width": 36, "height": 36}),
            ("chars.json", {"1f600": "a", "2764-fe0f": "a", "1f9d1": "gone"}),
        ):
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_icons_are_found_by_their_code_points(tmp_path, hidden):
    found = hidden("cifar10").drawings(icons(tmp_path / "set.tgz"))
    assert set(found) == {"1f600", "2764"} and 'viewBox="0 0 36 36"><g/></svg>' in found["2764"]
