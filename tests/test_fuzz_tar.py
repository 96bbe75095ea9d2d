"""Archives of any form: taken whole within the bounds or refused in a sentence, and never a byte outside the folder."""

import hashlib
import tarfile
import time
from pathlib import Path

import pytest
from fuzz import fuzz
from hypothesis import strategies as st

from mlgym.sandbox.tar import BLOCK, SubmissionRefused, read_tar

MOST, FILES, DEPTH = 4000, 6, 8
NAMES = st.sampled_from(
    [b"a", b"b/c", b"../x", b"/etc/x", b"a/../../x", b".", b"..", b"", b"a/", b"A", b"\xff", b"a\0b", b"n" * 99]
)
NAME = NAMES | st.binary(max_size=100)
NUMBER = st.integers(0, 3000).map(lambda n: b"%011o\0" % n) | st.binary(min_size=12, max_size=12) | st.just(b"7" * 12)
KIND = st.sampled_from([b"0", b"\0", b"5", b"L", b"K", b"x", b"g", b"1", b"2", b"3", b"6", b"S", b"V"])
RECORD = st.sampled_from(
    [b"path=../y", b"path=ok", b"size=9", b"linkpath=/", b"mtime=1", b"GNU.sparse.size=1", b"path="]
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def header(name: bytes, kind: bytes, size: bytes, prefix: bytes, magic: bytes) -> bytes:
    """A header with a right sum, whatever its fields."""
    head = bytearray(BLOCK)
    head[: len(name[:100])], head[124:136], head[156:157] = name[:100], size, kind
    head[257 : 257 + len(magic)], head[345 : 345 + len(prefix)] = magic, prefix
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + 8 * 32 + sum(head[156:]))
    return bytes(head)


def extended(records: list[bytes]) -> bytes:
    """Records of a POSIX header with their lengths."""
    return b"".join(b"%d %s\n" % (len(record) + 2 + len(str(len(record) + 4)), record) for record in records)


HEADER = st.builds(
    header, NAME, KIND, NUMBER, st.just(b"") | st.binary(max_size=155), st.sampled_from([b"ustar\0", b"ustar  \0", b""])
)
EXTENDED = st.lists(RECORD, max_size=3).map(extended)
LONG = (EXTENDED | st.binary(max_size=600) | NAME).flatmap(
    lambda data: st.sampled_from([b"x", b"L"]).map(
        lambda kind: header(b"h", kind, b"%011o\0" % len(data), b"", b"ustar\0") + data + bytes(-len(data) % BLOCK)
    )
)
BODY = st.binary(max_size=1200).map(lambda data: data + bytes(-len(data) % BLOCK))
ARCHIVE = st.lists(HEADER | LONG | BODY | st.just(bytes(BLOCK)), max_size=10).map(b"".join)


def outside(folder: Path) -> list[str]:
    """What lies beside the folder, and all in it that is no plain file or folder."""
    odd = [str(path) for path in folder.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    return odd + [path.name for path in folder.parent.iterdir() if path != folder]


def taken_or_refused(place: Path, data: bytes) -> None:
    """The property that all archives have."""
    own = place / hashlib.sha256(data + str(time.monotonic_ns()).encode()).hexdigest()[:24]
    own.mkdir()
    into = own / "out"
    began = time.monotonic()
    found = None
    try:
        found = read_tar(data, into, MOST, FILES, DEPTH)
    except SubmissionRefused as error:
        assert str(error) and str(error).isprintable()
    assert time.monotonic() - began < 5
    assert not outside(into)
    written = {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}
    assert sum(map(len, written.values())) <= MOST and len(written) <= FILES
    assert len(list(into.rglob("*"))) <= FILES * DEPTH
    if found is not None:
        assert found == {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
        assert all(part not in ("", ".", "..") for name in found for part in name.split("/"))


@fuzz(100, data=ARCHIVE)
def test_any_headers(place: Path, data: bytes) -> None:
    taken_or_refused(place, data)


@fuzz(50, data=st.binary(max_size=3 * BLOCK))
def test_any_bytes(place: Path, data: bytes) -> None:
    taken_or_refused(place, data)


@fuzz(60, data=st.data())
def test_blocks_lost_doubled_and_moved(place: Path, data: st.DataObject) -> None:
    """A real archive whose blocks are put together anew."""
    whole = real(data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])))
    blocks = [whole[at : at + BLOCK] for at in range(0, len(whole), BLOCK)]
    taken_or_refused(place, b"".join(data.draw(st.lists(st.sampled_from(blocks), max_size=2 * len(blocks)))))


def real(form: int) -> bytes:
    """An archive with a long name, a folder and two files."""
    import io

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, contents in {"a": b"x" * 700, "c/" * 6 + "c" * 85: b"y", "d": None}.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.REGTYPE if contents is not None else tarfile.DIRTYPE
            member.size = len(contents or b"")
            tar.addfile(member, io.BytesIO(contents or b""))
    return out.getvalue()
