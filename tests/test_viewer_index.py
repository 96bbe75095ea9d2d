"""The viewer's index: only what is new is read, damage makes it anew; and search, which misses nothing."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recorded_runs import episode, step

from mlgym.errors import UsageError
from mlgym.records import Action, Observation, Step
from mlgym.store import Episode
from mlgym.viewer import store as module
from mlgym.viewer import writing
from mlgym.viewer.index import Index
from mlgym.viewer.lines import Growing, call, fact
from mlgym.viewer.store import Store
from mlgym.viewer.visible import visible
from mlgym.viewer.words import ENDS, FIELDS, QUERY, fold, searched
from mlgym.viewer.writing import CALLS, STEPS

KEY = "run/duel-s0-d0.2/tuner/0"
SOURCE = Path(__file__).parent.parent / "src"


@pytest.fixture(autouse=True)
def walking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look looks for new folders too."""
    monkeypatch.setattr(module, "WALK_S", 0.0)
    monkeypatch.setattr(module, "WALKING", float("inf"))


def opened(folder: Path, cache: Path | None = None) -> Store:
    """A store whose index is up to date."""
    store = Store([folder / "runs"], cache or folder / "cache")
    store.catch_up()
    return store


def found(store: Store, query: str, **how: Any) -> list[tuple[str, int]]:
    """All hits, page by page."""
    hits, after = [], ""
    while True:
        told = store.search(query, after=after, **how)
        hits += [(hit["key"], hit["n"]) for hit in told["hits"]]
        after = told["after"]
        if not told["more"]:
            return sorted(hits)


def in_place(path: Path, old: bytes, new: bytes) -> None:
    """Change a file so that nothing about it tells."""
    assert len(old) == len(new)
    about = path.stat()
    with path.open("r+b") as file:
        data = file.read()
        file.seek(data.index(old))
        file.write(new)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def chunks(store: Store) -> list[Any]:
    assert store.index
    db = sqlite3.connect(store.index.path)
    try:
        return db.execute("SELECT folder, kind, n, count FROM chunks JOIN episodes ON id = episode").fetchall()
    finally:
        db.close()


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    folder = episode(tmp_path / "runs" / "run")
    first = opened(tmp_path)
    assert found(first, "write.py") == [(KEY, 1)] and first.runs()["indexing"] == {"done": 1, "total": 1}
    row = first.row(KEY)
    first.close()
    in_place(folder / "steps.jsonl", b'"command":"ls"', b'"command":"xx"')
    in_place(folder / "result.json", b'"ended": "submitted"', b'"ended": "subbmited"')
    again = opened(tmp_path)
    assert again.row(KEY) == row
    assert again.lines(KEY, STEPS).now()[0].args == {"command": "ls"}
    again.close()


def test_a_file_that_grows_is_read_on(tmp_path: Path) -> None:
    folder = episode(tmp_path / "runs" / "run")
    (folder / "result.json").unlink()
    writer = Episode.open(folder, Episode.read(folder).spec)
    opened(tmp_path).close()
    in_place(folder / "steps.jsonl", b'"command":"ls"', b'"command":"xx"')
    writer.add_step(step(5, "bash", "A late word.", command="date"))
    with (folder / "steps.jsonl").open("ab") as torn:
        torn.write(step(6, "bash", "A torn word.").model_dump_json().encode())
    store = opened(tmp_path)
    assert [(one.n, one.args) for one in store.lines(KEY, STEPS).now()][::4] == [
        (1, {"command": "ls"}),
        (5, {"command": "date"}),
    ]
    assert found(store, "late word") == [(KEY, 5)] and found(store, "torn") == []
    with (folder / "steps.jsonl").open("ab") as torn:
        torn.write(b"\n")
    assert store.refresh() == {KEY} and len(store.lines(KEY, STEPS).now()) == 6
    assert store.catch_up() and found(store, "torn") == [(KEY, 6)]
    assert [row[1:] for row in chunks(store)] == [(0, 1, 4), (0, 5, 1), (0, 6, 1)]
    writer.close()
    store.close()


