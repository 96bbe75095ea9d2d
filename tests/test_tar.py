"""The reader of archives: what it takes, what it refuses, and that it never writes outside."""

import contextlib
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgym.sandbox.tar import BLOCK, SubmissionRefused, read_tar, write_tar

MB = 1 << 20
Member = tuple[str, bytes | str | None]


def archive(*members: Member, kind: bytes = tarfile.REGTYPE, form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of (name, contents): bytes for a file, None for a folder, text for a link to it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, contents in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if isinstance(contents, bytes):
                member.size = len(contents)
            elif contents is None:
                member.type = tarfile.DIRTYPE
            else:
                member.type, member.linkname = tarfile.SYMTYPE, contents
            tar.addfile(member, io.BytesIO(contents) if isinstance(contents, bytes) else None)
    return out.getvalue()


def refusal(data: bytes, into: Path, max_bytes: int = MB, max_files: int = 20) -> str:
    with pytest.raises(SubmissionRefused) as caught:
        read_tar(data, into, max_bytes, max_files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_files_and_folders(tmp_path: Path, form: int) -> None:
    long = "/".join(["n" * 60] * 3)
    members = [("a.txt", b"one"), ("d/e", b""), ("empty", None), ("./f", b"x" * 5000)]
    members += [(long, b"long")] + ([("ä/" + "ö" * 80, b"wide")] if form != tarfile.USTAR_FORMAT else [])
    found = read_tar(archive(*members, form=form), tmp_path / "out", MB, 20)
    wanted = {name.removeprefix("./"): data for name, data in members if data is not None}
    assert found == {name: hashlib.sha256(data).hexdigest() for name, data in wanted.items()}
    assert {name: (tmp_path / "out" / name).read_bytes() for name in wanted} == wanted
    assert (tmp_path / "out" / "empty").is_dir()


def test_what_is_written_can_be_read_by_all_and_run_by_none(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        read_tar(archive(("d/a", b"1")), tmp_path / "out", MB, 9)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o7777 for path in (tmp_path / "out", tmp_path / "out/d", tmp_path / "out/d/a")]
    assert modes == [0o755, 0o755, 0o644]


NAMES = [
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    "..",
    ".",
    "",
    "a//b",
    "a/" * 40 + "b",
    "x" * 300,
    "a\nb",
    "\x1b[0m",
]


@pytest.mark.parametrize("name", [*NAMES, "a/" + "b" * 200 + "/" + "/".join("c" * 100 for _ in range(10))])
def test_odd_names(tmp_path: Path, name: str) -> None:
    refusal(archive((name, b"x")), tmp_path / "in" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_names_that_are_not_text(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tarfile.TarInfo("\xff"))
    assert "UTF-8" in refusal(out.getvalue(), tmp_path)


KINDS = [
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CONTTYPE,
    tarfile.GNUTYPE_SPARSE,
    b"V",
]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_kinds(tmp_path: Path, kind: bytes) -> None:
    refusal(archive(("x", b""), kind=kind), tmp_path)
    assert not list(tmp_path.iterdir())


def test_links(tmp_path: Path) -> None:
    assert "is a link" in refusal(archive(("d", "/etc"), ("d/x", b"x")), tmp_path)


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "A"), ("ä", "a\u0308"), ("a", "./a"), ("a", "a/b"), ("a/b", "a"), ("d/x", "D/X")]
)
def test_names_twice(tmp_path: Path, names: tuple[str, str]) -> None:
    said = refusal(archive(*((name, b"") for name in names)), tmp_path)
    assert "twice" in said or "both" in said


def test_the_same_folder_may_come_once_and_before_its_files_or_after(tmp_path: Path) -> None:
    assert set(read_tar(archive(("d", None), ("d/x", b"")), tmp_path / "1", MB, 9)) == {"d/x"}
    assert set(read_tar(archive(("d/x", b""), ("d", None)), tmp_path / "2", MB, 9)) == {"d/x"}


def test_bounds(tmp_path: Path) -> None:
    assert "larger than 9 bytes" in refusal(archive(("a", b"x" * 5), ("b", b"x" * 5)), tmp_path / "1", 9)
    assert "more than 2 files" in refusal(archive(*((str(n), b"") for n in range(3))), tmp_path / "2", MB, 2)
    assert "more than 2 files" in refusal(archive(*((str(n), None) for n in range(3))), tmp_path / "3", MB, 2)
    assert len(read_tar(archive(("a", b"x" * 9)), tmp_path / "4", 9, 1)) == 1


