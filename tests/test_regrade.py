"""Scores computed again from what is stored: equal, or a reason why not."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlgym.cli import app
from mlgym.episode import run_episode
from mlgym.errors import UsageError
from mlgym.records import Action, Attempt, Brief, EpisodeSpec, Limits
from mlgym.regrade import Regraded, regrade, within_noise, within_rounding
from mlgym.store import Episode, episode_folder, write_whole
from mlgym.task import load_task

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
HERE = "tests.test_regrade" if __name__.startswith("tests.") else "test_regrade"


def guesser(brief: Brief, model: object) -> Iterator[Action]:
    """Two guesses, one that is none, and no submission at the end."""
    for guess in ("40", "30", "many"):
        yield Action(tool="bash", args={"command": f"echo {guess} > guess.txt"})
        yield Action(tool="validate")
    yield Action(tool="bash", args={"command": "rm guess.txt"})
    yield Action(tool="submit")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one episode."""
    run = tmp_path_factory.mktemp("run")
    spec = EpisodeSpec(task=GUESS, agent=f"{HERE}:guesser", limits=Limits(steps=12))
    run_episode(spec, episode_folder(run, spec))
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(made, tmp_path / "run")


def store_of(run: Path) -> Episode:
    return Episode.read(next(run.glob("*/*/*")))


def change(run: Path, number: int, **fields: object) -> None:
    """Another value in the record of an attempt."""
    store = store_of(run)
    attempt = store.attempts()[number].changed(**fields)
    write_whole(store.folder / "attempts" / f"{number:04d}.json", attempt.model_dump_json().encode())


def quiet(run: Path) -> list[Regraded]:
    return list(regrade(run, say=lambda line: None))


def test_what_is_stored_of_an_attempt(run: Path) -> None:
    attempts = store_of(run).attempts()
    by = [attempt.provenance for attempt in attempts]
    assert [each and each.validations for each in by] == [1, 2, 3, 3]
    first = by[0]
    assert first and (first.task, first.version, first.seed, first.feedback) == ("guess", 1, 0, "validation")
    result = store_of(run).result
    assert result and (first.backend, first.isolation) == (result.backend, result.isolation)
    assert all(len(key) == 16 for key in (first.grader, first.data, first.environment, first.grader_environment))
    old = Attempt.model_validate_json(attempts[0].model_dump_json(exclude={"provenance"}))
    assert old.provenance is None


