"""Runs that were made to stop or to mislead who looks at them: pipes and links for files, long lines, slow texts."""

import os
import sqlite3
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest

from mlgym.errors import UsageError
from mlgym.records import Action, Attempt, Changes, EpisodeSpec, Observation, Step
from mlgym.store import Episode, episode_folder, states
from mlgym.viewer import changes, lines
from mlgym.viewer.documents import answer
from mlgym.viewer.folder import Folder
from mlgym.viewer.index import Index
from mlgym.viewer.store import Store

GAME = "battle-of-sexes"
SHA = "a" * 64
ASKED = "runs", "episodes", "search?q=secret", "", "steps", "step/1", "calls", "call/1", "files?step=1", "compare/files"


def episode(run: Path, text: str = "seen") -> Path:
    """An episode with a step and an attempt; its folder."""
    made = EpisodeSpec(task=GAME, agent="tuner")
    with_store = Episode.open(episode_folder(run, made), made)
    with_store.add_changes(Changes(n=0, files={"a.py": SHA}), {})
    with_store.add_step(
        Step(n=1, action=Action(tool="bash", args={"command": "ls"}), observation=Observation(text=text))
    )
    with_store.add_attempt(Attempt(n=1, step=1, kind="validate", valid=True, files={"a.py": SHA}))
    with_store.close()
    return with_store.folder


def opened(run: Path) -> Folder:
    """The only episode of a run."""
    store = Store([run])
    return Folder(store, *store.keys)


def all_answers(store: Store, key: str) -> str:
    """All documents as one text; what is refused is in it as its sentence."""
    told = []
    for asked in (*ASKED, "file?path=a.py", "compare/file?path=a.py"):
        path, _, query = asked.partition("?")
        given = dict(part.split("=") for part in query.split("&") if part) | {"step": "1", "a": key, "b": key}
        whole = path if path in ("runs", "episodes", "search") or "compare" in path else f"e/{key}/{path}".rstrip("/")
        try:
            told.append(repr(answer(store, whole, given)))
        except UsageError as error:
            told.append(str(error))
    return "\n".join(told)


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_pipes_and_links_are_no_files(tmp_path: Path, kind: str) -> None:
    """A pipe would be waited for, a link show what is not the run's."""
    (tmp_path / "outside").write_text("a secret\n")
    places = ("steps.jsonl", "calls.jsonl", "changes.jsonl", "result.json", "attempts/0001.json", "failed.jsonl")
    for n, place in enumerate((*places, f"attempts/files/{SHA}", "/protocol.lock", "/drivers/x.json", "/cells.jsonl")):
        run = tmp_path / str(n) / "run"
        path = run / place[1:] if place[0] == "/" else episode(run) / place
        if place[0] == "/":
            episode(run)
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path) if kind == "pipe" else path.symlink_to(tmp_path / "outside")
    code = (
        "import sys; from pathlib import Path; from tests.test_viewer_hostile import Store, all_answers\n"
        "store = Store([sys.argv[1]])\nfor key in store.keys: print(key, all_answers(store, key))"
    )
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join([f"{root}/src", root])
    argv = [sys.executable, "-c", code, str(tmp_path)]
    ran = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, timeout=60, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("'exact'") >= 9 and "a secret" not in ran.stdout


def test_a_line_that_is_too_long_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE", 10)
    data = b"123456789\n" + b"x" * 25 + b"\n" + b"a\n" + b"y" * 25
    assert list(lines.whole(BytesIO(data))) == [(b"123456789\n", 10), (b"\n", 26), (b"a\n", 2)]
    (tmp_path / "x").write_bytes(data)
    grown = lines.Growing(tmp_path / "x", lambda n, line: line)
    grown.look()
    assert grown.now() == [b"123456789", b"", b"a"] and grown.lines(3, 1) == [b"a"]
    monkeypatch.setattr(lines, "TOGETHER", 20)
    assert grown.lines(1, 3) == [b""] * 3 and grown.lines(3, 1) == [b"a"]


