"""Made tasks: ids, families in folders, what is said about wrong ones, and their data in the cache."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wheels import tiny_task

from mlgym import made
from mlgym.cache import MARKER, cache_dir
from mlgym.errors import TaskError, UsageError
from mlgym.grading import prepare as preparing
from mlgym.grading.prepare import prepare
from mlgym.records import EpisodeSpec
from mlgym.runs import open_run
from mlgym.store import Episode, episode_folder
from mlgym.task import for_training, load_task, load_tasks

MAKER = '''"""Tiny tasks of a drawn number."""

import random


def generate(seed, difficulty):
    number = random.Random(f"{seed} {difficulty}").randrange(10**9)
    return {
        "title": f"Number {number}",
        "instruction": 'Say "it" \\\\ in\\nanswers.csv: \\u00e9 \\x7f',
        "settings": {"number": number, "rows": [{"a b": 1, "c": [1.5, True]}], "inner": {"empty": {}, "x": [[1], []]}},
    }
'''


@pytest.fixture
def family(tmp_path):
    tiny_task(tmp_path / "tiny")
    (tmp_path / "tiny" / "family.py").write_text(MAKER)
    return tmp_path / "tiny"


def test_an_id_is_a_task_wherever_its_family_lies(family, monkeypatch):
    monkeypatch.chdir(family.parent)
    task = load_task("./tiny-s3-d0.2")
    assert task == load_task("tiny-s3-d0.2") == load_task(family.with_name("tiny-s3-d0.2"))
    assert task.made and task.made.model_dump() == {"family": "tiny", "seed": 3, "difficulty": 0.2}
    assert (task.name, task.folder, task.reference) == ("tiny-s3-d0.2", family, str(family.with_name("tiny-s3-d0.2")))
    assert task.title.startswith("Number ") and task.title != load_task("tiny-s4-d0.2").title
    assert not task.evaluation and for_training([task]) == [task]
    assert [task.name for task in load_tasks(["tiny-s0-d0", "tiny-s0-d1", "tiny-s0-d0"])] == [
        "tiny-s0-d0",
        "tiny-s0-d1",
    ]


@given(st.integers(0, made.MOST), st.integers(0, 1000))
def test_a_place_in_a_family_has_one_id(seed, thousandths):
    name = made.task_id("speed", seed, thousandths / 1000)
    parts = made.ID.fullmatch(name)
    assert parts and parts[1] == "speed"
    assert made.SEED.fullmatch(parts[2]) and made.DIFFICULTY.fullmatch(parts[3])
    assert (int(parts[2]), float(parts[3])) == (seed, thousandths / 1000)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tiny-s3-d1.5", "The difficulty of a made task is a number from 0 to 1 such as 0.4 (three decimals at most"),
        ("tiny-s3-d-0.5", "not '-0.5'."),
        ("tiny-s3-d0.40", "not '0.40'."),
        ("tiny-s3-d0.1234", "not '0.1234'."),
        ("tiny-s3-dnan", "not 'nan'."),
        ("tiny-s03-d0.4", "The seed of a made task is a whole number from 0 to 2147483647, not '03'."),
        ("tiny-s2147483648-d0.4", "not '2147483648'."),
        ("tiny-sx-d0.4", "not 'x'."),
        ("weather-s1-d0.4", "There is no family 'weather'; known: "),
        ("~no-such-user/tiny-s1-d0.5", "There is no family '~no-such-user/tiny'"),
        ("tiny", "is a family: its tasks are named such as tiny-s17-d0.4."),
    ],
)
def test_a_wrong_id_is_said_in_a_sentence(family, monkeypatch, name, said):
    monkeypatch.chdir(family.parent)
    with pytest.raises(UsageError) as error:
        load_task(name)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def generate(seed, difficulty):\n    return 3\n", "generate() must return a dictionary"),
        ("def generate(seed, difficulty):\n    return {'x': {1, 2}}\n", "generate(1, 0.5) failed: TypeError: "),
        ("def generate(seed, difficulty):\n    raise ValueError('no')\n", "generate(1, 0.5) failed: ValueError: no."),
        ("def generate(", "generate(1, 0.5) failed: SyntaxError: "),
        ("generated = 1\n", "generate(1, 0.5) failed: AttributeError: "),
        ("def generate(seed, difficulty):\n    return {'colour': 3}\n", "unknown key 'colour'"),
        ("def generate(seed, difficulty):\n    return {'name': 'x'}\n", "the folder gives the name"),
    ],
)
def test_a_wrong_family_is_said_in_a_sentence(family, code, said):
    (family / "family.py").write_text(code)
    with pytest.raises(TaskError) as error:
        load_task(family.with_name("tiny-s1-d0.5"))
    assert said in str(error.value) and str(family) in str(error.value)


def test_a_changed_family_is_read_again(family):
    name = family.with_name("tiny-s1-d0.5")
    before = load_task(name)
    (family / "family.py").write_text("def generate(seed, difficulty):\n    return {'title': 'another'}\n")
    assert before.title != load_task(name).title == "another"


def test_a_name_in_records_runs_no_code_of_a_foreign_family(family, tmp_path):
    (family / "family.py").write_text(f"open({str(family / 'ran')!r}, 'w')\n{MAKER}")
    with pytest.raises(UsageError, match="does not ship with mlgym: its code is not run"):
        load_task(family.with_name("tiny-s1-d0.5"), recorded=True)
    spec = EpisodeSpec(task=str(family.with_name("tiny-s1-d0.5")), version=1, agent="nop")
    Episode.open(episode_folder(tmp_path / "run", spec), spec).close()
    assert len(open_run(tmp_path / "run").columns()["task"]) == 1
    assert not (family / "ran").exists()


def test_a_made_task_written_out_is_the_same_task(family, tmp_path):
    folder = made.written(str(family.with_name("tiny-s3-d0.2")), tmp_path / "out")
    task, before = load_task(folder), load_task(family.with_name("tiny-s3-d0.2"))
    assert task == before.changed(folder=folder, made=None)
    assert sorted(path.name for path in folder.iterdir()) == ["task.py", "task.toml", "workspace"]
    with pytest.raises(UsageError, match="is there already"):
        made.written(str(family.with_name("tiny-s3-d0.2")), tmp_path / "out")


def test_the_data_of_many_made_tasks_do_not_stay_for_ever(family, tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(preparing, "KEPT", 2)
    first, second, third, fourth = (load_task(family.with_name(f"tiny-s{seed}-d0.5")) for seed in range(4))
    made_of = [prepare(task, say=lambda line: None) for task in (first, second, third)]
    assert len(list((cache_dir() / "made").iterdir())) == 3  # all are in use
    for age, prepared in zip((9, 7, 8), made_of, strict=True):
        os.utime(prepared.public.with_name(MARKER), 2 * (int(time.time() - age * preparing.UNUSED_S),))
    assert prepare(first, say=lambda line: None) == made_of[0]  # used again
    prepare(fourth, say=lambda line: None)
    assert [each.public.exists() for each in made_of] == [True, False, False]
    assert not list((cache_dir() / "prepared").glob("*"))
