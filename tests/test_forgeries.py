"""Each shipped forgery pays where its defence is missing, and nowhere else."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import naive_grading
import pytest

from mlgym.errors import GradingError, UsageError
from mlgym.grading import Grader, collect
from mlgym.grading.forgeries import FORGERIES, fitting, run_forgeries
from mlgym.grading.forgeries.forgery import Forgery
from mlgym.grading.prepare import Prepared, prepare
from mlgym.sandbox import SandboxSpec, SubmissionRefused, open_shell
from mlgym.sandbox.shell import Shell
from mlgym.task import list_tasks, load_task

ANSWERS = "Id,SalePrice,split\n1,100.0,test\n2,250.5,validation\n3,80.0,test\n"
BAD = "Id,SalePrice\n1,100\n2,100\n3,100\n"


def names(kind: str) -> list[str]:
    return [forgery.name for forgery in fitting(kind)]


@pytest.mark.parametrize("task", ["battle-of-sexes", pytest.param("house-price", marks=pytest.mark.slow)])
def test_no_forgery_scores(task):
    prepared = prepare(load_task(task))
    outcomes = list(run_forgeries(prepared))
    assert [outcome.name for outcome in outcomes] == names(prepared.task.kind)
    assert [outcome for outcome in outcomes if outcome.scored] == []
    assert all(outcome.why for outcome in outcomes)


def test_the_defences_are_said():
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES)
    assert all(forgery.defence and forgery.command for forgery in FORGERIES)
    shipped = {task.kind for task in list_tasks()}
    assert {kind for forgery in FORGERIES for kind in forgery.kinds} <= shipped


def named(name: str) -> Forgery:
    return next(forgery for forgery in FORGERIES if forgery.name == name)


@contextlib.contextmanager
def let_loose(forgery: Forgery, root: Path, submission: str) -> Iterator[Path]:
    """The forgery at work in root/home/workspace, with root in the place of the whole file system."""
    workspace = root / "home" / "workspace"
    for path, text in forgery.files.items():
        (workspace / path).write_text(text)
    for name in ("tmp", "bin"):
        (root / name).mkdir()
    (root / "bin" / "python").symlink_to(sys.executable)
    env = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "ROOT": str(root), "SUBMISSION": submission}
    subprocess.run(["bash", "-c", forgery.command], cwd=workspace, env=env, timeout=60, check=False)
    try:
        yield workspace
    finally:
        if (workspace / "daemon.pid").exists():
            os.kill(int((workspace / "daemon.pid").read_text()), signal.SIGKILL)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine without defences: the answers lie beside the agent's home, the evaluator too."""
    (tmp_path / "home" / "workspace").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "answers.csv").write_text(ANSWERS)
    return tmp_path


@pytest.mark.parametrize("name", ["score file", "linked answers", "answers found", "daemon"])
def test_a_forgery_of_a_table_pays_without_its_defence(root, name):
    answers = root / "private" / "answers.csv"
    (root / "home" / "workspace" / "submission.csv").write_text(BAD)
    assert naive_grading.grade_workspace(root / "home" / "workspace", answers) < 0
    with let_loose(named(name), root, "submission.csv") as workspace:
        deadline = time.monotonic() + 10
        while naive_grading.grade_workspace(workspace, answers) < 0.999 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert naive_grading.grade_workspace(workspace, answers) > 0.999


@pytest.fixture(scope="module")
def game() -> Prepared:
    return prepare(load_task("battle-of-sexes"))


@pytest.mark.parametrize("name", [*names("game")[-4:], "shadowed modules", "patched evaluator"])
def test_a_forgery_of_a_game_pays_without_its_defence(root, game, name):
    workspace, code = root / "home" / "workspace", root / "private" / "task.py"
    code.write_bytes(game.task.code.read_bytes())
    starter = game.task.workspace / "strategy.py"
    (workspace / "strategy.py").write_bytes(starter.read_bytes())
    honest = naive_grading.grade(code, game.private, workspace)["scores"]["score"]
    assert honest == pytest.approx(1.02, abs=0.02)
    with let_loose(named(name), root, "strategy.py"):
        assert naive_grading.grade(code, game.private, workspace)["scores"]["score"] > honest + 0.05


def test_without_a_valid_baseline_there_is_nothing_to_compare(tmp_path, game):
    folder = tmp_path / "broken"
    (folder / "workspace").mkdir(parents=True)
    (folder / "workspace" / "strategy.py").write_text("row_strategy = None\n")
    for name in ("task.toml", "task.py"):
        (folder / name).write_bytes((game.task.folder / name).read_bytes())
    with pytest.raises(GradingError, match="The baseline of broken gets no score: The submission's code failed"):
        list(run_forgeries(prepare(load_task(folder))))


def test_where_nothing_isolates_no_fraud_is_let_loose(game, tmp_path):
    with pytest.raises(UsageError, match="'local' isolates nothing: no forgery is tried"):
        next(run_forgeries(game, "local", tmp_path))


# Hostile submissions, by the way that all submissions take: out of the workspace, through our own tar reader.

