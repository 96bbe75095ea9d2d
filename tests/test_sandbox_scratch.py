"""Scratch folders: private, gone at the end, swept when their owner is dead, whatever is in them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlgym.sandbox import scratch
from mlgym.sandbox.scratch import namespace, remove, started


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    with scratch(tmp_path / "new" / "parent") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").mkdir()
        with scratch(folder.parent) as other:
            assert other != folder
        assert (folder / "a").is_dir()
    assert list((tmp_path / "new" / "parent").iterdir()) == []


def test_it_goes_when_the_body_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch(tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


class Slow(type(Path())):  # type: ignore[misc]
    """A place on a busy disk: the user interrupts while a folder is made, and hears of it as the call returns."""

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        super().mkdir(mode, parents, exist_ok)
        if not parents:
            raise KeyboardInterrupt


def test_it_goes_when_interrupted_while_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch(Slow(tmp_path)):
        raise AssertionError("it was not interrupted")
    assert list(tmp_path.iterdir()) == []


def test_the_dead_are_swept_and_the_living_are_not(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from mlgym.sandbox import scratch\n"
        "with scratch(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'file').write_text('x'); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment).returncode == 9
    (dead,) = tmp_path.iterdir()
    mine = tmp_path / f"s-{os.getpid()}-{started(os.getpid())}-{namespace()}-abc"
    elsewhere = tmp_path / f"s-1-1-{namespace() + 1}-abc"
    reused = tmp_path / f"s-{os.getpid()}-1-{namespace()}-abc"
    for folder in (mine, elsewhere, reused, tmp_path / "other"):
        folder.mkdir()
    with scratch(tmp_path):
        assert not dead.exists()
        assert not reused.exists()
    assert sorted(tmp_path.iterdir()) == sorted([mine, elsewhere, tmp_path / "other"])


def test_hostile_content_goes(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    with scratch(tmp_path) as folder:
        here = os.getcwd()  # noqa: PTH109
        try:
            os.chdir(folder)
            for _ in range(3000):
                os.mkdir("d" * 100)  # noqa: PTH102
                os.chdir("d" * 100)
            Path("deepest").write_text("x")
        finally:
            os.chdir(here)
        (folder / "link").symlink_to(outside)
        (folder / "dangling").symlink_to("nowhere")
        os.mkfifo(folder / "fifo")
        (folder / os.fsdecode(b"\xff\n")).write_text("x")
        (folder / "closed" / "inner" / "x").mkdir(parents=True)
        (folder / "closed" / "inner" / "f").write_text("x")
        (folder / "closed" / "inner").chmod(0)
        (folder / "closed").chmod(0o100)
    assert list(tmp_path.iterdir()) == [outside]
    assert (outside / "kept").exists()


def test_removing_what_is_not_there(tmp_path: Path) -> None:
    remove(tmp_path / "none")


def test_a_folder_that_locks_its_owner_out(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "inner").mkdir(0o000)
        folder.chmod(0)
    assert list(tmp_path.iterdir()) == []
    remove(tmp_path / "none")