def test_what_was_replaced_is_read_again_and_what_went_is_not_found(tmp_path: Path) -> None:
    folder = episode(tmp_path / "runs" / "run", steps=[step(1, "submit", "A first word.")])
    store = opened(tmp_path)
    assert len(found(store, "first word")) == 1
    shutil.rmtree(folder)
    episode(tmp_path / "runs" / "run", steps=[step(1, "submit", "A second word."), step(2, "submit")])
    store.refresh()
    assert store.catch_up() and found(store, "first word") == [] and found(store, "second word") == [(KEY, 1)]
    assert len(store.lines(KEY, STEPS).now()) == 2
    shutil.rmtree(folder)
    assert store.refresh() == {KEY} and found(store, "second word") == []
    assert store.catch_up() and chunks(store) == []
    folder = episode(tmp_path / "runs" / "run")
    store.refresh()
    assert store.catch_up() and len(chunks(store)) == 1
    store.close()
    shutil.rmtree(folder)
    store = opened(tmp_path)
    assert chunks(store) == []
    store.close()


@pytest.mark.parametrize(
    "harm", ["nothing is left", "no database", "an old one", "torn", "a table is gone", "zeros", "mostly gone"]
)
def test_a_damaged_file_is_made_anew(harm: str, tmp_path: Path) -> None:
    for seed in range(3):
        episode(tmp_path / "runs" / "run", seed=seed)
    first = opened(tmp_path)
    assert first.index
    wanted, path = found(first, "write.py"), first.index.path
    first.close()
    data = path.read_bytes()
    changes = {
        "an old one": "PRAGMA user_version = 3",
        "a table is gone": "DROP TABLE chunks",
        "mostly gone": "UPDATE next SET first = 1000000",
    }
    if harm in changes:
        db = sqlite3.connect(path)
        db.execute(changes[harm])
        db.commit()
        db.close()
    elif harm == "zeros":
        path.write_bytes(data[:4096] + bytes(len(data) - 4096))
    else:
        path.write_bytes({"nothing is left": b"", "no database": b"x" * 10_000, "torn": data[: len(data) // 2]}[harm])
    store = opened(tmp_path)
    assert found(store, "write.py") == wanted and len(wanted) == 3  # at once, by the records where it must be
    assert all(len(store.lines(key, STEPS).now()) == 4 for key in store.keys)
    assert store.index and (store.catch_up() or store.catch_up()), store.index.trouble
    assert found(store, "write.py") == wanted and store.index.sound and len(chunks(store)) == 3
    store.close()


def test_it_may_be_removed_at_any_time(tmp_path: Path) -> None:
    for seed in range(3):
        episode(tmp_path / "runs" / "run", seed=seed)
    store = opened(tmp_path)
    for gone in (tmp_path / "cache", store.index.path if store.index else None):
        shutil.rmtree(gone) if gone and gone.is_dir() else gone and gone.unlink()
        assert len(found(store, "write.py")) == 3 and all(len(store.lines(key, STEPS).now()) == 4 for key in store.keys)
        assert store.catch_up() or store.catch_up()
        assert store.index and store.index.sound and len(chunks(store)) == 3 and len(found(store, "write.py")) == 3
    store.close()


@pytest.mark.parametrize("place", ["a file", "below a file", "full"])
def test_where_no_index_can_be_kept_the_records_are_searched(place: str, tmp_path: Path) -> None:
    episode(tmp_path / "runs" / "run")
    (tmp_path / "file").write_text("in the way")
    if place == "full":
        code = (
            "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
            "from pathlib import Path; from mlgym.viewer.store import Store\n"
            "store = Store([Path(sys.argv[1], 'runs')], Path(sys.argv[1], 'cache')); store.catch_up()\n"
            f"assert store.index.trouble and len(store.lines('{KEY}', {STEPS}).now()) == 4\n"
            "assert [hit['n'] for hit in store.search('write.py')['hits']] == [1]"
        )
        assert python(code, tmp_path).returncode == 0
        return
    store = opened(tmp_path, tmp_path / "file" / "cache" if place == "below a file" else tmp_path / "file")
    assert store.index and store.index.trouble and found(store, "write.py") == [(KEY, 1)]
    assert len(store.lines(KEY, STEPS).now()) == 4 and store.refresh() == set() and store.catch_up()
    store.close()


def python(code: str, *words: object) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)


def many(folder: Path, count: int) -> Iterator[Path]:
    """Episodes that are copies of one, each with a word of its own."""
    first = episode(folder / "runs" / "run", seed=1000)
    for seed in range(count):
        shutil.copytree(first, made := first.with_name(str(seed)))
        with (made / "steps.jsonl").open("ab") as steps:
            steps.write(step(5, "bash", f"word{seed:04d}").model_dump_json().encode() + b"\n")
        yield made
    shutil.rmtree(first)


def test_killed_while_it_writes(tmp_path: Path) -> None:
    folders = list(many(tmp_path, 6))
    code = (
        "import os, signal, sys; from mlgym.viewer import index, writing; from pathlib import Path\n"
        "writing.CHUNK = 500\n"  # several transactions
        "def told():\n"
        "    for n, folder in enumerate(sys.argv[2:]):\n"
        "        if n == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield str(Path(folder).parents[2]), folder, ''\n"
        "root = Path(sys.argv[1]); index.Index(root / 'cache', [root / 'runs']).update(told())"
    )
    assert python(code, tmp_path, *folders).returncode == -signal.SIGKILL
    left = Index(tmp_path / "cache", [tmp_path / "runs"])
    assert 0 < len(left.kept()) <= 4 and left.made == 0
    store = opened(tmp_path)
    for seed in range(6):
        assert found(store, f"word{seed:04d}") == [(f"run/duel-s0-d0.2/tuner/{seed}", 5)]
        assert [one.n for one in store.lines(f"run/duel-s0-d0.2/tuner/{seed}", STEPS).now()] == [1, 2, 3, 4, 5]
    places = [(folder, kind, n + place) for folder, kind, n, count in chunks(store) for place in range(count)]
    assert len(places) == len(set(places)) == 30
    store.close()
    left.close()


def test_what_cannot_be_named_in_it_is_found_all_the_same(tmp_path: Path) -> None:
    folder = episode(tmp_path / "runs" / "run")
    folder.rename(folder.parent / os.fsdecode(b"\xff"))
    store = Store([tmp_path / "runs"], tmp_path / "cache")
    store.start()
    while store.runs()["indexing"] != {"done": 1, "total": 1}:
        store.refresh()
    assert [n for _, n in found(store, "write.py")] == [1] and chunks(store) == []
    store.close()


def test_two_viewers_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CHUNK", 500)
    assert len(list(many(tmp_path, 12))) == 12
    one, two = (Store([tmp_path / "runs"], tmp_path / "cache") for _ in range(2))
    for store in (one, two):
        store.start()
    for store in (one, two):
        while store.runs()["indexing"]["done"] < 12:
            store.refresh()
        assert [found(store, f"word{seed:04d}") for seed in range(12)] == [
            [(f"run/duel-s0-d0.2/tuner/{seed}", 5)] for seed in range(12)
        ]
    one.close()
    two.close()
    lines = [(folder, kind, n + place) for folder, kind, n, count in chunks(one) for place in range(count)]
    assert len(lines) == len(set(lines)) == 60 and one.index and one.index.made == 0 and not one.index.trouble


TEXT = st.text(st.sampled_from("abcdxyzABCßİſK ςΣ\"'*(){}:^-+\n\x00\x1b[m\u202e\ud800éЖ日本語"), max_size=30)


@settings(max_examples=15)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=6), st.data())
def test_search_finds_exactly_the_steps_that_hold_a_word(
    texts: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "runs", "run", "task", "method", "0")
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text('{"task": "task", "agent": "nop"}')
        with (folder / "steps.jsonl").open("w") as file:
            for n, (command, thought, seen) in enumerate(texts, 1):
                action = Action(tool="bash", args={"command": command}, thought=thought)
                file.write(Step(n=n, action=action, observation=Observation(text=seen)).model_dump_json() + "\n")
        lines = (folder / "steps.jsonl").read_bytes().splitlines()
        shown = [dict(zip(FIELDS, searched(line), strict=True)) for line in lines]
        field = data.draw(st.sampled_from(FIELDS))
        whole = data.draw(st.sampled_from([each[field] for each in shown]))
        start = data.draw(st.integers(0, len(whole)))
        query = data.draw(st.sampled_from([whole[start : start + 9], whole[start : start + 9].upper()])).replace(
            '"', ""
        )
        within = data.draw(st.sampled_from([field, "all"]))
        wanted = [
            n
            for n, each in enumerate(shown, 1)
            if query.strip()
            and any(fold(visible(query)) in fold(each[name]) for name in (FIELDS if within == "all" else [field]))
        ]
        for store in (opened(Path(place)), Store([Path(place, "runs")])):
            assert [n for _, n in found(store, f'"{query}"', within=within, limit=2)] == wanted
            assert store.index is None or (store.index.sound and not store.index.made)
            store.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("search")
    steps = [
        step(1, "bash", "x" * ENDS + " middle " + "y" * ENDS + " tail", command="head -n 5", thought="Look at it."),
        step(2, "bash", "loss 0.25\n\tand <b>loss</b> 0.125", command="python train.py"),
        step(3, "create", "", path="a.py", text="import numpy"),
    ]
    episode(folder / "runs" / "run", steps=steps)
    episode(folder / "runs" / "other", steps=[step(1, "bash", "loss of another")])
    made = opened(folder)
    yield made
    made.close()