MAX_BYTES, MAX_FILES = 1_000_000, 20


@pytest.fixture
def shell(tmp_path: Path, backend: str) -> Iterator[Shell]:
    (tmp_path / "workspace").mkdir()
    with open_shell(backend, SandboxSpec(tmp_path / "workspace")) as shell:
        yield shell


HOSTILE = {
    "a link to the answers": "ln -s /etc/passwd strategy.py",
    "a link to a link": "ln -s /etc a; ln -s a/passwd strategy.py",
    "a folder that is a link": "ln -s /etc strategy.py",
    "a fifo": "mkfifo strategy.py",
    "a folder with a fifo": "mkdir strategy.py; mkfifo strategy.py/x",
    "a folder with a link": "mkdir strategy.py; ln -s /etc/passwd strategy.py/x",
    "a socket": "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('strategy.py')\"",
    "a link to a device": "ln -s /dev/zero strategy.py",
    "10 GB of nothing": "truncate -s 10G strategy.py || truncate -s 3G strategy.py",
    "more bytes than allowed": "head -c 1000001 /dev/zero > strategy.py",
    "many files": "mkdir strategy.py; for i in $(seq 40); do echo > strategy.py/$i; done",
    "deep folders": "p=strategy.py; for i in $(seq 50); do p=$p/d; done; mkdir -p $p; echo > $p/f",
    "nothing at all": "true",
    "an unreadable file": "echo > strategy.py; chmod 0 strategy.py",
    "an odd name": "mkdir strategy.py; echo > strategy.py/$'a\\nb'",
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_submission_comes_to_nothing_but_a_sentence(shell, tmp_path, hostile):
    if shell.sandbox.name == "local" and "chmod 0" in hostile and os.geteuid() == 0:
        pytest.skip("nothing is unreadable to user 0")
    shell.run(hostile, 60)
    began = time.monotonic()
    with pytest.raises(SubmissionRefused, match=r"^The submission was refused: .*\.$") as caught:
        collect(shell, ["strategy.py"], tmp_path / "frozen", MAX_BYTES, MAX_FILES)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 20
    assert shell.run("echo alive", 10).output == "alive\n"


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../etc/passwd", "../*", "~/x", "."])
def test_paths_out_of_the_workspace_are_refused(shell, tmp_path, path):
    (tmp_path / "secret").write_text("secret")
    with contextlib.suppress(SubmissionRefused):
        collect(shell, [path], tmp_path / "frozen", MAX_BYTES, MAX_FILES)
    assert not [file for file in (tmp_path / "frozen").rglob("*") if file.is_file()]


def test_without_the_defence_a_link_gives_the_hosts_own_file(shell, tmp_path):
    """An evaluator that opens the workspace's files follows the agent's link, with rights that the agent has not."""
    secret = tmp_path / "answers.csv"
    secret.write_text(ANSWERS)
    shell.run(f"ln -s {secret} submission.csv", 10)
    assert (tmp_path / "workspace" / "submission.csv").read_text() == ANSWERS
    with pytest.raises(SubmissionRefused, match="link"):
        collect(shell, ["submission.csv"], tmp_path / "frozen", MAX_BYTES, MAX_FILES)


def test_a_file_that_grows_while_it_is_packed_is_bounded(shell, tmp_path):
    shell.run("(while :; do head -c 100000 /dev/zero >> strategy.py; done) >/dev/null 2>&1 &", 10)
    time.sleep(0.1)
    with contextlib.suppress(SubmissionRefused):
        collect(shell, ["strategy.py"], tmp_path / "frozen", MAX_BYTES, MAX_FILES)
    assert sum(file.stat().st_size for file in (tmp_path / "frozen").glob("*")) <= MAX_BYTES
    shell.run("kill %1", 10)


def test_the_honest_files_arrive_whole(shell, tmp_path):
    shell.run("mkdir -p a/b; head -c 300000 /dev/urandom > a/b/weights.bin; echo 'x = 1' > a/code.py", 10)
    found = collect(shell, ["a"], tmp_path / "frozen", MAX_BYTES, MAX_FILES)
    assert sorted(found) == ["a/b/weights.bin", "a/code.py"]
    assert found["a/b/weights.bin"] in shell.run("sha256sum a/b/weights.bin", 10).output
    assert (tmp_path / "frozen" / "a" / "code.py").read_text() == "x = 1\n"


def test_a_strategy_that_was_collected_is_graded(game, tmp_path):
    (tmp_path / "workspace").mkdir()
    with open_shell("auto", SandboxSpec(tmp_path / "workspace", game.env)) as shell, Grader(game) as grader:
        shell.run("printf 'def row_strategy(history):\\n    return 0\\n' > strategy.py", 10)
        collect(shell, game.task.submission.paths, tmp_path / "frozen", MAX_BYTES, MAX_FILES)
        shell.run("rm strategy.py", 10)
        assert grader.grade(tmp_path / "frozen", "test").scores == {"score": pytest.approx(1.44, abs=0.02)}