def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path) -> None:
    member = tarfile.TarInfo("bomb")
    member.size = 10 << 30
    assert "damaged" in refusal(member.tobuf(tarfile.GNU_FORMAT), tmp_path / "1", 1 << 40)  # above 8 GB: GNU's number
    member.size = 7 << 30
    assert "larger" in refusal(member.tobuf(tarfile.GNU_FORMAT), tmp_path / "2")
    assert not list((tmp_path / "2").iterdir())


@pytest.mark.parametrize("keys", [{"size": "1"}, {"GNU.sparse.realsize": "9"}, {"linkpath": "/etc"}, {"path": "../x"}])
def test_extended_headers(tmp_path: Path, keys: dict[str, str]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("x")
        member.pax_headers = keys
        tar.addfile(member)
    refusal(out.getvalue(), tmp_path)


def test_harmless_extended_headers(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("x")
        member.mtime = 1.5
        tar.addfile(member)
    assert set(read_tar(out.getvalue(), tmp_path, MB, 9)) == {"x"}


def test_only_a_fresh_folder(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    assert "not empty" in refusal(archive(("there", b"x")), tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        read_tar(archive(("x", b"")), tmp_path / "link", MB, 9)


@pytest.mark.parametrize("cut", [1, 100, BLOCK - 1, BLOCK + 1, BLOCK + 4, 2 * BLOCK - 1])
def test_cut_short(tmp_path: Path, cut: int) -> None:
    assert "damaged" in refusal(archive(("a", b"text"))[:cut], tmp_path)


def test_a_stream_is_read_as_bytes_are(tmp_path: Path) -> None:
    assert set(read_tar(io.BytesIO(archive(("a", b"1"))), tmp_path, MB, 9)) == {"a"}


def test_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / ("ü" * 70)).write_bytes(b"x" * 3000)
    (folder / "sub" / "__pycache__").mkdir()
    (folder / "sub" / "__pycache__" / "run.pyc").write_bytes(b"x")  # as pip makes them for all that it installs
    first = write_tar(folder)
    os.utime(folder / "sub" / "run.sh", (1, 1))
    assert write_tar(folder) == first
    found = read_tar(first, tmp_path / "out", MB, 9)
    assert set(found) == {"sub/run.sh", "ü" * 70}
    assert (tmp_path / "out" / "sub" / "empty").is_dir()


def test_links_of_the_hosts_own_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        write_tar(tmp_path)


PART = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
NAME = st.lists(PART | st.sampled_from([".", "..", "", "a", "A", "b"]), max_size=5).map("/".join)
CONTENTS = st.none() | st.binary(max_size=1500) | st.sampled_from(["/etc/passwd", "..", "a"])


def outside(folder: Path) -> list[str]:
    """What lies beside the folder to write into, and all that is no plain file or folder in it."""
    odd = [str(path) for path in folder.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    return odd + [path.name for path in folder.parent.iterdir() if path != folder]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    members=st.lists(st.tuples(NAME, CONTENTS), max_size=6),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_archive_is_taken_whole_or_refused(
    members: list[Member], form: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    into = tmp_path_factory.mktemp("t") / "out"
    try:
        data = archive(*members, form=form)
    except (ValueError, UnicodeError):
        return
    try:
        found = read_tar(data, into, 4000, 5)
    except SubmissionRefused:
        assert not outside(into)
        return
    assert not outside(into)
    written = {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}
    assert found == {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
    assert sum(map(len, written.values())) <= 4000
    assert len(list(into.rglob("*"))) <= 5 * 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_damage_anywhere_is_no_worse(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    good = bytearray(
        archive(
            ("a/b", b"x" * 700), ("c/" * 10 + "c" * 90, b"y"), ("d", None), form=data.draw(st.sampled_from([0, 1, 2]))
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # mend the sums, so that the fields behind them are tried too
        for at in range(0, len(good), BLOCK):
            block = good[at : at + BLOCK]
            good[at + 148 : at + 156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
    into = tmp_path_factory.mktemp("t") / "out"
    with contextlib.suppress(SubmissionRefused):
        read_tar(bytes(good), into, MB, 20)
    assert not outside(into)