@pytest.mark.parametrize(
    "piece", ["\n", "rm ", "sed -sed ", "a" * 1990 + "\n", "a.", "; ", "cat a <<A\n", "python -b "]
)
def test_commands_that_were_made_to_be_slow_are_not(piece: str) -> None:
    code = (
        "import sys; from mlgym.records import Action, Observation, Step; from mlgym.viewer.known import Known\n"
        "text = sys.argv[1] * (200_000 // len(sys.argv[1]))\n"
        "known = Known(); known._files = dict.fromkeys(map(str, range(1000)))\n"
        "for _ in range(5): known.take(Step(n=1, action=Action(tool='bash', args={'command': text}), "
        "observation=Observation(text='')))"
    )
    path = str(Path(__file__).parent.parent / "src")
    subprocess.run([sys.executable, "-c", code, piece], env={**os.environ, "PYTHONPATH": path}, timeout=60, check=True)


def test_counts_of_lines_have_a_time_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = episode(tmp_path)
    store = Episode(folder)
    store.file(SHA).write_text("1\n")
    with (folder / "changes.jsonl").open("a") as file:
        file.write(Changes(n=1, files={"b.py": SHA}).model_dump_json() + "\n")
    of = opened(tmp_path)
    assert changes.changed(of, 1, 1)[1] == [{"path": "b.py", "change": "added", "plus": 1, "minus": 0}]
    monkeypatch.setattr(changes, "BUDGET_S", -1.0)
    assert changes.changed(of, 1, 1)[1] == [{"path": "b.py", "change": "added", "plus": None, "minus": None}]


def test_files_that_are_gone_are_not_kept_for_ever() -> None:
    told = [Changes(n=0, files={"start": SHA})]
    for n in range(1, 50):
        told.append(Changes(n=n, files={f"a{n}": SHA, f"a{n - 1}": "", **({"start": ""} if n == 1 else {})}))
    found = list(states(told, lambda _, digest: digest))
    assert found[-1][1] == {"start": "", "a48": SHA}, "one of the start is told of still"
    assert found[-1][2] == {"start": "", "a48": "", "a49": SHA}, "and one that this step removed"


def test_more_states_than_can_be_held_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = episode(tmp_path)
    with (folder / "changes.jsonl").open("a") as file:
        for n in range(1, 9):
            file.write(Changes(n=n, files={f"{n}.py": SHA}).model_dump_json() + "\n")
    monkeypatch.setattr(changes, "TOGETHER", 10)
    of = opened(tmp_path)
    assert len(changes.history(of).after(8)) == 4
    assert of.problems == ["changes.jsonl is shown up to step 3 only: it tells of too many files."]


def test_an_index_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    index = Index(tmp_path / "cache", [tmp_path])
    assert not index.sound and "others can write" in index.trouble
    (tmp_path / "cache").chmod(0o700)
    assert Index(tmp_path / "cache", [tmp_path]).sound
    assert sqlite3.connect(index.path).execute("SELECT count(*) FROM episodes").fetchone() == (0,)


def test_long_differences_are_for_one_card_alone(tmp_path: Path) -> None:
    """The cards of many steps come soon, however much each of them writes."""
    made = EpisodeSpec(task=GAME, agent="tuner")
    store = Episode.open(episode_folder(tmp_path, made), made)
    for n, text in enumerate(("x\n" * 20_000, "y\n" + "x\n" * 20_000), 1):
        action = Action(tool="create", args={"path": "a.py", "content": text})
        store.add_step(Step(n=n, action=action, observation=Observation(text="Made.")))
    store.close()
    seen = Store([tmp_path])
    (key,) = seen.keys
    among = answer(seen, f"e/{key}/steps", {})["steps"][1]["action"]
    assert among["hunks"] is None and among["folded"] and among["spans"]
    assert answer(seen, f"e/{key}/step/2", {})["action"]["lines"] == 20_001
