"""Data out of npm's and Debian's packages, by their own clients, from registries that are folders of this test."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mlgym.errors import SourceError
from mlgym.records import Source
from mlgym.sources import fetch

TEXT = "a,b\n1,2\n"
SHA256 = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache."""
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLGYM_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def npm(tmp_path: Path) -> str:
    """An npm package: npm takes a folder where others give a name and a version."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"name": "@big/shop", "version": "1.0.0"}))
    (folder / "table.csv").write_text(TEXT)
    return str(folder)


@pytest.fixture
def deb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Debian package in an archive that is the only one apt knows, and apt's lists empty."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip("this is no Debian")
    tree, archive = tmp_path / "tree", tmp_path / "archive"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/share/shop").mkdir(parents=True)
    archive.mkdir()
    control = "Package: shop\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: a table\n"
    (tree / "DEBIAN/control").write_text(control)
    (tree / "usr/share/shop/table.csv").write_text(TEXT)
    built = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(archive / "shop.deb")]
    subprocess.run(built, check=True, capture_output=True)
    data = (archive / "shop.deb").read_bytes()
    sums = f"Filename: ./shop.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    (archive / "Packages").write_text(control + sums)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    settings = {
        "Dir::Etc::SourceList": tmp_path / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": tmp_path / "lists",
        "Dir::Cache": tmp_path / "apt",
    }
    for folder in ("lists/partial", "apt/archives/partial"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    return "shop"


def test_a_member_of_an_npm_package(npm: str, cache: Path) -> None:
    source = Source(name="x", kind="npm", package=npm, member="package/table.csv", sha256=SHA256)
    assert fetch(source).read_text() == TEXT
    kept = [path.name for path in (cache / "packages").glob("*/*.tgz")]
    assert kept == ["big-shop-1.0.0.tgz"]
    with pytest.raises(SourceError, match=r"^The data package .* has no file package/other\.csv\.$"):
        fetch(source.changed(member="package/other.csv", sha256="1" * 64))


def test_a_whole_npm_package(npm: str, cache: Path) -> None:
    whole = Source(name="x", kind="npm", package=npm, sha256="0" * 64)
    with pytest.raises(SourceError, match=r"its sha256 begins with [0-9a-f]{12}, not 0{12}"):
        fetch(whole)
    (package,) = (cache / "packages").glob("*/*.tgz")
    assert fetch(whole.changed(sha256=hashlib.sha256(package.read_bytes()).hexdigest())).stat().st_size > 100


def test_a_member_of_a_debian_package_though_apts_lists_are_empty(deb: str, cache: Path, tmp_path: Path) -> None:
    source = Source(name="x", kind="deb", package=deb, member="usr/share/shop/table.csv", sha256=SHA256)
    assert fetch(source).read_text() == TEXT
    assert list((tmp_path / "lists").glob("*Packages")) == []  # the system's own lists stay as they are
    (tmp_path / "archive" / "shop.deb").unlink()
    assert fetch(source.changed(name="y")).read_text() == TEXT
    with pytest.raises(SourceError, match=r"^The data package shop has no file usr/other\.$"):
        fetch(source.changed(member="usr/other", sha256="1" * 64))


def test_a_package_that_is_not_there_is_one_sentence(deb: str) -> None:
    with pytest.raises(SourceError, match=r"^The data package nowhere could not be had: apt-get failed \(.*\)\.$"):
        fetch(Source(name="x", kind="deb", package="nowhere", member="a", sha256=SHA256))


@pytest.mark.parametrize("kind", ["npm", "deb"])
def test_without_the_client_it_says_what_is_missing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SourceError, match=r"could not be had: it takes .*(npm|apt-get), which is not installed here\.$"
    ):
        fetch(Source.model_validate({"name": "x", "kind": kind, "package": "shop", "member": "a", "sha256": SHA256}))


def test_offline_no_client_is_started(npm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    with pytest.raises(SourceError, match="is not in the cache and MLGYM_OFFLINE is set"):
        fetch(Source(name="x", kind="npm", package=npm, member="package/table.csv", sha256=SHA256))
    assert os.environ["MLGYM_OFFLINE"] == "1"
