"""Environments of tasks: made once from wheels, whole, and fit to be mounted elsewhere."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from wheels import wheel

from mlgym.environments import environment
from mlgym.errors import SourceError


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Path:
    """A folder that is the only registry, and a fresh cache."""
    folder = tmp_path / "registry"
    wheel(
        folder,
        "toolbox",
        {"toolbox.py": "import pieces\ndef main(): print(pieces.WORD)\n"},
        needs=["pieces"],
        scripts="tool = toolbox:main",
    )
    wheel(folder, "pieces", {"pieces.py": "WORD = 'works'\n"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLGYM_OFFLINE", raising=False)
    return folder


PINS = ["toolbox==1.0", "pieces==1.0"]


def test_an_environment_is_made_once_for_a_set_of_pins(registry, monkeypatch):
    said: list[str] = []
    folder = environment(PINS, say=said.append)
    assert said == ["Making the Python environment with 2 packages, once."]
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    assert environment([*reversed(PINS), PINS[0]], say=said.append) == folder and len(said) == 1
    listed = subprocess.run([folder / "bin/python", "-I", "-c", "import pip"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in listed.stderr


def test_moved_elsewhere_its_scripts_work_and_no_file_tells_where_it_was(registry, tmp_path):
    folder = environment(PINS)
    moved = tmp_path / "else where" / "env"
    shutil.copytree(folder, moved, symlinks=True)
    shutil.rmtree(folder)
    for argv in ([moved / "bin/tool"], ["sh", "-c", "tool"]):
        variables = {"PATH": f"{moved / 'bin'}:{os.environ['PATH']}"}
        ran = subprocess.run(argv, capture_output=True, text=True, env=variables)
        assert (ran.stdout, ran.stderr) == ("works\n", "")
    cache = os.fsencode(tmp_path / "cache")
    assert [path for path in moved.rglob("*") if path.is_file() and cache in path.read_bytes()] == []
    assert not list(moved.glob("bin/[aA]ctivate*"))


def test_its_bytecode_is_there_and_everyone_may_read_it(registry):
    mask = os.umask(0o077)
    try:
        folder = environment(PINS)
    finally:
        os.umask(mask)
    assert list(folder.glob("lib/python3*/site-packages/__pycache__/pieces.*.pyc"))
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            assert path.stat().st_mode & 0o755 in ((0o755,) if path.is_dir() else (0o644, 0o755)), path


def test_pins_that_leave_something_out_are_refused_with_what_to_add(registry, tmp_path):
    with pytest.raises(SourceError, match=r"^The packages of a task must pin all that they need: add pieces==1\.0\.$"):
        environment(["toolbox==1.0"])
    assert list((tmp_path / "cache" / "environments").iterdir()) == []


def test_what_a_gpu_build_of_torch_brings_need_not_be_pinned(registry):
    wheel(registry, "nvidia_cudart", {"nvidia_cudart.py": "HERE = 1\n"})
    wheel(registry, "torch", {"torch.py": "import nvidia_cudart\n"}, needs=["nvidia-cudart==1.0"])
    folder = environment(["torch==1.0"])
    assert list(folder.glob("lib/python3*/site-packages/nvidia_cudart.py"))


def test_packages_elsewhere_on_the_path_do_not_count(registry, tmp_path, monkeypatch):
    target = tmp_path / "site"
    shutil.unpack_archive(registry / "pieces-1.0-py3-none-any.whl", target, "zip")
    monkeypatch.setenv("PYTHONPATH", str(target))
    folder = environment(PINS)
    assert list(folder.glob("lib/python3*/site-packages/pieces.py"))


def test_without_packages_it_is_plain_and_needs_no_connection(registry, monkeypatch):
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    folder = environment([])
    program = "import sys, json; print(json.dumps([sys.prefix, sys.base_prefix]))"
    prefix, base = json.loads(subprocess.check_output([folder / "bin/python", "-I", "-c", program]))
    assert Path(prefix) == folder != Path(base)


def test_what_cannot_be_had_is_one_sentence(registry, monkeypatch):
    with pytest.raises(
        SourceError,
        match=r"^The Python environment with 1 package could not be had: the registry has no wheel of gone==1\.0 ",
    ):
        environment(["gone==1.0"])
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    with pytest.raises(
        SourceError, match=r"^The Python environment with 2 packages is not in the cache and MLGYM_OFFLINE is set"
    ):
        environment(PINS)


def test_a_large_package_is_said_before_it_is_fetched(registry):
    wheel(registry, "torch", {"torch.py": ""})
    said: list[str] = []
    environment(["torch==1.0"], say=said.append)
    assert said == ["Making the Python environment with 1 package, once, some 900 MB or more to fetch (torch)."]
