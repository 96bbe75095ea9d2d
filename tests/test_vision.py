"""fashion-mnist and cifar10 at their smallest, from real packages, in their own environments; variants without code."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from mlgym.check import Examination, check_task, measure
from mlgym.env import ResearchEnv
from mlgym.errors import SourceError
from mlgym.grading import Grader
from mlgym.grading.prepare import Prepared, prepare
from mlgym.sandbox import choose
from mlgym.task import load_task

TINY = ["fashion-mnist-tiny", "cifar10-tiny"]
BARE = ["house-price-no-baseline", "cifar10-no-baseline", "cifar10-mini-no-baseline"]
needs_packages = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]


def made(name: str) -> Prepared:
    try:
        return prepare(load_task(name))
    except SourceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", BARE)
def test_a_variant_without_code_differs_from_its_task_by_the_code_alone(name):
    bare, task = load_task(name), load_task(name.removesuffix("-no-baseline"))
    assert (bare.metric, bare.settings, bare.sources, bare.packages) == (
        task.metric,
        task.settings,
        task.sources,
        task.packages,
    )
    assert bare.anchors == task.anchors and bare.data == task.data
    gone = [line for line in task.told.splitlines() if line not in bare.told.splitlines()]
    assert bare.without == ("baseline.py",) and "baseline.py" not in bare.told
    assert len(gone) == 1 and gone[0].startswith("- baseline.py: ")


@pytest.mark.network
def test_the_agent_of_a_variant_without_code_finds_none():
    made("house-price-no-baseline")
    env = ResearchEnv("house-price-no-baseline")
    try:
        text = env.reset(seed=0)[0]
        assert "baseline.py" not in text and "r2" in text and "0.827" in text
        assert env.step("ls")[0].split() == ["data"]
    finally:
        env.close()


def test_the_stand_in_is_called_by_its_own_name():
    for name in ("cifar10-mini", "cifar10-tiny", "cifar10-mini-no-baseline"):
        task = load_task(name)
        assert task.data == "emoji9" and "emoji9" in task.instruction
        assert "cifar" not in (task.title + task.instruction).lower()
    assert load_task("cifar10").data == load_task("fashion-mnist-mini").data == ""


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_packages) for name in TINY])
def test_at_its_smallest_a_task_holds(name: str, tmp_path: Path):
    """Baseline as recorded, answers out of reach, no forgery scores; the hidden solution is clearly better."""
    prepared, kind = made(name), choose("auto")
    examination = Examination(prepared.task)
    findings = list(check_task(examination))
    assert [finding for finding in findings if not finding.ok] == []
    assert sum(finding.what.startswith("forgery") for finding in findings) > 5
    assert examination.baseline and examination.baseline.grading_s < 3
    with Grader(prepared, kind) as grader:
        found = measure(prepared, kind, grader, tmp_path / "solution", solution=True)
    anchors = prepared.task.anchors
    assert anchors
    with (prepared.private / "answers.csv").open(newline="") as file:
        answers = list(csv.DictReader(file))
    for split in ("validation", "test"):
        assert found.scores[split]["accuracy"] > anchors.baseline[split] + 0.05
        labels = [row["label"] for row in answers if row["split"] == split]
        commonest = Counter(labels).most_common(1)[0][1] / len(labels)
        assert anchors.floor[split] == pytest.approx(commonest, abs=1e-6)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
def test_no_emoji_is_both_in_training_and_in_the_pool():
    """A picture of the pool that is in the training pictures too would give its answer away."""
    import numpy as np

    public = made("cifar10-tiny").public
    train, pool = np.load(public / "train_images.npy"), np.load(public / "test_images.npy")
    assert (train.shape, pool.shape) == ((1100, 32, 32, 3), (700, 32, 32, 3))
    assert {picture.tobytes() for picture in train}.isdisjoint(picture.tobytes() for picture in pool)
    assert sorted(set(np.load(public / "train_labels.npy").tolist())) == list(range(9))
    corners = np.concatenate([train, pool])[:, 0, 0]
    assert (corners == 255).all(axis=1).mean() > 0.8
