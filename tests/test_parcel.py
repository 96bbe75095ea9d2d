"""An episode's folder that is sent: the same arrives, what stays stays, and nothing else is taken."""

import fcntl
import hashlib
from pathlib import Path

import pytest

from mlgym.beside import CANCELLED
from mlgym.errors import InUse
from mlgym.launchers.parcel import laid, packed
from mlgym.sandbox.tar import SubmissionRefused, write_tar
from tests.jobs import spec

BLOB = hashlib.sha256(b"blob").hexdigest()


def episode(folder: Path, **more: str) -> Path:
    files = {
        "spec.json": spec(1).model_dump_json(),
        "steps.jsonl": "one\n",
        "calls.jsonl": "call\n",
        "attempts/0001.json": "{}",
        f"attempts/files/{BLOB}": "blob",
        **more,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_same_arrives(tmp_path: Path) -> None:
    there = episode(tmp_path / "there", **{"result.json": "{}", "lock": "", CANCELLED: "{}", "steps.jsonl.part7": "o"})
    here = tmp_path / "here" / "1"
    laid(packed(there), here, spec(1))
    assert names(here) == names(there) - {CANCELLED, "steps.jsonl.part7"}
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in names(here))


def test_what_is_older_here_goes_and_what_is_of_here_stays(tmp_path: Path) -> None:
    old = {"result.json": "old", "attempts/0002.json": "old", "lock": "", CANCELLED: "mine"}
    here = episode(tmp_path / "here", **old)
    laid(packed(episode(tmp_path / "there", **{"steps.jsonl": "one\ntwo\n"})), here, spec(1))
    assert names(here) == {"spec.json", "steps.jsonl", "calls.jsonl", "attempts/0001.json", "lock", CANCELLED} | {
        f"attempts/files/{BLOB}"
    }
    assert (here / "steps.jsonl").read_text() == "one\ntwo\n" and (here / CANCELLED).read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"spec.json": spec(2).model_dump_json()}, "not the folder of the episode"),
        ({CANCELLED: "{}"}, "not the folder of the episode"),
        ({"lock": ""}, "not the folder of the episode"),
        ({"attempts/files/" + "0" * 64: "other"}, "is not what its name says"),
    ],
)
def test_another_s_is_refused(tmp_path: Path, more: dict[str, str], said: str) -> None:
    here = episode(tmp_path / "here")
    with pytest.raises(SubmissionRefused, match=said):
        laid(write_tar(episode(tmp_path / "there", **{**more, "steps.jsonl": "two\n"})), here, spec(1))
    assert (here / "steps.jsonl").read_text() == "one\n"


def test_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubmissionRefused):
        laid(b"not an archive", tmp_path / "here", spec(1))
    assert not (tmp_path / "here").exists()


def test_one_that_runs_here_is_left_alone(tmp_path: Path) -> None:
    here = episode(tmp_path / "here")
    with (here / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InUse):
            laid(packed(episode(tmp_path / "there", **{"steps.jsonl": "two\n"})), here, spec(1))
    assert (here / "steps.jsonl").read_text() == "one\n"
