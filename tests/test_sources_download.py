"""Files from addresses: whole, resumed, checked; from a server that breaks off, changes its mind and lies."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mlgym.errors import SourceError
from mlgym.grading.prepare import prepare
from mlgym.records import Source
from mlgym.sources import download, fetch
from mlgym.task import load_task
from tests.wheels import TOML, tiny_task

DATA = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class Shop:
    """What the server does: `data` it sends, byte after which each of its answers breaks off, and what was asked."""

    data: bytes = DATA
    breaks: list[int] = field(default_factory=list)
    linked: str = ""
    code: int = 200
    ranges: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A server with the layout of the hub: /resolve/ sends on to /files/, which understands ranges."""
    shop = Shop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/resolve/" in self.path:
                self.send_response(302)
                self.send_header("Location", self.path.replace("/resolve/", "/files/"))
                if shop.linked:
                    self.send_header("X-Linked-ETag", f'"{shop.linked}"')
                self.end_headers()
                return
            if shop.code != 200:
                self.send_error(shop.code)
                return
            tag = f'"{hashlib.md5(shop.data, usedforsecurity=False).hexdigest()}"'
            asked = self.headers.get("Range", "")
            shop.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if self.headers.get("If-Range", tag) != tag:
                start = 0
            if start and start >= len(shop.data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(shop.data) - start))
            self.end_headers()
            end = shop.breaks.pop(0) if shop.breaks else len(shop.data)
            self.wfile.write(shop.data[start:end])

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    shop.url = f"http://127.0.0.1:{server.server_port}/resolve/main/data.bin"
    yield shop
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache, and no pauses between tries."""
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLGYM_OFFLINE", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0.001)
    return tmp_path / "cache"


def source(shop: Shop, **over: object) -> Source:
    """The source of the server's file."""
    return Source.model_validate({"name": "x", "kind": "url", "url": shop.url, "sha256": SHA256, **over})


def test_a_file_comes_whole_and_once(shop: Shop, cache: Path) -> None:
    said: list[str] = []
    path = fetch(source(shop, mb=3), say=said.append)
    assert path.read_bytes() == DATA and path.name == "data.bin"
    assert said == [f"Fetching data.bin, 3 MB, from {shop.url.split('/')[2]}."]
    assert fetch(source(shop)) == path and len(shop.ranges) == 1
    assert not list((cache / "downloads").glob("*.part"))


def test_what_broke_off_is_gone_on_with(shop: Shop) -> None:
    shop.breaks = [1_000_000, 1_500_000, 2_999_999]
    assert fetch(source(shop)).read_bytes() == DATA
    assert shop.ranges == ["", "bytes=1000000-", "bytes=1500000-", "bytes=2999999-"]


def test_a_server_that_sends_nothing_more_is_given_up_and_the_next_command_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.breaks = [2_000_000] * (1 + download.TRIES)
    with pytest.raises(
        SourceError, match=r"could not be had \(.*\) after 2 MB; the same command goes on from there\.$"
    ):
        fetch(source(shop))
    other = source(shop, name="asked again by another process")
    assert fetch(other).read_bytes() == DATA
    assert shop.ranges[-1] == "bytes=2000000-"


def test_a_file_that_changed_in_between_is_fetched_from_its_start(shop: Shop) -> None:
    shop.breaks, shop.data = [1_000_000] * (1 + download.TRIES), bytes(3_000_000)
    with pytest.raises(SourceError):
        fetch(source(shop))
    shop.data, shop.breaks = DATA, []
    assert fetch(source(shop, name="again")).read_bytes() == DATA


@pytest.mark.parametrize("over", [{}, {"sha256": "", "md5": "0" * 32}, {"sha256": ""}])
def test_a_corrupted_file_is_refused_and_nothing_of_it_stays(shop: Shop, cache: Path, over: dict[str, str]) -> None:
    shop.linked = SHA256
    shop.data = DATA[:-1] + b"x"
    with pytest.raises(SourceError, match=r"holds another data\.bin than the task expects: its (sha256|md5) begins"):
        fetch(source(shop, **over))
    assert not list(cache.glob("sources/*")) and not list(cache.glob("downloads/*.part"))
    shop.data = DATA
    if "md5" not in over:
        assert fetch(source(shop, name="again", **over)).read_bytes() == DATA


def test_the_hubs_own_checksum_counts_where_the_task_names_none(shop: Shop) -> None:
    shop.linked = SHA256
    assert fetch(source(shop, sha256="")).read_bytes() == DATA


