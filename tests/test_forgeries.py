"""Each shipped forgery pays where its defence is missing, and nowhere else."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgym.errors import GradingError, UsageError
from mlgym.grading import Grader, collect
from mlgym.grading.forgeries import (
    DEFENCES,
    FORGERIES,
    Forgery,
    fitting,
    guarded,
    run_forgeries,
    run_without,
    tenth,
)
from mlgym.grading.prepare import Prepared, prepare
from mlgym.made import list_families
from mlgym.sandbox import SandboxSpec, SubmissionRefused, open_shell
from mlgym.sandbox.shell import Shell
from mlgym.task import list_tasks, load_task

ANSWERS = "Id,SalePrice,split\n1,100.0,test\n2,250.5,validation\n3,80.0,test\n"


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
    shipped = {task.kind for task in [*list_tasks(), *(load_task(f"{each.name}-s1-d0") for each in list_families())]}
    assert {kind for forgery in FORGERIES for kind in forgery.kinds} <= shipped
    assert {forgery.guard for forgery in FORGERIES} - {""} == set(DEFENCES), "each defence is there for some forgery"


@pytest.fixture(scope="module")
def game() -> Prepared:
    return prepare(load_task("battle-of-sexes"))


SOME = ["score file", "daemon that waits for the grader", "traps", "LD_PRELOAD", "pickle with code", "caller's frames"]


def test_a_forgery_pays_without_its_defence(game):
    """One for each way to lack one; the slow test below tries them all."""
    chosen = [forgery for forgery in fitting("game") if forgery.name in SOME]
    outcomes = list(run_without(game, chosen))
    assert [outcome.name for outcome in outcomes] == [forgery.name for forgery in chosen]
    assert [outcome for outcome in outcomes if not outcome.scored] == []


@pytest.mark.slow
@pytest.mark.parametrize("task", ["battle-of-sexes", "titanic"])
def test_every_forgery_pays_without_its_defence(task):
    prepared = prepare(load_task(task))
    chosen = guarded("all", prepared.task.kind)
    assert len(chosen) >= 25
    for _ in range(3):  # a race may be lost on a busy machine
        paid = {outcome.name for outcome in run_without(prepared, chosen) if outcome.scored}
        chosen = [forgery for forgery in chosen if forgery.name not in paid]
    assert chosen == []


@pytest.mark.slow
def test_an_honest_file_gains_nothing_without_a_defence(game):
    """The evaluator that lacks a defence scores as ours does what does no harm: it is the forgeries that pay."""
    idle = [Forgery(guard, (), "true", "", guard=guard) for guard in ("pipe", "apart", "shell", "frozen", "inert")]
    ours = next(run_forgeries(game, chosen=idle[:1])).why.split(",")[0]
    outcomes = list(run_without(game, idle))
    assert [outcome for outcome in outcomes if outcome.scored] == []
    assert {outcome.why.split(",")[0] for outcome in outcomes} == {ours}


def test_where_less_than_all_is_isolated_no_defence_is_switched_off(game, tmp_path):
    with pytest.raises(UsageError, match="isolates in full; 'local' does not"):
        next(run_without(game, fitting("game"), "local", tmp_path))


def test_an_attack_or_a_defence_is_asked_for_by_name():
    assert {forgery.guard for forgery in guarded("shell", "game")} == {"shell"}
    assert [forgery.name for forgery in guarded("LD_PRELOAD", "table")] == ["LD_PRELOAD"]
    assert guarded("clock", "table") == []
    with pytest.raises(UsageError, match="no defence and no attack 'moat'"):
        guarded("moat", "game")


def test_a_tenth_is_another_one_with_another_seed_and_all_have_their_turn():
    fit = fitting("table")
    days = [tenth(fit, f"2026-01-{day}", "titanic") for day in range(100)]
    assert days[0] == tenth(fit, "2026-01-0", "titanic") and len({str(day) for day in days}) > 50
    assert {forgery.name for day in days for forgery in day} == {forgery.name for forgery in fit}
    assert 0.05 < sum(map(len, days)) / len(days) / len(fit) < 0.15


@pytest.mark.slow
def test_a_file_that_is_swapped_while_it_is_frozen_is_itself_or_refused():
    """Each of many races: what comes out is the honest file, or nothing."""
    prepared = prepare(load_task("titanic"))
    race = [forgery for forgery in FORGERIES if forgery.tries > 1]
    [outcome] = run_forgeries(prepared, chosen=race)
    assert not outcome.scored and ("honest ones" in outcome.why or "is a link" in outcome.why)


def test_the_command_names_attacks_and_tries_one_without_its_defence():
    def said(*words: str) -> str:
        argv = [sys.executable, "-m", "mlgym", "check", "--attacks", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout

    listed = json.loads(said("--list", "--json"))
    assert listed["defences"] == DEFENCES and len(listed["attacks"]) == len(FORGERIES)
    [attack] = json.loads(said("battle-of-sexes", "--without", "PATH", "--json"))
    assert attack["succeeded"] and attack["guard"] == attack["without"] == "shell"


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
    if shell.sandbox.name == "landlock" and "chmod 0" in hostile:
        pytest.skip("no file can be made unreadable there")
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
