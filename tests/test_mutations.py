"""Changed tasks: names, what each change does, and that the benchmark's own stay for evaluation."""

import ast
import csv
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wheels import tiny_task

from mlgym import mutations
from mlgym.check import measurements
from mlgym.episode import run_episode
from mlgym.errors import UsageError
from mlgym.grading.kinds import thinned
from mlgym.grading.prepare import prepare
from mlgym.records import EpisodeSpec
from mlgym.store import slug
from mlgym.task import for_training, load_task

shares = st.integers(1, 99).map(lambda n: f"{n / 100:g}")
seeds = st.integers(0, 10**9).map(str)
values = {
    "budget": shares,
    "corrupt": seeds,
    "drop": seeds,
    "least": st.sampled_from(["rmse", "cost"]),
    "rows": shares,
}


@given(st.dictionaries(st.sampled_from(sorted(values)), st.none(), min_size=1), st.data())
def test_a_name_with_changes_is_read_as_it_is_written(chosen, data):
    changes = {key: data.draw(values[key]) for key in chosen}
    for name in ("house-price", "tabular-s17-d0.4", "./mine", "/a~b/mine"):
        assert mutations.parse(name + mutations.suffix(changes)) == (name, changes)
        shuffled = list(changes.items())
        random.Random(0).shuffle(shuffled)
        assert mutations.parse(name + "".join(f"~{key}={value}" for key, value in shuffled)) == (name, changes)


@pytest.mark.parametrize("name", ["~/mine", "~", "a~b", "/x~rows=0.5/mine", "mine~"])
def test_what_is_no_change_is_left_alone(name):
    assert mutations.parse(name) == (name, {})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("house-price~colour=1", "'~colour=1' is no change of a task; known: budget, corrupt"),
        ("house-price~budget=2", "takes a share between 0 and 1 such as 0.3, not '2'."),
        ("house-price~budget=0.30", "not '0.30'."),
        ("house-price~corrupt=x", "takes a seed"),
        ("house-price~rows=0.5~rows=0.4", "stands twice"),
        ("house-price~most=r2~least=rmse", "has two metrics"),
        ("battle-of-sexes~rows=0.5", "fit tasks of tables; battle-of-sexes is none."),
        ("mouse-price~rows=0.5", "There is no task 'mouse-price'"),
    ],
)
def test_a_wrong_change_is_said_in_a_sentence(name, said):
    with pytest.raises(UsageError) as error:
        load_task(name)
    assert said in str(error.value)


def test_a_changed_task_is_still_for_evaluation_and_found_by_its_name():
    task = load_task("house-price~rows=0.5~budget=0.3")
    assert task.name == task.reference == "house-price~budget=0.3~rows=0.5" and task.evaluation
    assert task == load_task(task.reference)
    assert slug(task.name) != slug(load_task("house-price~budget=0.3").name)
    with pytest.raises(UsageError, match="is for evaluation"):
        for_training([task])
    assert for_training([load_task("duel-s1-d0~budget=0.3")])


def test_a_budget_and_a_metric_are_told_and_the_scale_stays_where_it_can():
    plain, less = load_task("house-price"), load_task("house-price~budget=0.5")
    assert less.limits.steps == plain.limits.steps / 2 and "There are 25 steps." in less.told
    assert less.anchors and plain.anchors and less.anchors.baseline == plain.anchors.baseline
    other = load_task("house-price~least=rmse")
    assert (other.metric, other.direction, other.anchors) == ("rmse", "minimize", None)
    assert "The score is rmse: lower is better." in other.told and other.progress({"rmse": 1.0}, "test") is None


def test_a_folder_of_that_name_comes_first(tmp_path):
    folder = tmp_path / "tiny~rows=0.5"
    tiny_task(folder)
    assert load_task(folder).changes == {} and load_task(folder).name == folder.name
    tiny_task(tmp_path / "tiny")
    task = load_task(tmp_path / "tiny~budget=0.5")
    assert task.changes == {"budget": "0.5"} and task.reference == str(tmp_path / "tiny~budget=0.5")


def test_a_corrupted_starter_differs_in_one_place_and_is_the_same_again():
    plain, found = load_task("games-s1-d0").workspace, set()
    for seed in range(20):
        task = load_task(f"games-s1-d0~corrupt={seed}")
        assert task.workspace == load_task(task.name).workspace
        differing = [
            path.name
            for path in sorted(plain.iterdir())
            if path.read_bytes() != (task.workspace / path.name).read_bytes()
        ]
        assert len(differing) == 1
        before, after = ((place / differing[0]).read_text().splitlines() for place in (plain, task.workspace))
        assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
        found.add("\n".join(after))
    assert len(found) > 10


@given(st.integers(0, 999))
def test_what_is_broken_is_another_text(seed):
    source = "import os\n\nRATE = 0.5\n\n\ndef run(values):\n    return os.fspath(values[RATE])\n"
    assert mutations.broken(source, random.Random(seed)) not in ("", source)


@given(st.integers(0, 999))
def test_what_is_broken_are_no_words(seed):
    source = '"""What it does (in short):\n\nmore (of it)\n"""\n# a note (too)\nx = [\n    1,\n]\n'
    with pytest.raises(SyntaxError):
        ast.parse(mutations.broken(source, random.Random(seed)))


def test_what_cannot_be_broken_is_said(tmp_path):
    (tmp_path / "note.txt").write_text("x")
    assert mutations.broken("def (", random.Random(0)) == mutations.broken("x = y", random.Random(0)) == ""
    with pytest.raises(UsageError, match="has no Python code that could be broken"):
        mutations.corrupted(tmp_path, ["note.txt"], "1")


def test_tables_are_thinned_in_the_same_way_again(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _tables(tmp_path / name)
        thinned.apply(tmp_path / name, rows="0.5", drop="3")
    a, b = ({path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert a == b
    [head, *train], [test, *_] = (list(csv.reader(a[name].splitlines())) for name in ("train.csv", "test.csv"))
    assert len(train) == 20 and len(head) == 4 and len(test) == 3
    assert {"id", "y"} < set(head) and train == sorted(train, key=lambda row: int(row[0]))
    assert a["sample_submission.csv"] == "id,y\n1,0\n"


def _tables(folder: Path) -> None:
    rows = "".join(f'{n},"a, {n}",{n * n},{n % 3},{n}\n' for n in range(40))
    (folder / "train.csv").write_text(f"id,p,q,r,y\n{rows}")
    (folder / "test.csv").write_text('id,p,q,r\n1,"a, b",2,3\n')
    (folder / "sample_submission.csv").write_text("id,y\n1,0\n")


@pytest.mark.slow
def test_the_data_of_a_changed_task_is_changed():
    """The starter learns from less, and its score is another one on the same rows."""
    plain, less = load_task("house-price"), load_task("house-price~rows=0.2")
    lines = [len((prepare(task).public / "train.csv").read_text().splitlines()) for task in (plain, less)]
    assert lines[1] - 1 == round(0.2 * (lines[0] - 1))
    [whole], [part] = (list(measurements(task, 1, solution=False)) for task in (plain, less))
    assert part.scores["test"]["r2"] < whole.scores["test"]["r2"]


def test_a_metric_that_the_grader_does_not_give_is_not_tried_again(tmp_path: Path) -> None:
    task = load_task("duel-s3-d0.2~most=accuracy")
    result = run_episode(EpisodeSpec(task=task.name, agent="nop"), tmp_path)
    assert not result.scored and result.lasting and "gave no accuracy" in result.why