def test_a_file_without_any_checksum_is_refused(shop: Shop) -> None:
    with pytest.raises(SourceError, match=r"has no checksum to be checked against: give `sha256` or `md5`"):
        fetch(source(shop, sha256=""))


def test_what_is_not_there_is_not_tried_again(shop: Shop) -> None:
    shop.code = 404
    with pytest.raises(SourceError, match=r"^The file http://127.* could not be had \(Not Found\)\.$"):
        fetch(source(shop))


def test_a_server_that_is_not_there(shop: Shop) -> None:
    with pytest.raises(SourceError, match=r"could not be had \(Connection refused\)\.$"):
        fetch(source(shop, url="http://127.0.0.1:9/data.bin"))


def test_a_disk_that_is_too_small_is_said_before_the_download(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(SourceError, match=r"has 1 MB of room, but 3 MB are to come: make room, or set MLGYM_CACHE"):
        fetch(source(shop))


CODE = """
import pathlib

def prepare(public, private, *, settings, seed):
    path = pathlib.Path(settings["sources"]["x"])
    (public / "kind").write_text("folder" if path.is_dir() else str(path.stat().st_size))

def grade(submission, private, *, settings, split, seed):
    return {"accuracy": 1.0}
"""


def task(tmp_path: Path, shop: Shop, more: str = "") -> Path:
    """A task that needs the server's file."""
    about = f'\n[[sources]]\nname = "x"\nkind = "url"\nurl = "{shop.url}"\nsha256 = "{SHA256}"\n{more}\n'
    return tiny_task(tmp_path / "big", TOML + about + "[variant.mini]\nsources = []\n", CODE)


def test_a_task_without_its_data_says_every_way_to_go_on(shop: Shop, tmp_path: Path) -> None:
    folder = task(tmp_path, shop)
    shop.code = 404
    with pytest.raises(SourceError) as caught:
        prepare(load_task(folder))
    said = str(caught.value)
    assert said.startswith("The data of big is not here. The file http://127.") and "\n" not in said
    assert f"`mlgym prepare {folder}`" in said and "--data FOLDER" in said and "`mlgym run big-mini`" in said
    with pytest.raises(SourceError, match="The data of big-mini"):
        prepare(load_task(f"{folder}-mini").changed(sources=load_task(folder).sources))


def test_large_data_is_fetched_only_when_asked_for(shop: Shop, tmp_path: Path) -> None:
    found = load_task(task(tmp_path, shop, "mb = 13000"))
    with pytest.raises(SourceError, match=r"is not here\. It takes some 13,000 MB\. Where there is a connection fetch"):
        prepare(found)
    assert shop.ranges == []
    assert prepare(found, large=True).data == ""
    assert prepare(found).data == ""  # once it is there, nobody asks


def test_a_copy_of_the_users_is_taken_and_checked(shop: Shop, tmp_path: Path) -> None:
    found = load_task(task(tmp_path, shop))
    own = tmp_path / "own"
    (own / "deep").mkdir(parents=True)
    (own / "deep" / "data.bin").write_bytes(DATA + b"x")
    with pytest.raises(SourceError, match=r"own/deep/data\.bin holds another data\.bin than the task expects"):
        prepare(found, own=own)
    (own / "deep" / "data.bin").write_bytes(DATA)
    prepared = prepare(found, own=own)
    assert prepared.data == "" and (prepared.public / "kind").read_text() == "3000000"
    assert shop.ranges == []


def test_a_file_of_the_users_whose_checksum_only_the_server_knows_is_taken_and_marked(
    shop: Shop, tmp_path: Path
) -> None:
    folder = task(tmp_path, shop)
    (folder / "task.toml").write_text((folder / "task.toml").read_text().replace(f'sha256 = "{SHA256}"', ""))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "data.bin").write_bytes(DATA)
    prepared = prepare(load_task(folder), own=tmp_path / "own")
    assert prepared.data == "unchecked" and (prepared.public / "kind").read_text() == "3000000"


def test_an_unpacked_folder_of_the_users_is_taken_and_marked(shop: Shop, tmp_path: Path) -> None:
    found = load_task(task(tmp_path, shop, 'unpacked = "train"'))
    (tmp_path / "own" / "train").mkdir(parents=True)
    prepared = prepare(found, own=tmp_path / "own")
    assert prepared.data == "unchecked" and (prepared.public / "kind").read_text() == "folder"
    assert prepare(found) == prepared  # and it stays so
