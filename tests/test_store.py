"""The store: torn lines, refusals, attempts by content, pruning."""

import hashlib
import json
from pathlib import Path

import pytest

from mlgym.errors import StorageError, UsageError
from mlgym.records import Action, Attempt, EpisodeSpec, Message, Observation, Reply, Result, Step
from mlgym.store import Episode, episode_folder, episodes, method, slug

SPEC = EpisodeSpec(task="blotto", agent="tuner?trials=3")


def step(n: int) -> Step:
    return Step(n=n, action=Action(tool="bash", args={"command": "ls"}), observation=Observation(text="a\nb"))


def test_steps_survive_and_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    store = Episode.open(tmp_path, SPEC)
    for n in (1, 2):
        store.add_step(step(n))
    store.close()
    whole = (tmp_path / "steps.jsonl").read_bytes()
    for cut in range(len(whole) // 2, len(whole) + 1):
        (tmp_path / "steps.jsonl").write_bytes(whole[:cut])
        assert Episode.read(tmp_path).steps() == ([step(1), step(2)] if cut == len(whole) else [step(1)])
        again = Episode.open(tmp_path, SPEC)
        again.add_step(step(3))
        again.close()
        assert Episode.read(tmp_path).steps()[-1] == step(3)


def test_a_folder_of_another_episode_is_refused(tmp_path: Path) -> None:
    store = Episode.open(tmp_path, SPEC.changed(tools="moden"))  # a mistake that came to nothing
    store.close()
    store = Episode.open(tmp_path, SPEC)
    store.add_step(step(1))
    store.close()
    with pytest.raises(UsageError, match="seed"):
        Episode.open(tmp_path, SPEC.changed(seed=1))


def test_an_unscored_result_is_put_aside_with_the_steps_that_failed(tmp_path: Path) -> None:
    store = Episode.open(tmp_path, SPEC)
    store.add_step(step(1))
    store.add_attempt(Attempt(n=0, step=1, kind="validate", valid=True))
    store.add_step(step(2).changed(reward=None))
    store.add_attempt(Attempt(n=1, step=2, kind="end", valid=True))
    store.finish(Result(ended="error", boundary="model", scored=False))
    store.close()
    again = Episode.open(tmp_path, SPEC)
    assert (again.result, again.steps(), [a.n for a in again.attempts()]) == (None, [step(1)], [0])
    again.close()


def test_a_broken_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(UsageError, match=r"spec\.json"):
        Episode.read(tmp_path).spec  # noqa: B018


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Episode.open(tmp_path, SPEC)
    with pytest.raises(UsageError, match="Another process"):
        Episode.open(tmp_path, SPEC)
    first.close()
    Episode.open(tmp_path, SPEC).close()


def test_calls_store_only_what_is_new(tmp_path: Path) -> None:
    store = Episode.open(tmp_path, SPEC)
    a, b, c = (Message(role="user", content=x) for x in "abc")
    store.add_call([a], [], Reply(text="1"))
    store.add_call([a, b], [], Reply(text="2"))
    store.add_call([a, c], [], Reply(text="3"))
    store.close()
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [(call["keep"], [m["content"] for m in call["messages"]]) for call in calls] == [
        (0, ["a"]),
        (1, ["b"]),
        (1, ["c"]),
    ]
    assert [reply.text for reply in store.replies()] == ["1", "2", "3"]


def frozen(folder: Path, text: str) -> tuple[Path, str]:
    folder.mkdir()
    (folder / "s.py").write_text(text)
    return folder, hashlib.sha256(text.encode()).hexdigest()


def test_attempts_keep_their_files_by_content(tmp_path: Path) -> None:
    store = Episode.open(tmp_path / "e", SPEC)
    for n, text in enumerate(["x", "y", "x"]):
        folder, digest = frozen(tmp_path / str(n), text)
        store.add_attempt(Attempt(n=n, step=n, kind="validate", files={"s.py": digest}, valid=True), [folder])
    assert len(list((tmp_path / "e/attempts/files").iterdir())) == 2
    (tmp_path / "out").mkdir()
    assert (store.checkout(store.attempts()[2].files, tmp_path / "out") / "s.py").read_text() == "x"
    store.close()


def test_pruning_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    store = Episode.open(tmp_path / "e", SPEC)
    for n in range(4):
        folder, digest = frozen(tmp_path / str(n), str(n) * 100)
        store.add_attempt(Attempt(n=n, step=n, kind="validate", files={"s.py": digest}, valid=True), [folder])
    attempts = store.attempts()
    store.prune([attempts[0], attempts[3]], limit=250)
    left = {p.name for p in (tmp_path / "e/attempts/files").iterdir()}
    assert left == {attempts[0].files["s.py"], attempts[3].files["s.py"]}
    with pytest.raises(FileNotFoundError):
        store.checkout(attempts[1].files, tmp_path / "1")
    store.close()


def test_result_and_places(tmp_path: Path) -> None:
    folder = episode_folder(tmp_path, SPEC)
    store = Episode.open(folder, SPEC)
    assert store.result is None
    store.finish(Result(ended="submitted"))
    store.close()
    assert Episode.read(folder).result == Result(ended="submitted")
    assert list(episodes(tmp_path)) == list(episodes(folder)) == [folder]
    with pytest.raises(UsageError, match="no episode"):
        Episode.read(tmp_path)


def test_slugs_are_safe_and_distinct() -> None:
    assert slug("a/b") != slug("a b") and "/" not in slug("../x")
    assert method(SPEC) != method(SPEC.changed(agent="tuner?trials=4"))
    assert slug("tuner") == "tuner"


def test_what_a_kill_left_half_written_is_taken_away(tmp_path: Path) -> None:
    store = Episode.open(tmp_path, SPEC)
    store.add_step(step(1))
    store.close()
    for name in ("spec.json.part7", "result.json.part7", "attempts/0000.json.part7", "attempts/files/ab.part7"):
        (tmp_path / name).write_text("{")
    (tmp_path / "result.json").write_bytes(b"")
    again = Episode.open(tmp_path, SPEC)
    assert again.result is None and again.steps() == [step(1)]
    assert not list(tmp_path.rglob("*.part*"))
    again.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_after_a_write_that_failed_nothing_more_is_written(tmp_path: Path) -> None:
    store = Episode.open(tmp_path, SPEC)
    (tmp_path / "calls.jsonl").symlink_to("/dev/full")
    for _ in range(2):
        with pytest.raises(StorageError, match="is full"):
            store.add_call([], [], Reply(text="1"))
    with pytest.raises(StorageError, match="is full"):
        store.add_step(step(1))
    store.close()
    assert Episode.read(tmp_path).steps() == []
