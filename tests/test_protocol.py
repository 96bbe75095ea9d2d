"""The lock of a run: what is in its two parts, when two agree, and what a run folder refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym import agents
from mlgym.errors import StorageError, UsageError
from mlgym.grid import from_flags, plan
from mlgym.presets import OURS, PAPER
from mlgym.protocol import FROM_DATA, LOCK, agree, digest, isolated, keep, lock, read_lock
from mlgym.records import EpisodeSpec, Limits
from mlgym.versions import commit, keep_run, read_run, versions

GUESS = Path(__file__).parent.parent / "examples" / "guess"


def made(**fields: Any) -> dict[str, Any]:
    """The lock of a grid with these fields."""
    usual = {"tasks": [str(GUESS)], "agents": [{"agent": "nop"}], "sandbox": "bubblewrap"}
    one = plan(from_flags({**usual, **fields}))
    return lock(one.specs, limits=one.limits, gpus=one.grid.gpus)


@pytest.fixture
def guess(tmp_path: Path) -> Path:
    return shutil.copytree(GUESS, tmp_path / "guess")


def test_two_parts_with_a_hash_each() -> None:
    whole = made(agents=[{"model": "vllm/small", "sampling": {"temperature": 0}}])
    task = whole["task_protocol"]["tasks"]["guess"]
    assert {*task} == {
        *("hash", "version", "metric", "direction", "scale", "best", "baseline", "content", "data", "limits"),
        *("feedback", "tools", "isolation", "network", "processors", "gpus", "packages"),
    }
    assert task["hash"] == digest({key: value for key, value in task.items() if key != "hash"})
    [(name, one)] = whole["method"]["methods"].items()
    assert name.startswith("react-vllm-small-temperature=0-")
    assert (one["agent"], one["model"], one["sampling"]) == ("react", "vllm/small", {"temperature": 0})
    assert one["options"]["window"] == 10 and one["tool_protocol"] == "auto" and one["prompts"] and one["code"]
    assert one["bounds"] == {"tokens": 2_000_000} and task["limits"]["tokens"] is None  # the model has no price
    assert json.loads(json.dumps(whole)) == whole and whole == made(
        agents=[{"model": "vllm/small", "sampling": {"temperature": 0}}]
    )


def test_methods_may_differ_and_conditions_not() -> None:
    ours = made()
    other = made(agents=[{"agent": "tuner?trials=3"}, {"model": "openai/gpt-5"}], seeds=5, protocol="")
    assert agree(ours, other) == [] and ours["method"]["hash"] != other["method"]["hash"]
    assert ours["task_protocol"]["hash"] == other["task_protocol"]["hash"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"limits": {"steps": 7}}, ["steps of an episode 20 against 7"]),
        ({"limits": {"money": 4}}, ["dollars of an episode none against 4"]),
        ({"limits": {"training_s": 90}}, ["seconds of a command that starts Python none against 90"]),
        ({"feedback": "test"}, ["feedback validation against test"]),
        ({"tools": "classic"}, ["the descriptions of the tools differ", "set of tools modern against classic"]),
        ({"sandbox": "local"}, ["isolation full against none"]),
        ({"network": "pypi.org"}, ['network none against ["pypi.org"]']),
        ({"processors": 0.25}, ["processors 0.1 against 0.25"]),
        ({"gpus": "0"}, ["graphics cards 0 against 1"]),
    ],
)
def test_what_differs_is_said_in_words(fields: dict[str, Any], said: list[str]) -> None:
    ours, other = made(), made(**fields)
    assert agree(ours, other) == [f"guess: {each}" for each in said]
    assert ours["task_protocol"]["hash"] != other["task_protocol"]["hash"]
    assert ours["method"] == other["method"]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("task.toml", "version = 1", "version = 2", "version 1 against 2"),
        ("workspace/guess.py", "", "# more", "the instruction or starting files differ"),
        ("task.py", "", "# more", "the code or settings that make and grade the data differ"),
        ("task.toml", "grade_s = 10", "grade_s = 5", "seconds of a grading 10 against 5"),
    ],
)
def test_a_changed_task_is_another(guess: Path, file: str, old: str, new: str, said: str) -> None:
    before = made(tasks=[str(guess)])
    path = guess / file
    path.write_text(path.read_text().replace(old, new, 1) if old else path.read_text() + new)
    assert f"guess: {said}" in agree(before, made(tasks=[str(guess)]))


def test_where_nothing_is_prepared_yet_the_same_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", tmp_path / "mine"], check=True)
    mine = {"python": str(tmp_path / "mine" / "bin" / "python")}
    here = made(**mine)
    task = here["task_protocol"]["tasks"]["guess"]
    assert "of the user's" in task["packages"]["python"]
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    assert agree(here, made(**mine)) == []
    task |= {"hash": "0", "data": {**task["data"], "stands_in": "generated"}}
    assert agree(here, made(**mine)) == ["guess: data that stands in generated against none"]
    assert agree(here, made(**mine), FROM_DATA) == []


def test_elsewhere_what_is_asked_for_counts() -> None:
    one = plan(from_flags({"tasks": ["blotto"], "agents": [{"agent": "nop"}], "processors": 4096}))
    here, there = (lock(one.specs, here=where)["task_protocol"]["tasks"]["blotto"] for where in (True, False))
    assert here["processors"] < there["processors"] == 4096


def test_locks_of_other_tasks_have_nothing_to_disagree_about() -> None:
    assert agree(made(), made(tasks=["blotto"])) == [] and agree({}, made()) == []


def test_a_run_takes_more_tasks_and_methods_and_refuses_another_protocol(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first, more = made(), made(tasks=["blotto"], agents=[{"agent": "tuner"}])
    assert keep(run, first) == [] and read_lock(run) == first
    assert keep(run, more) == [] and keep(run, first) == []
    both = read_lock(run)
    assert {*both["task_protocol"]["tasks"]} == {"guess", "blotto"} and {*both["method"]["methods"]} == {"nop", "tuner"}
    with pytest.raises(UsageError) as caught:
        keep(run, made(feedback="test", limits={"steps": 3}))
    assert str(caught.value) == (
        f"{run} holds episodes of another task protocol (guess: feedback validation against test; guess: steps "
        "of an episode 20 against 3): choose another folder with -o, or repeat the command that made it."
    )
    assert read_lock(run) == both


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/run cannot be written \(Not a directory\): mend that"):
        keep(tmp_path / "file" / "run", made())


def test_a_method_that_changed_meanwhile_is_said(tmp_path: Path) -> None:
    lock = made()
    keep(tmp_path, lock)
    newer = json.loads(json.dumps(lock))
    newer["method"]["methods"]["nop"] |= {"code": "0", "hash": "0"}
    [note] = keep(tmp_path, newer)
    assert note.startswith(f"nop is not what it was when {tmp_path} was begun (code): ")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"task_protocol": {}, "method": {}}', '{"task_protocol": 3}'])
def test_a_lock_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(UsageError, match=r"cannot be read as a protocol: choose another folder with -o\.$"):
        keep(tmp_path, made())


def test_two_protocols_of_one_task_are_no_grid() -> None:
    specs = [EpisodeSpec(task=str(GUESS), agent=name, limits=Limits(steps=n)) for n, name in ((3, "nop"), (4, "tuner"))]
    with pytest.raises(UsageError, match=r"The episodes of guess: steps of an episode 3 against 4\."):
        lock(specs)


def test_the_presets_give_different_locks_and_the_isolation_is_asked_for() -> None:
    paper, ours = made(protocol=PAPER), made(protocol=OURS)
    said = agree(paper, ours)
    assert "guess: feedback test against validation" in said and "guess: seconds of a command 25 against 10" in said
    isolated(OURS, "bubblewrap")
    isolated(PAPER, "local")
    with pytest.raises(UsageError, match="The protocol v1 asks for full isolation, and here is none"):
        isolated(OURS, "local")


def test_own_limits_that_equal_a_presets_are_the_same_protocol() -> None:
    assert agree(made(protocol=OURS), made(limits={"money": 4})) == []


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)))
def test_a_digest_depends_on_values_and_not_on_their_order(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(value.items()))) != digest({**value, "more": 1})


def test_an_agents_hash_is_of_its_code_options_and_prompts() -> None:
    react, tuner = agents.about("react?window=3"), agents.about("tuner")
    assert (react["options"]["window"], react["options"]["mistakes"], react["options"]["context"]) == (3, 3, "last")
    assert react["prompts"]
    assert not tuner["prompts"] and react["code"] != tuner["code"]
    assert agents.about("react")["prompts"] == react["prompts"]
    with pytest.raises(UsageError, match="There is no agent 'nobody'"):
        agents.about("nobody")


def test_run_json_keeps_what_earlier_starts_had(tmp_path: Path) -> None:
    made_with = versions({"guess": 1})
    assert made_with["mlgym"] and made_with["python"] and made_with["packages"]["numpy"] and "ruff" not in made_with
    keep_run(tmp_path, {"seeds": [0]}, made_with)
    first = read_run(tmp_path)
    keep_run(tmp_path, {"seeds": [0]}, made_with)
    assert read_run(tmp_path) == first and first["earlier"] == []
    keep_run(tmp_path, {"seeds": [0, 1]}, made_with)
    again = read_run(tmp_path)
    assert again["grid"] == {"seeds": [0, 1]} and [one["grid"] for one in again["earlier"]] == [{"seeds": [0]}]


def test_the_commit_is_that_of_mlgyms_own_checkout(tmp_path: Path) -> None:
    package = tmp_path / "src" / "mlgym"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert commit(package) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    assert len(commit(package)) == 40
    (package / "__init__.py").write_text("1\n")
    assert commit(package).endswith("+")
    assert commit(tmp_path / "src") == ""  # such as a virtual environment in another project's checkout
