"""What a viewer finds under paths, what it says of it, and that it goes nowhere else."""

import itertools
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from recorded_runs import ask, episode, step

from mlgym import beside
from mlgym.driver import Driver, plan
from mlgym.errors import UsageError
from mlgym.records import Message, Result
from mlgym.runs import Run, open_run
from mlgym.store import Episode
from mlgym.viewer import store as module
from mlgym.viewer.cell import Cell
from mlgym.viewer.joined import PAGE
from mlgym.viewer.store import Store
from mlgym.viewer.writing import CALLS, STEPS

REPORTED = {
    **{
        name: name for name in ("task", "method", "agent", "model", "seed", "ended", "scored", "why", "metric", "steps")
    },
    **{name: name for name in ("direction", "best_known", "progress", "best_progress", "attempts", "money", "marks")},
    **{"baseline": "baseline_test", "score": "best_attempt", "final": "best_submission"},
}


@pytest.fixture(autouse=True)
def walking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look looks for new folders too."""
    monkeypatch.setattr(module, "WALK_S", 0.0)
    monkeypatch.setattr(module, "WALKING", float("inf"))


def rows(store: Store, run: str = "") -> dict[str, dict[str, Any]]:
    told = store.episodes(run)
    return {row[0]: dict(zip(told["columns"], row, strict=True)) for row in told["rows"]}


def reopened(folder: Path) -> Episode:
    """An episode that goes on."""
    (folder / "result.json").unlink()
    store = Episode.read(folder)
    return Episode.open(folder, store.spec)


def test_runs_of_every_kind_are_found(tmp_path: Path) -> None:
    episode(tmp_path / "runs" / "first", seed=1)
    episode(tmp_path / "runs" / "deep" / "down" / "first")
    episode(tmp_path / "runs" / "rl" / "episodes")
    (tmp_path / "runs" / "rl" / "metrics.jsonl").touch()
    episode(tmp_path / "runs" / "bulk" / "shard-0000")
    (tmp_path / "runs" / "bulk" / "plan.json").touch()
    (tmp_path / "runs" / "empty").mkdir()
    plan(tmp_path / "runs" / "planned", {"a/b/0": ("skill", "maximize", "the method")})
    beside.put_aside(tmp_path / "runs" / "first", "duel-s0-d0.2/tuner/1")
    episode(tmp_path / "runs" / "first", seed=2)
    store = Store([tmp_path / "runs"])
    found = {run["run"]: (run["kind"], run["episodes"], run["state"]) for run in store.runs()["runs"]}
    assert found == {
        "first": ("run", 1, "complete"),
        "first-2": ("run", 1, "complete"),
        "rl": ("training", 1, "complete"),
        "bulk-shard-0000": ("generated", 1, "complete"),
        "planned": ("run", 1, "stopped"),
    }
    assert {key.count("/") for key in store.keys} == {3} and len(store.keys) == 4
    assert rows(store)["planned/a/b/0"]["method"] == "the method"
    assert [run["run"] for run in Store([tmp_path / "runs" / "first"]).runs()["runs"]] == ["first"]
    assert Store([tmp_path / "nothing"]).runs()["runs"] == []


def test_an_episode_may_be_given_alone_or_several(tmp_path: Path) -> None:
    one, two, _ = (episode(tmp_path / "run", seed=seed) for seed in range(3))
    plan(tmp_path / "run", {"a/b/0": ("skill", "maximize", "never shown")})
    store = Store([one])
    assert store.keys == ["run/duel-s0-d0.2/tuner/0"] == list(rows(store)) and store.sources == [one]
    assert store.runs()["runs"][0]["path"] == str(one)
    assert Store([one, two]).sources == [one, two]
    assert Store([one, tmp_path]).sources == [tmp_path / "run"]


def test_numbers_are_the_reports(tmp_path: Path) -> None:
    for seed in range(3):
        episode(tmp_path / "run", seed=seed, progress=None if seed == 2 else 0.25 * seed)
    episode(tmp_path / "run", agent="nop", boundary="agent", why="It stopped.", ended="error")
    store, columns = Store([tmp_path]), open_run(tmp_path / "run").columns()
    shown = {row["key"]: row for row in rows(store).values()}
    for place, folder in enumerate(columns["folder"]):
        row = shown["run/" + Path(folder).relative_to(tmp_path / "run").as_posix()]
        for name, reported in REPORTED.items():
            value = columns[reported].tolist()[place]
            assert row[name] == (None if value != value else value), name
        assert row["state"] == ("failed" if row["agent"] == "nop" else "done")
        assert row["validation"] == row["final"]


def test_an_episode_is_followed_to_its_end(tmp_path: Path) -> None:
    folder = episode(tmp_path / "run")
    store = Store([tmp_path])
    (key,) = store.keys
    assert store.refresh() == set()
    version = store.version
    writer = reopened(folder)
    assert store.refresh() == {key} and store.version != version
    assert (row := rows(store)[key])["state"] == "stopped" and row["steps"] == 4 and row["validation"] == 0.5
    writer.add_step(step(5, "validate", score=0.75, reward=0.1))
    ask(writer, [Message(role="user", content="Go.")], "Well.", "ls")
    with (folder / "steps.jsonl").open("ab") as torn:
        torn.write(b'{"n": 6, "act')
    row = store.row(key)
    assert (row["steps"], row["validation"], row["tokens"], row["attempts"]) == (5, 0.75, 12, 1)
    assert (len(store.lines(key, STEPS).now()), len(store.lines(key, CALLS).now())) == (5, 1)
    assert [json.loads(line)["n"] for line in store.lines(key, STEPS).lines(4, 9)] == [4, 5]
    with Driver(tmp_path / "run") as driver:
        driver.runs(["duel-s0-d0.2/tuner/0"])
        assert store.refresh() == {key} and store.state(key) == "running"
        assert store.runs()["runs"][0]["state"] == "running"
    beside.cancel(folder)
    assert store.refresh() == {key} and store.state(key) == "cancelled"
    writer.finish(Result(ended="steps", metric="skill", boundary="budget", steps=5))
    writer.close()
    assert store.refresh() == {key} and store.state(key) == "done" and rows(store)[key]["validation"] is None
    beside.put_aside(tmp_path / "run", "duel-s0-d0.2/tuner/0")
    assert store.refresh() == {key} and store.keys == [] and store.runs()["runs"] == []
    episode(tmp_path / "run", progress=1.0)
    assert store.refresh() == {key} and rows(store)[key]["final"] == 1.0 and len(store.lines(key, STEPS).now()) == 4


def test_what_was_lost_says_why(tmp_path: Path) -> None:
    folder = episode(tmp_path / "run")
    reopened(folder).close()
    beside.add_try(folder, "sandbox", "It did not start.")
    store = Store([tmp_path])
    assert [(row["state"], row["why"]) for row in rows(store).values()] == [("missing", "It did not start.")]


UNKNOWN = [
    *("", "/", "..", "run", "run/duel-s0-d0.2/tuner", "run/duel-s0-d0.2/tuner/1", "run/duel-s0-d0.2/tuner/0/"),
    *("run/../run/duel-s0-d0.2/tuner/0", "run//duel-s0-d0.2/tuner/0", "../secret/a/b", "run/%2e%2e/tuner/0"),
    *("run/duel-s0-d0.2/tuner/\x00", "run/duel-s0-d0.2/tuner/0\n", "\udcff/a/b/c", "x" * 10_000),
    *("run/duel-s0-d0.2/linked/0", "run/linked/tuner/0", "run/duel-s0-d0.2/tuner/7", "linked/duel-s0-d0.2/tuner/0"),
]


def test_only_known_episodes_have_a_folder(tmp_path: Path) -> None:
    real = episode(tmp_path / "store" / "run")
    other = episode(tmp_path / "secret", seed=7)
    (real.parents[1] / "linked").symlink_to(other.parent)
    (real.parents[2] / "linked").symlink_to(other.parents[1])
    (real.parent / "7").symlink_to(other)
    (tmp_path / "store" / "linked").symlink_to(tmp_path / "secret")
    store = Store([tmp_path / "store"])
    assert store.folder("run/duel-s0-d0.2/tuner/0") == real
    asks = (store.folder, store.row, store.run, lambda key: store.lines(key, STEPS).lines(1, 1))
    for ask_for, key in itertools.product(asks, UNKNOWN):
        with pytest.raises(UsageError, match="There is no episode"):
            ask_for(key)
    assert len(store.keys) == 1


def test_no_file_is_read_through_a_link(tmp_path: Path) -> None:
    real, secret = episode(tmp_path / "store" / "run"), episode(tmp_path / "secret", seed=7)
    for name in ("steps.jsonl", "result.json"):
        (real / name).unlink()
        (real / name).symlink_to(secret / name)
    linked = episode(tmp_path / "store" / "run", seed=1)
    (linked / "spec.json").unlink()
    (linked / "spec.json").symlink_to(secret / "spec.json")
    os.mkfifo(real / "calls.jsonl")  # nobody will ever write to it
    store = Store([tmp_path / "store"])
    (key,) = store.keys
    assert (list(store.lines(key, STEPS).now()), list(store.lines(key, CALLS).now()), store.state(key)) == (
        [],
        [],
        "waiting",
    )
    assert store.search("echo")["hits"] == []


BROKEN = [
    ("spec.json", "{"),
    ("spec.json", "[]"),
    ("spec.json", '{"task": 3}'),
    ("result.json", "[1]"),
    ("result.json", '{"steps": "many", "scored": true, "cost": {}}'),
    ("result.json", "\x00"),
    ("result.json", "[" * 100_000),
]


def test_broken_records_are_said_and_hide_nothing_else(tmp_path: Path) -> None:
    good = episode(tmp_path / "run", seed=99)
    for seed, (name, text) in enumerate(BROKEN):
        shutil.copytree(good, good.with_name(str(seed)))
        (good.with_name(str(seed)) / name).write_text(text)
    found = {row["seed"]: row for row in rows(Store([tmp_path])).values()}
    assert found[99]["state"] == "done"
    for seed in range(len(BROKEN)):
        assert (found[seed]["state"], found[seed]["scored"]) == ("missing", False), BROKEN[seed]
        assert found[seed]["why"].startswith("The records cannot be read: ")


def test_a_hostile_run_hides_nothing_else(tmp_path: Path) -> None:
    folder = episode(tmp_path / "run")
    (tmp_path / "run" / "drivers").mkdir()
    for name, text in (("a", "[]"), ("b", '{"pid": {}}'), ("c", '{"running": 5}'), ("d", "\x00")):
        (tmp_path / "run" / "drivers" / f"{name}.json").write_text(text)
    (tmp_path / "run" / "cells.jsonl").write_text('[]\n{"cell": 3}\n{"cell": "../../x"}\n\x00\n' + "[" * 9999 + "\n")
    (tmp_path / "run" / "protocol.lock").write_text('{"task_protocol": {"tasks": {"duel-s0-d0.2": 7}}}')
    for name in ("failed.jsonl", "cancelled.json"):
        os.mkfifo(folder / name)
    (folder / "result.json").unlink()
    store = Store([tmp_path])
    assert [row["state"] for row in rows(store).values()] == ["stopped"] and store.runs()["runs"][0]["episodes"] == 1


def test_hostile_text_can_be_sent_and_seen(tmp_path: Path) -> None:
    folder = episode(tmp_path / "run", why="\x1b[31mred\u202e\x00", progress=float("inf"))
    odd = folder.parent / os.fsdecode(b"\xff\x07")
    folder.rename(odd)
    store = Store([tmp_path])
    (key,) = store.keys
    assert key == "run/duel-s0-d0.2/tuner/\N{REPLACEMENT CHARACTER}\x07" and store.folder(key) == odd
    row = rows(store)[key]
    assert row["why"] == "red⟨U+202E⟩␀" and row["progress"] is None and len(store.lines(key, STEPS).now()) == 4
    json.dumps([store.runs(), store.episodes()], allow_nan=False).encode()


def test_folders_at_rest_are_listed_once(tmp_path: Path) -> None:
    folder = episode(tmp_path / "run")
    for path in (tmp_path, *(tmp_path / "run").parents, *folder.parents[:4], tmp_path / "run"):
        if path.is_relative_to(tmp_path):
            os.utime(path, (1, 1))
    store = Store([tmp_path])
    store.refresh()
    assert store._folders.fresh == set()
    episode(tmp_path / "run", seed=1)
    store.refresh()
    assert store._folders.fresh == {str(folder.parent)} and len(store.keys) == 2


def test_a_plan_is_shown_before_its_cells_begin(tmp_path: Path) -> None:
    cells = {f"duel-s0-d0.2/tuner/{seed}": ("skill", "maximize", "tuner") for seed in range(3)}
    plan(tmp_path / "run", cells)
    episode(tmp_path / "run", seed=1)
    store = Store([tmp_path])
    states = {row["seed"]: row["state"] for row in rows(store).values()}
    assert states == {0: "waiting", 1: "done", 2: "waiting"} and len(store.keys) == 1
    with pytest.raises(UsageError, match="has not begun"):
        store.folder("run/duel-s0-d0.2/tuner/0")
    episode(tmp_path / "run", seed=2)
    assert "run/duel-s0-d0.2/tuner/2" in store.refresh() and len(store.keys) == 2
    with pytest.raises(UsageError, match="no run 'other'"):
        store.episodes("other")


def test_the_page_has_a_sign_for_each_state(tmp_path: Path) -> None:
    cell, states = Cell(Run(tmp_path, []), "task/method/0"), set[str]()
    for *marks, running, alive in itertools.product((False, True), repeat=7):
        scored, failed, cell.lost, cell.cancelled, steps = marks
        cell.row |= {"scored": scored, "failed": failed, "steps": int(steps)}
        states.add(cell.state(running, alive))
    signs = (PAGE / "signs.js").read_text().partition("const SIGNS = {")[2].partition("};")[0]
    assert set(re.findall(r"^  (\w+):", signs, re.MULTILINE)) == states
