"""`mlgym view`: what its server gives, to whom, and what it keeps from others."""

import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded_runs import episode, step

from mlgym.errors import UsageError
from mlgym.store import Episode
from mlgym.viewer.app import HEADERS, Server, served
from mlgym.viewer.store import Store

TOKEN = "a-token-of-this-test"
NAMES = ("index.html", "main.js", "source.js", "style.css", "episode.css")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "runs"
    episode(folder / "one", agent="tuner")
    episode(folder / "two", agent="tuner", seed=1, progress=0.9)
    (folder.parent / "secret.txt").write_text("not to be read")
    return folder


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[Server]:
    with served(Store([runs]), tokens=[TOKEN]) as server:
        yield server


Answer = tuple[int, dict[str, str], bytes]


def ask(server: Server, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
    """Status, headers and body of a request; `headers` without Host get the address's."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": f"127.0.0.1:{server.port}", **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        got = connection.getresponse()
        return got.status, {name.lower(): value for name, value in got.getheaders()}, got.read()


def document(server: Server, path: str) -> Any:
    status, headers, body = ask(server, f"/{TOKEN}/api/{path}")
    assert headers["content-type"] == "application/json"
    return json.loads(body) if status == 200 else (status, json.loads(body)["error"])


def key(store: Store, run: str) -> str:
    return next(key for key in store.keys if key.startswith(f"{run}/"))


def test_a_document_is_new_though_nobody_listens(tmp_path: Path) -> None:
    episode(tmp_path / "one", agent="tuner")
    with served(Store([tmp_path]), tokens=[TOKEN]) as server:
        assert len(document(server, "runs")["runs"]) == 1
        episode(tmp_path / "two", agent="tuner")
        until = time.monotonic() + 20
        while len(document(server, "runs")["runs"]) == 1 and time.monotonic() < until:
            time.sleep(0.1)
        assert len(document(server, "runs")["runs"]) == 2


@pytest.mark.parametrize("path", ["", "main.js", "api/runs", "api/nothing", "nothing.js"])
def test_every_answer_has_the_headers(server: Server, path: str) -> None:
    for address in (f"/{TOKEN}/{path}", f"/wrong/{path}"):
        _, headers, _ = ask(server, address)
        assert {name: headers.get(name.lower()) for name in HEADERS} == HEADERS
        assert "unsafe" not in headers["content-security-policy"] and "server" not in headers
    status, headers, _ = ask(server, f"/{TOKEN}/{path}")
    page = path in ("", "main.js")
    assert headers["cache-control"] == ("no-cache" if page else "no-store")
    assert status == (200 if page or path == "api/runs" else 404)


def test_the_files_of_the_page(server: Server) -> None:
    kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
    for name in NAMES:
        status, headers, body = ask(server, f"/{TOKEN}/{name}")
        assert status == 200 and headers["content-type"] == f"{kinds[name.rpartition('.')[2]]}; charset=utf-8"
        again, _, nothing = ask(server, f"/{TOKEN}/{name}", {"If-None-Match": headers["etag"]})
        assert (again, nothing) == (304, b"")
        _, packed, small = ask(server, f"/{TOKEN}/{name}", {"Accept-Encoding": "gzip, br"})
        assert (gzip.decompress(small) if "content-encoding" in packed else small) == body
    assert ask(server, f"/{TOKEN}/")[2] == ask(server, f"/{TOKEN}/index.html")[2]
    status, headers, _ = ask(server, f"/{TOKEN}?x")
    assert (status, headers["location"]) == (308, f"/{TOKEN}/")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["", "api/runs", "api/live"])
def test_it_only_reads(server: Server, method: str, path: str) -> None:
    status, headers, _ = ask(server, f"/{TOKEN}/{path}", method=method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_a_body(server: Server) -> None:
    for path in ("", "api/runs", "api/live"):
        status, headers, body = ask(server, f"/{TOKEN}/{path}", method="HEAD")
        assert (status, body) == (200, b"") and headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/main.js", "/api/runs", "/api/live", f"/{TOKEN[:-1]}/x", f"/{TOKEN}x/api/runs"])
def test_a_token_is_needed(server: Server, path: str) -> None:
    status, _, body = ask(server, path)
    assert status == 401 and TOKEN not in body.decode()
    assert ask(server, path, {"Authorization": f"Bearer {TOKEN[:-1]}"})[0] == 401
    assert ask(server, "/api/runs", {"Authorization": f"Bearer {TOKEN}"})[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost@evil"])
def test_other_names_are_refused(server: Server, host: str) -> None:
    assert ask(server, f"/{TOKEN}/api/runs", {"Host": host})[0] == 403


def test_own_names_pass(server: Server) -> None:
    for host in ("localhost", f"localhost:{server.port}", "127.0.0.1", f"[::1]:{server.port}", "LOCALHOST:9999"):
        assert ask(server, f"/{TOKEN}/api/runs", {"Host": host})[0] == 200


def test_only_its_own_pages_may_ask(server: Server) -> None:
    host = f"127.0.0.1:{server.port}"
    assert ask(server, f"/{TOKEN}/main.js", {"Origin": f"http://{host}"})[0] == 200
    for origin in (f"https://{host}", "http://127.0.0.1", "http://evil.example", "null", f"http://{host}.evil", ""):
        status, _, _ = ask(server, f"/{TOKEN}/api/runs", {"Origin": origin})
        assert status == 403, origin


def test_documents(server: Server, runs: Path) -> None:
    store = Store([runs])
    assert {row["run"] for row in document(server, "runs")["runs"]} == {"one", "two"}
    assert len(document(server, "episodes")["rows"]) == 2
    assert len(document(server, "episodes?run=two")["rows"]) == 1
    path = "e/" + urllib.parse.quote(key(store, "one"))
    assert document(server, path)["key"] == key(store, "one")
    cards = document(server, f"{path}/steps?from=2&count=2")
    assert [card["n"] for card in cards["steps"]] == [2, 3] and cards["total"] == 4


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing", 404),
        ("", 404),
        ("e", 404),
        ("e/one", 404),
        ("e/no/such/episode/0", 404),
        ("runs/more", 404),
        ("episodes?run=three", 400),
        ("e/KEY/nothing", 404),
        ("e/KEY/steps/3", 404),
        ("e/KEY/step", 404),
        ("e/KEY/step/99", 400),
        ("e/KEY/step/x", 400),
        ("e/KEY/steps?from=-1", 400),
        ("e/KEY/steps?from=1e3", 400),
        ("e/KEY/steps?count=٣", 400),
        ("e/KEY/text?step=1&field=folder", 400),
        ("search?q=x&limit=many", 400),
    ],
)
def test_what_is_not_there_is_a_sentence(server: Server, runs: Path, path: str, status: int) -> None:
    path = path.replace("KEY", key(Store([runs]), "one"))
    got, why = document(server, urllib.parse.quote(path, safe="/?&="))
    assert got == status and why.endswith(".") and "\n" not in why and str(runs) not in why


def test_records_that_break_a_document_break_nothing_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(server.routes.store, "runs", lambda: {}["\x1b[2J"])
        status, why = document(server, "runs")
        assert status == 500 and why.startswith("This cannot be read here (KeyError: ") and "\x1b" not in why
    assert document(server, "runs")["runs"]


@pytest.mark.parametrize("dots", ["..", "%2e%2e", "..%2f..", "%252e%252e", "....//", "..%5c", "%00", "%ff"])
def test_no_path_leads_out(server: Server, runs: Path, dots: str) -> None:
    *front, seed = key(Store([runs]), "one").split("/")
    aims = [
        f"{dots}/secret.txt",
        f"{dots}/{dots}/documents.py",
        f"{dots}%2fapp.py",
        f"api/e/{dots}/{dots}/{dots}/{dots}",
        f"api/e/{'/'.join(front)}/{dots}",
        f"api/e/{'/'.join(front)}/{seed}/{dots}",
        f"api/e/{'/'.join(front)}/{seed}%2f{dots}/steps",
        f"api/e/{'/'.join(front)}/{seed}/file?step=1&path={dots}/spec.json",
        f"api/e/{'/'.join(front)}/{seed}/file?step=1&path=/etc/passwd",
        f"api/episodes?run={dots}",
    ]
    for aim in aims:
        status, _, body = ask(server, f"/{TOKEN}/{aim}")
        assert status in (400, 404), aim
        assert b"not to be read" not in body and b"root:" not in body


def test_a_browser_is_started_with_an_address_that_holds_once(runs: Path) -> None:
    with served(Store([runs]), tokens=[TOKEN]) as server:
        path = urllib.parse.urlsplit(server.once).path
        assert TOKEN not in path
        status, headers, _ = ask(server, path)
        assert (status, headers["location"], headers["referrer-policy"]) == (303, f"/{TOKEN}/", "no-referrer")
        assert ask(server, path)[0] == 401


def listen(server: Server) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", f"/{TOKEN}/api/live")
    return connection, connection.getresponse()


def event(answer: http.client.HTTPResponse) -> Any:
    """The next event that is no comment."""
    while not (line := answer.readline()).startswith(b"data: "):
        assert line
    return json.loads(line[6:])


def test_a_growing_episode_is_told_of(tmp_path: Path) -> None:
    grows = episode(tmp_path / "grows")
    store = Store([tmp_path])
    with served(store, tokens=[TOKEN]) as server:
        (first, one), (second, two) = listen(server), listen(server)
        with contextlib.closing(first), contextlib.closing(second):
            assert one.getheader("Content-Type", "").startswith("text/event-stream")
            assert one.readline() == two.readline() == b": looking\n"
            time.sleep(0.2)
            (grows / "result.json").unlink()
            Episode(grows).add_step(step(5, "bash", "more"))
            told = event(one)
            assert told["changed"] == [key(store, "grows")] == event(two)["changed"]
            assert document(server, f"e/{key(store, 'grows')}/steps?from=5")["total"] == 5
            watcher = server.routes.live.watcher
            assert watcher is not None and not watcher.done()
        until = time.monotonic() + 10
        while not watcher.done() and time.monotonic() < until:
            time.sleep(0.05)
        assert watcher.done() and not server.routes.live.listeners
        third, three = listen(server)
        with contextlib.closing(third):
            assert three.readline() == b": looking\n"
            began = time.monotonic()
            server.stop()
            assert three.read().count(b"data:") == 0
        assert time.monotonic() - began < 10, "it would have waited for the next comment"


def test_tokens_that_could_be_guessed_or_not_stand_in_an_address(runs: Path) -> None:
    for token in ("short", "with/a-slash-inside-it", "with a space inside it", "ünsafe-signs-in-a-token"):
        with pytest.raises(UsageError, match="token"):
            Server(Store([runs]), tokens=[token])


def test_one_that_listens_everywhere_is_called_by_the_machines_name(runs: Path) -> None:
    with served(Store([runs]), host="0.0.0.0", tokens=[TOKEN], names=["box.example"]) as server:
        assert server.address == f"http://{socket.gethostname()}:{server.port}/{TOKEN}/"
        for host in (socket.gethostname(), "box.example", "0.0.0.0"):
            assert ask(server, f"/{TOKEN}/api/runs", {"Host": f"{host}:{server.port}"})[0] == 200
        assert ask(server, f"/{TOKEN}/api/runs", {"Host": "other.example"})[0] == 403


def test_a_taken_port_is_said(server: Server, runs: Path) -> None:
    with pytest.raises(UsageError, match=f"{server.port} cannot be listened at: "):
        Server(Store([runs]), port=server.port)


def started(*arguments: str, **env: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mlgym", "view", *arguments]
    outside = {name: value for name, value in os.environ.items() if "DISPLAY" not in name and "SSH" not in name}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**outside, **env})


@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGTERM, signal.SIGHUP))]
)
def test_a_signal_ends_it_at_once_and_nothing_stays(runs: Path, number: signal.Signals, tmp_path: Path) -> None:
    with started(str(runs), "--port", "0", MLGYM_CACHE=str(tmp_path)) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().split()[2]
        assert "From another machine" in process.stdout.readline()
        parts = urllib.parse.urlsplit(address)
        assert f"  ssh -L {parts.port}:127.0.0.1:{parts.port} " in process.stdout.readline()
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", f"{parts.path}api/live")
            answer = connection.getresponse()
            assert answer.readline() == b": looking\n"
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(20) == 0, process.stderr.read()
            assert time.monotonic() - began < 10, "it would have waited for the next comment"
        assert process.stdout.read() == process.stderr.read() == ""
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", parts.port or 0)):
        pass


BROWSER = """#!/bin/sh
echo "$1" > "$0.asked.part" && mv "$0.asked.part" "$0.asked"
"""


@pytest.mark.slow
def test_a_desktop_gets_a_browser_and_a_lasting_token_is_not_shown(runs: Path, tmp_path: Path) -> None:
    browser, tokens = tmp_path / "browser", tmp_path / "tokens"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    about = {"DISPLAY": ":7", "BROWSER": str(browser), "MLGYM_CACHE": str(tmp_path / "cache")}
    with started(str(runs), "--tokens", str(tokens), **about) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        asked = browser.with_name("browser.asked")
        until = time.monotonic() + 20
        while not asked.exists() and time.monotonic() < until:
            time.sleep(0.02)
        parts = urllib.parse.urlsplit(asked.read_text().strip())
        assert f":{parts.port}/TOKEN/ " in line and TOKEN not in line + parts.path
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", parts.path)
            assert connection.getresponse().getheader("Location") == f"/{TOKEN}/"
        process.terminate()
        assert process.wait(20) == 0
    with started(str(runs), "--no-open", "--port", str(parts.port), **about) as process:
        assert process.stdout is not None
        assert f":{parts.port}/" in process.stdout.readline()
        with started(str(runs), "--no-open", "--port", str(parts.port), **about) as second:
            assert second.wait(20) == 2 and second.stderr is not None
            assert f"127.0.0.1:{parts.port} cannot be listened at" in second.stderr.read()
        process.terminate()
