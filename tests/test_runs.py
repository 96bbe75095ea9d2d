"""A run's records as columns: what they hold, what is left out, what pandas and polars make of them."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlgym
from mlgym.columns import COLUMNS, cells, of_task
from mlgym.errors import UsageError
from mlgym.records import Action, Attempt, Cost, EpisodeSpec, Limits, Message, Observation, Reply, Result, Step
from mlgym.rows import label
from mlgym.runs import Run, open_run
from mlgym.store import Episode, episode_folder

BASE = {"validation": {"score": 1.0}, "test": {"score": 1.0}}


def spec(task: str = "battle-of-sexes", agent: str = "tuner", seed: int = 0, **fields: Any) -> EpisodeSpec:
    version = mlgym.load_task("battle-of-sexes").version
    return EpisodeSpec(**{"task": task, "agent": agent, "seed": seed, "version": version} | fields)


def attempts(*scores: float | None) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            n=n,
            step=n + 1,
            kind="submit" if n + 1 == len(scores) else "validate",
            valid=score is not None,
            validation=None if score is None else {"score": score},
            test=None if score is None else {"score": score},
        )
        for n, score in enumerate(scores)
    )


def result(*scores: float | None, **fields: Any) -> Result:
    valid = [score for score in scores if score is not None]
    given = {
        "ended": "submitted",
        "metric": "score",
        "attempts": attempts(*scores),
        "baseline": BASE,
        "best": {"score": max(valid)} if valid else None,
        "final": {"score": scores[-1]} if scores and scores[-1] is not None else None,
        "steps": len(scores),
    }
    return Result.model_validate(given | fields)


def step(n: int, **fields: Any) -> Step:
    seen = Observation(text="seen", **fields.pop("seen", {}))
    return Step(n=n, action=Action(tool="bash"), observation=seen, command_s=1.0, model_s=0.5, **fields)


def store(run: Path, of: EpisodeSpec, end: Result | None, steps: tuple[Step, ...] = ()) -> Path:
    episode = Episode.open(episode_folder(run, of), of)
    for one in steps:
        episode.add_step(one)
    if end:
        episode.finish(end)
    episode.close()
    return episode.folder


def only(columns: dict[str, Any], name: str) -> Any:
    [value] = columns[name].tolist()
    return value


def test_the_columns_are_the_promised_ones_whatever_there_is(tmp_path: Path) -> None:
    store(tmp_path, spec(), None)
    whole = open_run(tmp_path).tables()
    assert list(whole) == list(COLUMNS)
    for of, kinds in COLUMNS.items():
        columns = open_run(tmp_path).columns(of)
        assert list(columns) == list(kinds) == list(whole[of])
        assert len({len(column) for column in columns.values()}) == 1


def test_an_episode_that_ended(tmp_path: Path) -> None:
    cost = Cost(money=0.25, tokens_in=7, tokens_out=3, calls=2, command_s=1.0)
    folder = store(tmp_path / "run", spec(seed=3), result(1.2, 1.44, 1.1, progress=0.25, cost=cost, backend="local"))
    columns = mlgym.open_run(tmp_path / "run").columns()
    expected = {
        "run": "run", "task": "battle-of-sexes", "method": "tuner", "agent": "tuner", "model": "", "seed": 3,
        "ended": "submitted", "scored": True, "metric": "score", "direction": "maximize", "scale": "identity",
        "baseline_test": 1.0, "best_known": 1.44, "best_attempt": 1.44, "best_submission": 1.1, "progress": 0.25,
        "best_progress": pytest.approx(1.0), "money": 0.25, "tokens_in": 7, "calls": 2, "command_s": 1.0, "steps": 3,
        "attempts": 3, "backend": "local", "feedback": "validation", "folder": str(folder), "marks": "",
    }  # fmt: skip
    assert {name: only(columns, name) for name in expected} == expected
    assert math.isnan(only(columns, "selected"))
    assert columns["seed"].dtype == np.int64 and columns["scored"].dtype == np.bool_


def test_no_valid_score_is_minus_one_and_a_fault_is_a_missing_cell(tmp_path: Path) -> None:
    store(tmp_path, spec(seed=0), result(None, progress=-1.0))
    store(tmp_path, spec(seed=1), result(1.3, scored=False, boundary="grader", why="it died"))
    store(tmp_path, spec(seed=2), None, (step(1), step(2)))
    columns = open_run(tmp_path).columns()
    assert columns["scored"].tolist() == [True, False, False]
    assert columns["progress"].tolist()[0] == columns["best_progress"].tolist()[0] == -1
    for name in ("best_attempt", "best_submission", "progress", "best_progress"):
        assert np.isnan(columns[name][1:]).all()
    assert columns["ended"].tolist() == ["submitted", "submitted", ""] and columns["steps"].tolist() == [1, 1, 2]
    found = cells(columns, "best_attempt")
    assert list(found) == [("tuner", "battle-of-sexes")] and np.isnan(found["tuner", "battle-of-sexes"]).tolist() == [1]
    assert of_task(columns, "direction") == {"battle-of-sexes": "maximize"}
    assert of_task(columns, "baseline_test") == {"battle-of-sexes": 1.0}


def test_attempts_and_steps_with_what_was_spent_by_then(tmp_path: Path) -> None:
    of = spec(agent="react", model="openai/x", limits=Limits(money=1.0))
    steps = (
        step(1, calls=1, seen={"money_left": 0.75, "validation": {"score": 1.2}}, reward=0.5, attempt=0),
        step(2, calls=2, seen={"money_left": 0.5, "status": "timeout", "hit": "timeout"}, reward=None, grader_s=2.0),
    )
    store(tmp_path, of, result(1.2, 1.0), steps)
    found = open_run(tmp_path).columns("attempts")
    assert found["money"].tolist() == [0.25, 0.5] and found["seconds"].tolist() == [1.5, 5.0]
    assert found["progress"].tolist() == [pytest.approx(0.2 / 0.44), 0.0] and found["kind"].tolist()[1] == "submit"
    taken = open_run(tmp_path).columns("steps")
    assert taken["tool"].tolist() == ["bash"] * 2 and taken["hit"].tolist() == ["", "timeout"]
    assert taken["validation"][0] == 1.2 and taken["reward"][0] == 0.5 and np.isnan(taken["reward"][1])
    assert set(taken["method"]) == {"openai/x"}


@pytest.mark.parametrize(("prices", "expected"), [((0.1, 0.2), [0.1, 0.3]), ((0.1, None), [0.1, math.nan])])
def test_without_a_limit_money_is_counted_from_the_calls(
    prices: tuple[float | None, ...], expected: list[float], tmp_path: Path
) -> None:
    of = spec(agent="react", model="openai/x")
    episode = Episode.open(episode_folder(tmp_path, of), of)
    for n, price in enumerate(prices):
        episode.add_call([Message(role="user", content="go on")], [], Reply(text="", money=price))
        episode.add_step(step(n + 1, calls=n + 1))
    episode.close()
    assert open_run(tmp_path).columns("steps")["money"] == pytest.approx(expected, nan_ok=True)


def test_an_episode_that_goes_on_shows_the_attempts_so_far(tmp_path: Path) -> None:
    of = spec()
    episode = Episode.open(episode_folder(tmp_path, of), of)
    episode.add_step(step(1, attempt=0))
    episode.add_attempt(attempts(1.2, 1.3)[0])
    episode.close()
    with (episode.folder / "steps.jsonl").open("a") as file:
        file.write('{"n": 2, "torn')
    assert open_run(tmp_path).columns("attempts")["validation"].tolist() == [1.2]
    assert open_run(tmp_path).columns("steps")["n"].tolist() == [1]
    columns = open_run(tmp_path).columns()
    assert (only(columns, "attempts"), only(columns, "steps"), only(columns, "scored")) == (1, 1, False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"agent": "tuner"}, "tuner"),
        ({"agent": "tuner?steps=3"}, "tuner?steps=3"),
        ({"agent": "react", "model": "openai/x"}, "openai/x"),
        ({"agent": "react", "model": "openai/x", "sampling": {"t": 0.5, "a": 1}}, "react openai/x a=1 t=0.5"),
        ({"agent": "react?window=5", "model": "openai/x"}, "react?window=5 openai/x"),
        ({"agent": "mine", "model": "openai/x"}, "mine openai/x"),
        ({"agent": "react", "model": "openai/x", "source": "a/b@3"}, "openai/x from a/b@3"),
    ],
)
def test_labels(fields: dict[str, Any], expected: str) -> None:
    assert label(fields) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"oracle": True, "python": "3.12"}, "oracle, own python"),
        ({"data": "stand-in data", "network": (), "feedback": "test"}, "stand-in data, network, feedback=test"),
        ({"source": "runs/a/b/0@12", "backend": "imported"}, "imported, from step 12"),
    ],
)
def test_marks(fields: dict[str, Any], expected: str, tmp_path: Path) -> None:
    store(tmp_path, spec(), result(1.2, **fields))
    assert only(open_run(tmp_path).columns(), "marks") == expected


def test_the_lock_says_what_a_task_was_here_unknown(tmp_path: Path) -> None:
    store(tmp_path, spec(task="/somewhere/mine"), result(2.0, 3.0))
    columns = (run := open_run(tmp_path)).columns()
    assert (
        only(columns, "direction") == ""
        and only(columns, "task") == "mine"
        and math.isnan(only(columns, "best_progress"))
    )
    assert len(run.problems) == 1 and "mine cannot be loaded" in run.problems[0]
    facts = {"hash": "abc", "metric": "score", "direction": "minimize", "scale": "log", "best": 0.5}
    lock = {"task_protocol": {"hash": "x", "tasks": {"mine": facts}}, "method": {"hash": "y"}}
    (tmp_path / "protocol.lock").write_text(json.dumps(lock))
    columns = (run := open_run(tmp_path)).columns()
    assert run.problems == [] and run.protocol == lock
    assert [only(columns, name) for name in ("direction", "scale", "best_known", "protocol")] == [
        "minimize", "log", 0.5, "abc",
    ]  # fmt: skip
    assert only(columns, "best_progress") == -1.0  # three times the baseline, where less is better


def test_no_code_of_a_family_that_a_record_names_is_run(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent.parent / "examples" / "guess", tmp_path / "tiny")
    (tmp_path / "tiny" / "family.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    store(tmp_path / "run", spec(task=str(tmp_path / "tiny-s1-d0.5")), result(1.0))
    assert open_run(tmp_path / "run").columns()["task"] == ["tiny-s1-d0.5"]
    assert not (tmp_path / "ran").exists()


def test_another_version_of_a_task_has_no_scale(tmp_path: Path) -> None:
    store(tmp_path, spec(version=999), result(1.2, progress=0.5))
    columns = (run := open_run(tmp_path)).columns()
    assert only(columns, "direction") == "maximize" and only(columns, "progress") == 0.5
    assert math.isnan(only(columns, "best_known")) and "version" in run.problems[0]


DAMAGE: dict[str, bytes] = {
    "empty": b"", "torn": b'{"ended": "sub', "no table": b"[1, 2]", "not text": b"\xff\xfe\x00", "number": b"7",
    "score of another kind": b'{"ended": "submitted", "steps": 3, "best": {"score": "much"}, "metric": "score"}',
    "giant": b'{"ended": "submitted", "steps": 1' + b"0" * 400 + b"}", "deep": b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("name", ["spec.json", "result.json", "steps.jsonl", "protocol.lock"])
def test_one_broken_record_stops_nothing(what: str, name: str, tmp_path: Path) -> None:
    store(tmp_path, spec(seed=0), result(1.2), (step(1),))
    broken = store(tmp_path, spec(seed=1), result(1.3), (step(1),))
    at = (tmp_path if name == "protocol.lock" else broken) / name
    at.write_bytes(DAMAGE[what] + (b"\n" if name == "steps.jsonl" else b""))
    for of in COLUMNS:
        run = open_run(tmp_path)
        columns = run.columns(of)
        assert 0 in columns["seed"] and len({len(column) for column in columns.values()}) == 1
        assert all("\n" not in line and len(line) < 1000 for line in run.problems)
        assert len(run.problems) <= 1
        if of == "episodes" and name != "protocol.lock":
            assert len(columns["seed"]) + len(run.problems) == 2


def test_a_power_cut_leaves_an_episode_that_goes_on(tmp_path: Path) -> None:
    folder = store(tmp_path, spec(), result(1.2))
    (folder / "result.json").write_bytes(b"")
    run = open_run(tmp_path)
    assert only(run.columns(), "scored") is False and run.problems == []


KEYS = ("metric", "best", "cost", "steps", "attempts", "score", "baseline", "test", "scored")
LEAVES = st.none() | st.booleans() | st.floats() | st.text()
JSON = st.recursive(LEAVES, lambda x: st.lists(x) | st.dictionaries(st.sampled_from(KEYS), x), max_leaves=20)


@settings(max_examples=30)
@given(JSON)
def test_whatever_a_result_holds_the_columns_stay_of_equal_length(tmp_path_factory: Any, found: Any) -> None:
    place = tmp_path_factory.mktemp("run")
    folder = store(place, spec(), result(1.2))
    (folder / "result.json").write_text(json.dumps(found))
    for of in ("episodes", "attempts"):
        run = open_run(place)
        columns = run.columns(of)
        assert len({len(column) for column in columns.values()}) == 1
        assert of == "attempts" or len(columns["seed"]) + len(run.problems) == 1
    shutil.rmtree(place)


def test_a_cell_lost_to_infrastructure_says_why(tmp_path: Path) -> None:
    folder = store(tmp_path, spec(), None)
    tries = ({"n": n, "boundary": "model", "why": f"it was down {n} times"} for n in (1, 2))
    (folder / "failed.jsonl").write_text("".join(json.dumps(one) + "\n" for one in tries) + '{"torn')
    columns = open_run(tmp_path).columns()
    assert [only(columns, name) for name in ("boundary", "why", "scored")] == ["model", "it was down 2 times", False]
    store(tmp_path, spec(), result(1.2))
    assert only(open_run(tmp_path).columns(), "why") == ""


def test_a_single_episode_is_a_run_too(tmp_path: Path) -> None:
    folder = store(tmp_path / "mine", spec(), result(1.2))
    run = open_run(str(folder))
    assert (run.name, len(run.columns()["seed"])) == ("mine", 1)
    assert isinstance(run, Run) and run.path == folder


def test_where_there_is_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UsageError, match="no episode in"):
            open_run(path)
    store(tmp_path, spec(), None)
    with pytest.raises(UsageError, match="no columns of 'scores'"):
        open_run(tmp_path).columns("scores")


def test_what_pandas_makes_of_it(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    store(tmp_path, spec(seed=0), result(1.2, 1.3))
    store(tmp_path, spec(seed=1), None)
    for of in COLUMNS:
        columns = open_run(tmp_path).columns(of)
        frame = pandas.DataFrame(columns)
        assert frame.shape == (len(columns["seed"]), len(columns))
    frame = pandas.DataFrame(open_run(tmp_path).columns())
    assert frame.groupby("method")["best_attempt"].max().to_dict() == {"tuner": 1.3}


def test_what_polars_makes_of_it(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    store(tmp_path, spec(seed=0), result(1.2, 1.3))
    store(tmp_path, spec(seed=1), None)
    for of in COLUMNS:
        frame = polars.DataFrame(open_run(tmp_path).columns(of))
        text = [name for name, kind in COLUMNS[of].items() if kind == "text"]
        assert all(frame[name].dtype == polars.String for name in text) or not len(frame)
    frame = polars.DataFrame(open_run(tmp_path).columns())
    assert frame.group_by("method").agg(polars.col("best_attempt").max()).rows() == [("tuner", 1.3)]
