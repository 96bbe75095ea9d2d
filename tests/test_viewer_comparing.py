"""The files of two submissions against each other, and the fingerprint that tells two actions apart."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mlgym.errors import UsageError
from mlgym.records import Attempt, EpisodeSpec, Result
from mlgym.store import Episode, episode_folder
from mlgym.viewer.comparing import difference, handed_in, listing
from mlgym.viewer.folder import Folder
from mlgym.viewer.lines import deed
from mlgym.viewer.store import Store

GAME = "battle-of-sexes"


def handed(run: Path, seed: int, *tries: dict[str, bytes], kind: str = "submit", **more: Any) -> Folder:
    """An episode whose attempts had these files, the last of them the one that counts unless it has not ended."""
    spec = EpisodeSpec(task=GAME, agent="tuner", seed=seed)
    episode = Episode.open(episode_folder(run, spec), spec)
    attempts = []
    for n, files in enumerate(tries):
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        for name, digest in digests.items():
            episode.file(digest).write_bytes(files[name])
        last = n == len(tries) - 1
        fields = {"kind": kind if last else "validate", "validation": {"score": 1.0 - n}, **more}
        attempts.append(Attempt(n=n, step=n + 1, files=digests, valid=True, **fields))
        episode.add_attempt(attempts[-1])
    if kind == "submit":
        episode.finish(Result(ended="submitted", metric="score", attempts=tuple(attempts)))
    episode.close()
    store = Store([run])
    return Folder(store, next(key for key in store.keys if store.folder(key) == episode.folder))


def test_files_are_the_same_differ_or_are_on_one_side(tmp_path: Path) -> None:
    a = handed(tmp_path, 0, {"x.py": b"a\nb\nc\n", "same.py": b"1\n", "only.py": b"2\n"})
    b = handed(tmp_path, 1, {"x.py": b"a\nB\nc\n", "same.py": b"1\n", "other.py": b"33\n"})
    told = {row["path"]: (row["change"], row["sizes"]) for row in listing(a, b)["files"]}
    assert told == {
        "only.py": ("left", [2, None]),
        "other.py": ("right", [None, 3]),
        "same.py": ("same", [2, 2]),
        "x.py": ("changed", [6, 6]),
    }
    (hunk,) = difference(a, b, "x.py")["hunks"]
    assert [row[0] for row in hunk["lines"]] == ["=", "-", "+", "="]
    ends = [handed(tmp_path / "ends", seed, {"x.py": text}) for seed, text in enumerate((b"1\n", b"1\r\n"))]
    assert difference(*ends, "x.py") == {"path": "x.py", "hunks": [], "note": "They differ only in how lines end."}
    (alone,) = difference(a, b, "other.py")["hunks"]
    assert [row[0] for row in alone["lines"]] == ["+"]


def test_the_submission_counts_and_until_then_the_best_attempt(tmp_path: Path) -> None:
    ended = handed(tmp_path, 0, {"x.py": b"first"}, {"x.py": b"second"})
    assert handed_in(ended) == {"x.py": hashlib.sha256(b"second").hexdigest()}
    running = handed(tmp_path, 1, {"x.py": b"first"}, {"x.py": b"second"}, kind="validate")
    assert handed_in(running) == {"x.py": hashlib.sha256(b"first").hexdigest()}


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    a = handed(tmp_path, 0, {"x.bin": b"\0", "gone.py": b"a", "long.py": b"\n" * 5001})
    b = handed(tmp_path, 1, {"x.bin": b"\0\1", "gone.py": b"b", "long.py": b"1\n"})
    Episode(a.folder).file(hashlib.sha256(b"a").hexdigest()).unlink()
    assert difference(a, b, "x.bin") == {"path": "x.bin", "hunks": None, "note": "The file is not text."}
    assert "let go" in difference(a, b, "gone.py")["note"]
    assert "5,000 lines" in difference(a, b, "long.py")["note"]
    with pytest.raises(UsageError, match="Neither of the two"):
        difference(a, b, "../../spec.json")
    none = handed(tmp_path, 2, {})
    assert listing(a, none)["note"] == f"No files were kept of what {none.key} handed in."


def test_only_what_was_stored_is_read(tmp_path: Path) -> None:
    """A record may name anything, and what is stored may be a link."""
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    a = handed(tmp_path / "run", 0, {"x.py": b"a", "y.py": b"b"})
    b = handed(tmp_path / "run", 1, {"x.py": b"c", "y.py": b"d"})
    link = Episode(a.folder).file(a.attempts[-1].files["x.py"])
    link.unlink()
    link.symlink_to(secret)
    wrong = {"x.py": a.attempts[-1].files["x.py"], "y.py": "../../../../../secret"}
    a.attempts[-1] = a.attempts[-1].changed(files=wrong)
    assert {row["path"]: row["sizes"] for row in listing(a, b)["files"]} == {"x.py": [None, 1], "y.py": [None, 1]}
    assert all("let go" in difference(a, b, path)["note"] for path in wrong)


def test_a_fingerprint_tells_actions_apart() -> None:
    write = {"path": "x", "content": "1" * 500}
    assert deed("create", write) == deed("create", dict(reversed(write.items())))
    assert len({deed("create", write), deed("create", {**write, "content": "1" * 501}), deed("bash", write)}) == 3