def test_all_is_equal(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said: list[str] = []
    rows = list(regrade(run, say=said.append))
    assert [(row.attempt, row.split) for row in rows] == [
        (0, "validation"),
        (0, "test"),
        (1, "validation"),
        (1, "test"),
        (2, "validation"),
        (3, "validation"),
        (3, "test"),
    ]
    assert {row.status for row in rows} == {"equal"}
    assert [row.again for row in rows] == [row.recorded for row in rows]
    assert said[-1].startswith("[1/1] ") and "4 attempts" in said[-1]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_an_episode_alone(run: Path) -> None:
    assert len(quiet(store_of(run).folder)) == 7


def test_a_changed_score_differs(run: Path) -> None:
    change(run, 0, test={"closeness": 0.9})
    row = next(row for row in quiet(run) if row.status != "equal")
    assert (row.attempt, row.split, row.status, row.recorded) == (0, "test", "differs", 0.9)
    assert row.again == pytest.approx(1 / 3)


def test_the_last_bit_counts(run: Path) -> None:
    score = store_of(run).attempts()[0].test
    assert score
    change(run, 0, test={"closeness": score["closeness"] + 1e-16})
    assert [row.status for row in quiet(run) if row.attempt == 0] == ["equal", "differs"]


def test_a_byte_of_a_file_differs(run: Path) -> None:
    store = store_of(run)
    store.file(store.attempts()[0].files["guess.txt"]).write_text("42\n")
    rows = [row for row in quiet(run) if row.attempt == 0]
    assert {row.status for row in rows} == {"differs"} and "guess.txt is not what was graded" in rows[0].why


def test_files_let_go_are_said(run: Path) -> None:
    store = store_of(run)
    store.file(store.attempts()[0].files["guess.txt"]).unlink()
    assert {row.status for row in quiet(run) if row.attempt == 0} == {"let go"}


def test_what_something_else_graded_is_not_compared(run: Path) -> None:
    by = store_of(run).attempts()[0].provenance
    assert by
    change(run, 0, test={"closeness": 0.9}, provenance=by.changed(grader="0" * 16, data="1" * 16))
    change(run, 1, validation={"closeness": 0.9}, provenance=None)
    odd = [row for row in quiet(run) if row.status != "equal"]
    assert [row.status for row in odd] == ["not comparable"] * 2
    assert "another grader" in odd[0].why and "another draw" in odd[0].why and "no record" in odd[1].why


def test_another_version_is_not_compared(run: Path) -> None:
    store = store_of(run)
    write_whole(store.folder / "spec.json", store.spec.changed(version=7).model_dump_json().encode())
    rows = quiet(run)
    assert {row.status for row in rows} == {"not comparable"} and "version 7" in rows[0].why


def test_a_runs_own_task_is_not_run(run: Path) -> None:
    store = store_of(run)
    shutil.copytree(GUESS, run / "task")
    (run / "task" / "task.py").write_text("open('/tmp/was-run', 'w')")
    write_whole(store.folder / "spec.json", store.spec.changed(task=str(run / "task")).model_dump_json().encode())
    rows = quiet(run)
    assert {row.status for row in rows} == {"not comparable"} and "lies in the run itself" in rows[0].why


@pytest.mark.parametrize(
    "name", ["./run/task", "run/task~budget=0.5", "./run/tiny-s1-d0.5", "run/tiny-s1-d0.5~rows=0.5"]
)
def test_nor_is_one_that_a_relative_path_or_an_id_leads_to(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    store = store_of(run)
    for folder in ("task", "tiny"):
        shutil.copytree(GUESS, run / folder)
        for code in ("task.py", "family.py")[: 1 + (folder == "tiny")]:
            (run / folder / code).write_text(f"open({str(run / 'ran')!r}, 'w')")
    write_whole(store.folder / "spec.json", store.spec.changed(task=name).model_dump_json().encode())
    rows = quiet(run)
    assert {row.status for row in rows} == {"not comparable"} and "lies in the run itself" in rows[0].why
    assert not (run / "ran").exists()


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_a_name_that_leaves_the_folder_is_not_written(run: Path, name: str) -> None:
    digest = store_of(run).attempts()[0].files["guess.txt"]
    change(run, 0, files={name: digest})
    assert "no agent can have made" in next(row for row in quiet(run) if row.attempt == 0).why
    change(run, 0, files={"guess.txt": "../../../../../../etc/passwd"})
    rows = [row for row in quiet(run) if row.attempt == 0]
    assert {row.status for row in rows} == {"differs"} and "hash" in rows[0].why


def test_records_that_cannot_be_read_are_a_difference(run: Path) -> None:
    (store_of(run).folder / "attempts" / "0001.json").write_text("{")
    rows = quiet(run)
    assert [row.status for row in rows] == ["differs"] and "0001.json" in rows[0].why


def test_a_folder_without_episodes_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no episode"):
        quiet(tmp_path)


def test_a_time_differs_by_its_noise() -> None:
    task = load_task("3sat-tiny")
    assert task.timed and task.anchors
    for score, other, within in [(1.0, 1.08, True), (1.0, 1.12, False), (0.1, 0.108, True), (0.1, 0.12, False)]:
        assert within_noise(task, "test", {"time_ratio": score}, {"time_ratio": other}) is within
    assert not within_noise(task, "test", None, {"time_ratio": 1.0})


def test_rounding_is_no_more_than_rounding() -> None:
    assert load_task("language-modeling-tiny").rounded and not load_task("house-price").rounded
    assert within_rounding({"val_loss": 2.7}, {"val_loss": 2.7 + 2e-9})
    assert not within_rounding({"val_loss": 2.7}, {"val_loss": 2.70001})
    assert not within_rounding({"val_loss": 2.7}, None)


def test_the_verb(run: Path) -> None:
    runner = CliRunner()
    told = runner.invoke(app, ["regrade", str(run), "--write"])
    assert told.exit_code == 0 and "7 scores graded again: 7 equal." in told.stdout
    assert len(json.loads((run / "regrade.json").read_text())) == 7
    change(run, 0, test={"closeness": 0.9})
    told = runner.invoke(app, ["regrade", str(run)])
    assert told.exit_code == 1 and "-0.57" in told.stdout
    told = runner.invoke(app, ["regrade", str(run), "--json"])
    assert told.exit_code == 1
    assert [row["status"] for row in json.loads(told.stdout)].count("differs") == 1


def test_games_are_equal_on_the_same_draw(tmp_path: Path) -> None:
    spec = EpisodeSpec(task="battle-of-sexes", agent="nop", limits=Limits(steps=12))
    run_episode(spec, episode_folder(tmp_path, spec))
    assert {row.status for row in quiet(tmp_path)} == {"equal"}
