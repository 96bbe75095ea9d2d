"""The workspace's files at a step: as recorded, and retraced where they were not."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mlgym.errors import UsageError
from mlgym.importers import import_runs
from mlgym.records import LARGE, Action, Attempt, Changes, EpisodeSpec, Observation, Step
from mlgym.store import Episode, episode_folder
from mlgym.task import load_task
from mlgym.viewer.changes import changed
from mlgym.viewer.files import content, listing
from mlgym.viewer.folder import Folder
from mlgym.viewer.store import Store
from tests.originals import WORKSPACE, recorded_run

GAME = "battle-of-sexes"
START = (load_task(GAME).workspace / "strategy.py").read_bytes()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def opened(run: Path) -> Folder:
    store = Store([run])
    return Folder(store, *store.keys)


class Made:
    """An episode written by hand, step by step."""

    def __init__(self, run: Path, *, recorded: bool = True) -> None:
        made = EpisodeSpec(task=GAME, agent="tuner")
        self.run, self.recorded, self.n = run, recorded, 0
        self.store = Episode.open(episode_folder(run, made), made)
        if recorded:
            self.store.add_changes(Changes(n=0, files={"strategy.py": sha(START)}), {sha(START): START})

    def step(self, action: Action, text: str = "", files: dict[str, bytes | str] | None = None, **more: Any) -> None:
        self.n += 1
        seen = {key: more.pop(key) for key in ("status", "validation") if key in more}
        marks = more.get("marks", ())
        if self.recorded and (files or marks):
            contents = {sha(data): data for data in (files or {}).values() if isinstance(data, bytes)}
            told = {name: sha(data) if isinstance(data, bytes) else data for name, data in (files or {}).items()}
            whole = more.pop("whole", True)
            self.store.add_changes(Changes(n=self.n, files=told, marks=marks, whole=whole), contents)
        self.store.add_step(Step(n=self.n, action=action, observation=Observation(text=text, **seen), **more))

    def folder(self) -> Folder:
        self.store.close()
        return opened(self.run)


def bash(command: str) -> Action:
    return Action(tool="bash", args={"command": command})


def test_recorded_files_at_each_step(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.step(bash("ls"))
    made.step(bash("sed -i …"), files={"strategy.py": START + b"x = 1\n", "new.py": b"1\n2\n"})
    made.step(bash("rm …"), files={"strategy.py": "", "new.py": b"1\n3\n"}, marks=("+a",))
    made.step(bash("true"), marks=("-a",))
    made.step(bash("python …"), files={"new.py": LARGE, "b\u202e.py": b"\0"})
    made.step(bash("rm b*.py"), files={"b\u202e.py": ""})
    made.step(bash("true"))
    of = made.folder()
    assert listing(of, 1) == {
        "step": 1,
        "exact": True,
        "files": [{"path": "strategy.py", "size": len(START), "change": "same", "since": 0, "how": "starter"}],
        "note": "",
    }
    at = {
        n: {row["path"]: (row["change"], row["since"], row["how"]) for row in listing(of, n)["files"]} for n in range(8)
    }
    assert at[2] == {"new.py": ("added", 2, "recorded"), "strategy.py": ("modified", 2, "recorded")}
    assert at[3] == {"new.py": ("added", 3, "recorded"), "strategy.py": ("removed", 3, "recorded")}
    assert at[4] == at[2], "what is gone back to is what it was"
    assert at[5]["b⟨U+202E⟩.py"] == ("added", 5, "recorded")
    assert at[6]["b⟨U+202E⟩.py"] == ("removed", 6, "recorded") and "b⟨U+202E⟩.py" not in at[7]
    lines = START.count(b"\n")
    rows = changed(of, 1, 5)
    assert rows[2] == [
        {"path": "new.py", "change": "added", "plus": 2, "minus": 0},
        {"path": "strategy.py", "change": "modified", "plus": 1, "minus": 0},
    ]
    assert rows[3][1] == {"path": "strategy.py", "change": "removed", "plus": 0, "minus": lines + 1}
    assert 4 not in rows, "going back is not the step's doing"
    assert rows[5][1] == {"path": "new.py", "change": "modified", "plus": None, "minus": None}
    (hunk,) = content(of, 3, "new.py", "previous")["hunks"]
    assert [row[0] for row in hunk["lines"]] == ["=", "-", "+"]
    (hunk,) = content(of, 3, "new.py", "starter")["hunks"]
    assert [row[0] for row in hunk["lines"]] == ["+", "+"]
    assert content(of, 2, "strategy.py", "none")["hunks"] is None
    assert content(of, 2, "strategy.py")["spans"][-1] == [["", "x "], ["o", "="], ["", " "], ["n", "1"]]
    gone = content(of, 3, "strategy.py", "previous")
    assert gone["size"] == 0 and {row[0] for hunk in gone["hunks"] for row in hunk["lines"]} == {"-"}
    assert content(of, 5, "b⟨U+202E⟩.py")["binary"]
    assert "too large" in content(of, 5, "new.py", "previous")["note"]
    for step, path in ((9, "new.py"), (1, "none.py"), (1, "../spec.json")):
        with pytest.raises(UsageError):
            content(of, step, path)


def test_records_that_somebody_has_changed(tmp_path: Path) -> None:
    """Digests that are none, links out of the folder, lines that are no records: said, not followed."""
    made = Made(tmp_path)
    made.step(bash("x"), files={"a.py": "../../spec", "b.py": "é", "c.py": "0" * 64, "../d.py": b"1"}, whole=False)
    of = made.folder()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    made.store.file("0" * 64).symlink_to(secret)
    for path in ("a.py", "b.py", "c.py"):
        assert content(of, 1, path)["note"] == "The content of the file at this step was not kept."
    assert "Not all" in listing(of, 1)["note"]
    with (of.folder / "changes.jsonl").open("a") as file:
        file.write('{"n": "x"}\n')
    again = opened(tmp_path)
    assert listing(again, 1)["exact"] and again.problems == ["Line 3 of changes.jsonl cannot be read."]


def test_files_that_were_not_recorded_are_retraced(tmp_path: Path) -> None:
    made = Made(tmp_path, recorded=False)
    made.step(bash("cat > new.py <<'EOF'\na = 1\nb = 2\nEOF"))
    made.step(Action(tool="str_replace", args={"path": "new.py", "old": "a = 1", "new": "a = 3"}))
    made.step(Action(tool="str_replace", args={"path": "new.py", "old": "none", "new": ""}), status="error")
    made.step(bash("mv x.json strategy.py"))
    graded = {"strategy.py": b"graded\n"}
    made.store.file(sha(b"graded\n")).write_bytes(b"graded\n")
    made.step(Action(tool="validate"), attempt=0)
    attempt = Attempt(n=0, step=5, kind="validate", files={k: sha(v) for k, v in graded.items()}, valid=True)
    made.store.add_attempt(attempt)
    of = made.folder()
    found = listing(of, 2)
    assert not found["exact"] and "worked out" in found["note"]
    rows = {row["path"]: (row["change"], row["since"], row["how"]) for row in found["files"]}
    assert rows == {"new.py": ("added", 2, "edit"), "strategy.py": ("same", 0, "starter")}
    (hunk,) = content(of, 2, "new.py", "previous")["hunks"]
    assert [(row[0], "".join(text for _, text in row[3])) for row in hunk["lines"]][:2] == [
        ("-", "a = 1"),
        ("+", "a = 3"),
    ]
    assert changed(of, 1, 5) == {
        1: [{"path": "new.py", "change": "added", "plus": 2, "minus": 0}],
        2: [{"path": "new.py", "change": "modified", "plus": 1, "minus": 1}],
    }
    assert "Step 4 ran a command that may have changed strategy.py." in listing(of, 4)["note"]
    last = {row["path"]: (row["change"], row["since"], row["how"]) for row in listing(of, 5)["files"]}
    assert last["strategy.py"] == ("modified", 5, "attempt") and "Step 4" not in listing(of, 5)["note"]


def window(*lines: str) -> str:
    rows = "\n".join(f"{n}:{line}" for n, line in enumerate(lines, 1))
    return f"[File: {WORKSPACE}/strategy.py ({len(lines)} lines total)]\n{rows}"


def test_an_imported_run_is_retraced_from_its_windows(tmp_path: Path) -> None:
    """The starter is what was seen first, not that of our own task."""
    steps = [
        ("open strategy.py\n", window("a = 1", "b = 2")),
        ("edit 1:1\na = 5\nend_of_edit\n", window("a = 5", "b = 2") + "\nFile updated."),
        ("submit\n", ""),
    ]
    recorded_run(tmp_path / "in", steps, [1.05])
    list(import_runs(tmp_path / "in", tmp_path / "run"))
    of = opened(tmp_path / "run")
    assert listing(of, 1)["files"] == [
        {"path": "strategy.py", "size": 12, "change": "same", "since": 0, "how": "starter"}
    ]
    assert changed(of, 1, 3) == {2: [{"path": "strategy.py", "change": "modified", "plus": 1, "minus": 1}]}
    assert content(of, 3, "strategy.py", "starter")["hunks"]


def test_answers_are_json_and_quick_for_many_steps(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.store.close()
    rows = [Changes(n=n, files={"strategy.py": f"{n:064x}"}).model_dump_json() for n in range(1, 3001)]
    with (made.store.folder / "changes.jsonl").open("a") as file:
        file.write("\n".join(rows) + "\n")
    step = Step(n=1, action=bash("x"), observation=Observation(text="")).model_dump_json()
    (made.store.folder / "steps.jsonl").write_text((step + "\n") * 3000)
    of = opened(tmp_path)
    assert [listing(of, n)["files"][0]["since"] for n in range(0, 3001, 100)] == list(range(0, 3001, 100))
    assert json.dumps(changed(of, 100, 300))
