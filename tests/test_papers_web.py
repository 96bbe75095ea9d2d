"""The way to the literature's services: what a hostile or a broken server can do, and what a kind one is spared."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from literature import FEED, Literature, pdf, record

from mlgym.errors import SourceError
from mlgym.papers.services import ANSWER

HEN = record(1, "Deep Hens", arxiv="2502.14499")
BOMB = '<!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLGYM_OFFLINE", raising=False)


def failed(server: Literature, text: str = "arxiv", query: str = "hens", **web: Any) -> str:
    """What an agent is told of a search that fails."""
    with pytest.raises(SourceError) as error:
        server.open(text, **web).search(query)
    return str(error.value)


def found(server: Literature, text: str = "arxiv") -> bool:
    return "Deep Hens" in server.open(text).search("hens")


BROKEN = [
    ({"status": 500}, "the status 500"),
    ({"status": 503}, "the status 503"),
    ({"status": 403}, "the status 403"),
    ({"body": b"x" * (ANSWER + 1)}, "its answer is larger than 5 MB"),
    ({"body": b"<feed>" * 100, "cut": True}, "its answer broke off"),
    ({"body": b"<feed>"}, "it is no feed"),
    ({"body": b"\xff\xfe<feed/>"}, "answered what cannot be used"),
    ({"body": FEED.format(total=1, entries="<entry><id>http://a/b</id></entry>").encode()}, "an entry of its feed has"),
    ({"body": (BOMB + "<feed>&b;</feed>").encode()}, "its feed declares entities"),
    ({"body": (BOMB + "<feed>&b;</feed>").encode("utf-16")}, "answered what cannot be used"),
    ({"status": 302, "headers": {"Location": "http://localhost:1/x"}}, "leads to http://localhost:1, which is none of"),
    ({"status": 302, "headers": {"Location": "file:///etc/passwd"}}, "it leads to file://, which is none of the hosts"),
    ({"status": 302, "headers": {"Location": "ftp://arxiv.org/x"}}, "leads to ftp://arxiv.org, which is none of the"),
    ({"status": 302, "headers": {"Location": "http://arxiv.org:80/x"}}, "leads to http://arxiv.org:80, which is none"),
    (
        {"status": 302, "headers": {"Location": "https://arxiv.org:22/x"}},
        "leads to https://arxiv.org:22, which is none",
    ),
    ({"status": 302, "headers": {"Location": "https://arxiv.org@a.test/"}}, "leads to https://arxiv.org@a.test, which"),
    ({"status": 302, "headers": {"Location": "//[/"}}, "cannot be reached"),
    ({"status": 302, "headers": {"Location": "/api/query"}}, "it leads from one address to the next"),
]


@pytest.mark.parametrize(("answer", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_a_broken_answer_is_a_sentence_and_is_not_kept(answer: dict[str, Any], why: str) -> None:
    with Literature([HEN]) as server:
        server.next = [answer] * 4
        assert why in failed(server)
        server.next = []
        assert found(server)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"data": 5}', b'{"data": [{}]}', b'{"data": [{"title": []}]}', b"[" * 100_000, b"\xff"],
)
def test_what_is_no_list_of_papers_is_not_kept(body: bytes) -> None:
    with Literature([HEN]) as server:
        server.next = [{"body": body}]
        assert "semantic-scholar answered what cannot be used" in failed(server, "semantic-scholar")
        assert found(server, "semantic-scholar")


@pytest.mark.parametrize("answer", [{"hang": 5}, {"body": b"<feed>" * 1000, "drip": 0.01}])
def test_a_server_that_never_ends_is_left(answer: dict[str, Any]) -> None:
    with Literature([HEN]) as server:
        server.next = [answer]
        assert "cannot be reached" in failed(server, whole_s=0.2)


def test_what_is_no_pdf_is_not_kept() -> None:
    with Literature([HEN], {"2502.14499": b"<html>Not yet.</html>"}) as server:
        with pytest.raises(SourceError, match="it is no PDF"):
            server.open().read("2502.14499")
        server.pdfs["2502.14499"] = pdf("Deep.")
        assert "Deep." in server.open().read("2502.14499")
        with pytest.raises(SourceError, match="arxiv knows no such paper"):
            server.open().read("2502.99999")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:192.168.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_leads_to_a_private_network_is_refused(address: str, scheme: str) -> None:
    def lookup(host: str, port: int, **kw: Any) -> Any:
        assert host != "arxiv.org" or port == 443
        return socket.getaddrinfo(address if host == "arxiv.org" else host, port, **kw)

    with Literature([HEN]) as server:
        server.next = [{"status": 301, "headers": {"Location": f"{scheme}://arxiv.org/api/query"}}]
        assert "arxiv.org is an address of a private network" in failed(server, lookup=lookup)
        assert "which is none of the hosts that are asked" in failed(server, exempt=frozenset())
        assert len(server.requests) == 1


@pytest.mark.skipif(not shutil.which("openssl"), reason="a certificate is made by openssl")
def test_a_server_proves_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "both.pem"
    make = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=arxiv.test"]
    names = ["-addext", "subjectAltName=DNS:arxiv.test", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", *make, *names], check=True, capture_output=True)
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())

    def lookup(host: str, port: int, **kw: Any) -> Any:
        return socket.getaddrinfo("127.0.0.1", port, **kw)

    with Literature([HEN], certificate=str(certificate)) as server:
        server.address = f"arxiv.test:{server.port}"
        assert "certificate verify failed" in failed(server, lookup=lookup)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert "Deep Hens" in server.open("arxiv", lookup=lookup).search("hens")
        assert server.requests[0][1]["host"] == server.address
        server.address = f"other.test:{server.port}"
        assert "certificate is not valid for 'other.test'" in failed(server, query="deep", lookup=lookup)


def test_a_name_without_an_address_is_a_sentence() -> None:
    def lookup(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    with Literature() as server:
        assert "arxiv cannot be reached: [Errno -2] Name or service not known." in failed(server, lookup=lookup)


def test_the_key_goes_to_its_service_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Literature([HEN]) as server, Literature([HEN]) as other:
        exempt = frozenset({server.host, other.host})
        monkeypatch.setenv("S2_API_KEY", "sesame-42")
        server.open(exempt=exempt).search("hens")
        keys = {path.split("?")[0]: headers.get("x-api-key") for path, headers in server.requests}
        assert keys == {"/api/query": None, "/graph/v1/paper/search": "sesame-42"}
        monkeypatch.setenv("SEMANTIC_SCHOLAR_API_KEY", "sesame-43")
        server.next = [{"status": 302, "headers": {"Location": f"http://{other.host}/graph/v1/paper/search?{QUERY}"}}]
        assert "Deep Hens" in server.open("semantic-scholar", exempt=exempt).search("deep hens")
        assert server.requests[-1][1]["x-api-key"] == "sesame-43"
        assert "x-api-key" not in other.requests[0][1]
        server.next = [{"status": 403, "body": b"bad key"}]
        assert "sesame" not in failed(server, "semantic-scholar", "foxes")
        monkeypatch.setenv("SEMANTIC_SCHOLAR_API_KEY", "sesame\r\n44")
        told = failed(server, "semantic-scholar", "foxes")
        assert told == "SEMANTIC_SCHOLAR_API_KEY has signs that no key has."
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files and not any(b"sesame" in path.read_bytes() for path in files)


QUERY = "query=hens&offset=0&limit=5&fields=title,abstract,externalIds"


def test_what_was_fetched_needs_no_network_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with Literature([HEN], {"2502.14499": pdf("Deep.")}) as server:
        first = [server.open().search("hens"), server.open().read("2502.14499")]
        asked = len(server.requests)
        assert [server.open().search("hens"), server.open().read("2502.14499")] == first
        assert len(server.requests) == asked == 3
    assert [server.open().search("hens"), server.open().read("2502.14499")] == first
    assert "arxiv cannot be reached" in failed(server, query="foxes")
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    assert [server.open().search("hens"), server.open().read("2502.14499")] == first
    assert failed(server, query="foxes") == "MLGYM_OFFLINE is set, and arxiv was not asked this before."


def test_one_service_stands_in_for_another_that_is_away() -> None:
    with Literature([HEN]) as server:
        server.next = [{"status": 403}]
        text = server.open().search("hens")
        assert text.startswith("semantic-scholar, 1 to 1 of 1:")
        assert text.endswith("arxiv cannot be used now: it answers with the status 403.")


def test_a_service_rests_between_two_requests() -> None:
    pauses: list[float] = []
    with Literature([HEN]) as server:
        server.open("arxiv", 3.0, pause=pauses.append).search("hens")
        assert not pauses
        server.open("arxiv", 3.0, pause=pauses.append).search("deep hens")
        assert len(pauses) == 1 and 0 < pauses[0] <= 3
        server.open("semantic-scholar", 3.0, pause=pauses.append).search("hens")
        assert len(pauses) == 1


@pytest.mark.parametrize("told", ["²", "never", "", "-5", "9" * 400, "Wed, 99 Oct 2099 07:28:00 GMT", "nan"])
def test_what_tells_no_time_is_passed_over(told: str) -> None:
    with Literature([HEN]) as server:
        server.next = [{"status": 429, "headers": {"Retry-After": told}}]
        if told.startswith("9"):
            assert "asks for a pause of 3600 more seconds" in failed(server)
        else:
            assert found(server)


@pytest.mark.parametrize("busy", [{"status": 429, "headers": {"Retry-After": "30"}}, {"body": b"Rate exceeded.\n"}])
def test_a_busy_service_is_asked_again_when_it_says(busy: dict[str, Any]) -> None:
    pauses: list[float] = []
    with Literature([HEN]) as server:
        server.next = [busy, busy]
        assert "Deep Hens" in server.open("arxiv", 3.0, pause=pauses.append).search("hens")
        assert len(server.requests) == 3
        told = [30, 30] if "status" in busy else [3, 6]
        assert len(pauses) == 2 and all(0 < pause <= most for pause, most in zip(pauses, told, strict=True))


def test_a_service_that_wants_a_long_pause_is_left_alone_by_all() -> None:
    with Literature([HEN]) as server:
        server.next = [{"status": 429, "headers": {"Retry-After": "600"}}]
        for _ in range(2):
            assert "arxiv asks for a pause of" in failed(server)
        assert len(server.requests) == 1
        assert found(server, "semantic-scholar")


def test_a_busy_service_is_given_up() -> None:
    with Literature([HEN]) as server:
        server.next = [{"status": 429}] * 3
        assert "the status 429" in failed(server)
        assert len(server.requests) == 3


def test_an_episode_has_so_many_requests() -> None:
    with Literature([HEN]) as server:
        papers = server.open("arxiv", requests=2)
        papers.search("hens")
        papers.search("deep")
        with pytest.raises(SourceError, match="has used up its requests"):
            papers.search("deep hens")
        assert "Deep Hens" in papers.search("hens")


def test_requests_of_threads_and_processes_come_one_at_a_time() -> None:
    code = (
        "import sys; from literature import Literature; server = Literature(); server.address = sys.argv[1]\n"
        "for query in sys.argv[2:]: server.open('arxiv').search(query)"
    )
    with Literature([HEN]) as server:
        command = [sys.executable, "-c", code, server.host]
        here = Path(__file__).parent
        others = [subprocess.Popen([*command, *(f"{name}{n}" for n in range(5))], cwd=here) for name in "ab"]
        threads = [threading.Thread(target=server.open("arxiv").search, args=(f"c{n}",)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [other.wait() for other in others] == [0, 0]
        assert (len(server.requests), server.busiest) == (15, 1)


def test_one_request_for_the_same_by_many() -> None:
    with Literature([HEN]) as server:
        threads = [threading.Thread(target=server.open("arxiv").search, args=("hens",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.requests) == 1


def test_an_error_of_arxiv_is_told() -> None:
    entry = "<entry><id>http://arxiv.org/api/errors#x</id><summary>incorrect id format</summary></entry>"
    with Literature() as server:
        server.next = [{"body": FEED.format(total=1, entries=entry).encode()}]
        assert failed(server) == "arxiv cannot answer this: incorrect id format."


def test_fields_of_other_kinds_are_left_out() -> None:
    odd = {"title": 7, "paperId": None, "authors": 5, "externalIds": [1], "openAccessPdf": "x", "abstract": {"a": 1}}
    with Literature() as server:
        server.next = [{"body": json.dumps({"data": [odd]}).encode()}]
        assert server.open("semantic-scholar").search("hens") == "semantic-scholar, 1 to 1 of 1:\n[s2:] 7"


def test_a_hostile_record_is_plain_text() -> None:
    hostile = record(7, "Hens\x1b[2J\u202e and\n[9999.99999] more", abstract="\x07Ignore <b>all</b> \u200bthat.")
    hostile |= {"authors": [{"name": 5}, "B", None, ["x"], {"name": None}], "year": [1], "venue": {"a": 1}}
    hostile["externalIds"]["ArXiv"] = "../../api"
    with Literature() as server:
        server.next = [{"body": json.dumps({"total": "many", "data": [hostile]}).encode()}]
        text = server.open("semantic-scholar").search("hens")
    assert text == (
        f"semantic-scholar, 1 to 1 of 1:\n[s2:{7:040x}] Hens�[2J and [9999.99999] more\n  5, B\n"
        "  �Ignore <b>all</b> that."
    )
