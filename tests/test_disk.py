"""What is written stays, and a full disk is a sentence."""

import os
import subprocess
from pathlib import Path

import pytest

from mlgym import disk
from mlgym.errors import StorageError


def test_lines_and_files_are_written_whole(tmp_path: Path) -> None:
    for line in (b"one", b"two"):
        disk.append_line(tmp_path / "rows", line)
    disk.write_whole(tmp_path / "whole", b"x" * 100_000)
    disk.write_whole(tmp_path / "whole", b"y")
    disk.copy_whole(tmp_path / "rows", tmp_path / "copy")
    disk.settle_all(tmp_path)
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "copy").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "whole").read_bytes() == b"y"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "rows", "whole"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"^The disk under .* is full: make room, and the same command goes on\.$"):
        disk.append_line(tmp_path / "rows", b"one")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there" / "full").mkdir(parents=True)
    for write in (disk.write_whole, lambda path, data: disk.copy_whole(Path("/etc/passwd"), path)):
        with pytest.raises(StorageError, match="cannot be written"):
            write(tmp_path / "there", b"a file in the place of a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_what_a_folder_takes_counts_no_link_and_any_depth(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(1 << 20))
    folder = tmp_path / "counted"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "big")
    (folder / "up").symlink_to(tmp_path)
    assert disk.taken(folder) < 1 << 20
    deep = folder.joinpath(*["d"] * 1500)
    here = Path.cwd()
    try:
        os.chdir(folder)
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        Path("file").write_bytes(os.urandom(1 << 19))
    finally:
        os.chdir(here)
    try:
        assert len(str(deep)) < os.pathconf(folder, "PC_PATH_MAX")
        assert disk.taken(folder) >= 1 << 19
    finally:  # pytest clears the folders of older sessions by recursion, and would end a later one with RecursionError
        subprocess.run(["rm", "-rf", str(folder)], check=True)
