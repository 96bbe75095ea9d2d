"""Loading tasks: names, variants, and what is said about folders that are wrong."""

import shutil
import subprocess
import sys

import pytest
from wheels import TOML, tiny_task

from mlgym.errors import TaskError, UsageError
from mlgym.task import list_tasks, load_task


def test_a_folder_is_a_task_with_defaults(tmp_path):
    task = load_task(tiny_task(tmp_path / "tiny"))
    assert (task.name, task.variant, task.version, task.direction) == ("tiny", "", 1, "maximize")
    assert task.submission.paths == ("answers.csv",) and task.submission.max_mb == 200
    assert (task.limits.steps, task.anchors, task.sources, task.solution) == (50, None, (), None)
    assert task.grader_packages == task.packages == ()


def test_everything_that_can_be_said_is_kept(tmp_path):
    more = """
grader_packages = ["numpy==2.4.6"]
[baseline]
command = "python start.py"
files = ["start.py"]
[limits]
steps = 5
command_s = 10
[anchors]
scale = "log"
baseline = { validation = 1.0, test = 2 }
best = 3.5
published = { baseline = 1.0 }
[settings]
rounds = 10
[[sources]]
name = "table"
package = "x==1.0"
member = "x/data.csv"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
"""
    toml = TOML.replace("packages = []\n", "packages = []\n" + more.splitlines()[1] + "\n")
    task = load_task(tiny_task(tmp_path / "tiny", toml + more.split("\n", 2)[2]))
    assert task.grader_packages == ("numpy==2.4.6",) and task.baseline.files == ("start.py",)
    assert task.limits.command_s == 10.0 and task.settings == {"rounds": 10}
    assert task.anchors and task.anchors.baseline == {"validation": 1.0, "test": 2.0} and task.anchors.best == 3.5
    assert task.sources[0].kind == "wheel" and task.sources[0].member == "x/data.csv"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version = 1\n", "", "the key 'version' is missing."),
        ("version = 1\n", "version = 'one'\n", "version: should be a valid integer, but is 'one'."),
        ("version = 1\n", "version = 1\ncolour = 'red'\n", "unknown key 'colour'."),
        ("[submission]\n", "[submission]\npath = 'x'\n", "unknown key 'submission.path'."),
        ('["answers.csv"]', "[1]", "submission.paths[0]: should be a valid string, but is 1."),
        ('"maximize"', '"up"', "direction: should be 'maximize' or 'minimize', but is 'up'."),
        (
            "packages = []",
            'packages = ["numpy>=2"]',
            "packages[0]: must be a pinned package such as numpy==2.4.6, but is",
        ),
        ('["answers.csv"]', "[]", "submission.paths: "),
        ('["answers.csv"]', '["../x"]', "submission.paths[0]: must be a path inside the workspace, but is '../x'."),
        ('["answers.csv"]', '["/etc/passwd"]', "submission.paths[0]: must be a path inside the workspace"),
        ('canary = "mlgym canary of a tiny task in the tests"\n', "", "the key 'canary' is missing."),
        ("version = 1\n", "name = 'x'\nversion = 1\n", "unknown key 'name'; the folder gives the name."),
        ("version = 1\n", "version = = 1\n", "Invalid value (at line 2, column 11)."),
        (
            "[submission]",
            "[baseline]\nfiles = ['no.py']\n[submission]",
            "baseline.files[0]: there is no file no.py in ",
        ),
        ("version = 1\n", "version = 1\nvariant = 3\n", "variant must hold tables such as [variant.mini]."),
    ],
)
def test_what_is_wrong_is_one_sentence_with_file_and_key(tmp_path, old, new, said):
    folder = tiny_task(tmp_path / "tiny", TOML.replace(old, new))
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    assert str(caught.value).startswith(f"{folder / 'task.toml'}: ")
    assert said in str(caught.value) and str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "said"),
    [("task.py", "has no task.py"), ("workspace", "has no folder workspace"), ("task.toml", "it has no task.toml")],
)
def test_a_missing_part_is_named(tmp_path, missing, said):
    folder = tiny_task(tmp_path / "tiny")
    part = folder / missing
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    with pytest.raises(TaskError, match=said):
        load_task(folder)


def test_a_variant_is_its_table_laid_over_the_task(tmp_path):
    toml = (
        TOML + "[settings]\nrows = 100\nseed = 1\n[variant.mini]\ntitle = 'Small'\n[variant.mini.settings]\nrows = 10\n"
    )
    folder = tiny_task(tmp_path / "some-task", toml)
    mini = load_task(tmp_path / "some-task-mini")
    assert (mini.name, mini.variant, mini.title) == ("some-task-mini", "mini", "Small")
    assert mini.settings == {"rows": 10, "seed": 1} and mini.folder == folder
    assert load_task(folder).settings["rows"] == 100
    with pytest.raises(UsageError, match=r"has no variant 'maxi'; it has mini\.$"):
        load_task(tmp_path / "some-task-maxi")
    folder.joinpath("task.toml").write_text(toml.replace("rows = 10\n", "rows = 10\n[variant.mini.limits]\nstep = 1\n"))
    with pytest.raises(TaskError, match=r"unknown key 'limits.step'\.$"):
        load_task(tmp_path / "some-task-mini")


def test_an_unknown_name_says_what_is_close_and_how_to_list():
    with pytest.raises(
        UsageError, match=r"^There is no task 'house-prise'; did you mean house-price\? `mlgym tasks` lists"
    ):
        load_task("house-prise")
    with pytest.raises(UsageError, match=r"^There is no task 'qqqq'; `mlgym tasks` lists them"):
        load_task("qqqq")


def test_a_shipped_name_comes_before_a_folder_here_and_a_path_means_the_folder(tmp_path, monkeypatch):
    tiny_task(tmp_path / "house-price")
    monkeypatch.chdir(tmp_path)
    assert load_task("house-price").title == "House prices"
    assert load_task("./house-price").title == "A tiny task"
    tiny_task(tmp_path / "mine")
    assert load_task("mine").title == "A tiny task"


def test_the_shipped_tasks_load_with_anchors_and_no_hidden_module_is_imported():
    program = "import sys, mlgym.task as t; t.list_tasks(); print({'task', 'kinds', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"
    tasks = {task.name: task for task in list_tasks()}
    assert "house-price" in tasks and list(tasks) == sorted(tasks)
    assert all(task.anchors for task in tasks.values())
    assert len({task.canary for task in tasks.values()}) == len(tasks)