def test_words_and_phrases(store: Store) -> None:
    def numbers(query: str, **how: Any) -> list[int]:
        return [n for key, n in found(store, query, **how) if key == KEY]

    assert numbers("LOSS 0.125") == numbers("0.125 loss") == [2] and numbers('"loss 0.125"') == []
    assert numbers('"<b>loss"') == [2] and numbers("loss", within="action") == [] and numbers("numpy") == [3]
    assert numbers("look", within="thought") == numbers("look") == [1]
    assert numbers("head look") == []  # each field by itself
    assert numbers("tail") == [1] and numbers("middle") == [] and numbers("yx") == []
    assert numbers("5") == [1, 2] and numbers("py") == [2, 3] and numbers("create") == [3]
    assert found(store, "loss", run="other") == [("other/duel-s0-d0.2/tuner/0", 1)] and len(found(store, "loss")) == 2
    assert len(store.search("loss", limit=1)["hits"]) == 1 and len(found(store, "loss", limit=1)) == 2


def test_a_snippet_is_spans(store: Store) -> None:
    (hit,) = store.search('"<b>LOSS"')["hits"]
    assert hit == {
        **{"key": KEY, "n": 2, "field": "observation"},
        "snippet": [["", "loss 0.25 and "], ["hit", "<b>loss"], ["", "</b> 0.125"]],
    }
    (hit,) = store.search("tail")["hits"]
    assert hit["snippet"] == [["", "…"], ["", "y" * 59 + " "], ["hit", "tail"]]


@settings(max_examples=40)
@given(st.text(max_size=40), st.text(max_size=20), st.sampled_from(["all", *FIELDS]))
@example("x" * 10_000, "", "all")
@example("word " * 90, "", "all")
@example("a" * QUERY, "9" * 30, "all")
@example('"', "~", "all")
@example('NEAR(a b, 5) AND "x*" OR {action}: -y ^z', "~99999999999999999999 \x00", "thought")
@example("\x00\x00\x00 \ud800\ud800\ud800", "-1", "all")
@example("', --\n/* abc */ DROP TABLE words;", "1; DROP", "observation")
def test_hostile_queries_are_answered(store: Store, query: str, after: str, within: str) -> None:
    told = store.search(query, within=within, after=after)
    assert told.keys() == {"hits", "more", "after", "note"}
    assert told["hits"] or told["more"] or isinstance(told["note"], str)
    assert store.index and store.index.sound and store.index.made == 0


def test_what_cannot_be_asked(store: Store) -> None:
    assert "at most 500 characters" in store.search("x" * 501)["note"]
    assert "Type" in store.search(' "" ')["note"]
    with pytest.raises(UsageError, match="not in 'nowhere'"):
        store.search("x", within="nowhere")
    with pytest.raises(UsageError, match="no run 'gone'"):
        store.search("x", run="gone")


def test_a_long_episode_is_read_in_parts(tmp_path: Path) -> None:
    from benchmarks.viewing_store import long

    folder = long(tmp_path / "runs", 0.5, 60)
    store = opened(tmp_path)
    (key,) = store.keys
    lines = (folder / "steps.jsonl").read_bytes().splitlines()
    assert store.lines(key, STEPS).lines(30, 3) == lines[29:32] and store.lines(key, CALLS).lines(60, 9) != []
    assert found(store, '"needle in the first half"') == [(key, 30)]
    for kind, name, read in ((STEPS, "steps.jsonl", fact), (CALLS, "calls.jsonl", call)):
        plain: Growing[Any] = Growing(folder / name, read)
        plain.look()
        assert store.index and store.index.facts(str(folder), kind) == (plain._mark, plain.offsets, plain.facts)
    store.close()


def test_the_made_store_is_like_a_real_one(tmp_path: Path) -> None:
    from benchmarks.viewing_store import many

    steps = many(tmp_path / "runs", 12)
    store = opened(tmp_path)
    told = store.episodes()
    assert {row[told["columns"].index("state")] for row in told["rows"]} <= {"done", "failed"} and len(store.keys) == 12
    assert sum(len(store.lines(key, STEPS).now()) for key in store.keys) == steps
    assert all(Episode.read(store.folder(key)).steps() and Episode.read(store.folder(key)).result for key in store.keys)
    store.close()
