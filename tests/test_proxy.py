"""The proxy: which hosts and addresses it lets through, what it makes of a request, and the way out of a sandbox."""

import contextlib
import http.server
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym.addresses import public
from mlgym.errors import UsageError
from mlgym.sandbox import SandboxSpec, open_shell
from mlgym.sandbox.proxy import Asked, Proxy, rules
from mlgym.sandbox.served import CONNECTIONS


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, **{key.lower(): value for key, value in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a web server of this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.05,))
        thread.start()
        yield served.server_address[1]
        served.shutdown()
        thread.join()


TALKS: list[socket.socket] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """What a test's sandboxes hold open ends with it."""
    yield
    while TALKS:
        TALKS.pop().close()


class Inside:
    """A proxy and an address where it listens, as a sandbox's driver would hand one out."""

    def __init__(self, proxy: Proxy) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.talk = socket.socket(socket.AF_UNIX)
        TALKS.append(self.talk)
        self.talk.settimeout(10)
        self.talk.connect(str(proxy.path))
        socket.send_fds(self.talk, [b"."], [self.listener.fileno()])
        self.taken = self.talk.recv(1) == b"."
        self.port = self.listener.getsockname()[1]
        self.listener.close()

    def raw(self, request: bytes) -> bytes:
        """All that comes back for these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))


def get(inside: Inside, url: str, data: bytes | None = None) -> tuple[int, str]:
    """Status and text of a page, fetched through the proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{inside.port}"}))
    try:
        with opener.open(url, data, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("rule", "host", "port", "allowed"),
    [
        ("pypi.org", "pypi.org", 443, True),
        ("pypi.org", "pypi.org", 80, True),
        ("pypi.org", "pypi.org", 8080, False),
        ("pypi.org:8080", "pypi.org", 8080, True),
        ("pypi.org:8080", "pypi.org", 443, False),
        ("pypi.org", "www.pypi.org", 443, False),
        ("pypi.org", "notpypi.org", 443, False),
        ("pypi.org", "pypi.org.evil.com", 443, False),
        ("*.pypi.org", "www.pypi.org", 443, True),
        ("*.pypi.org", "a.b.pypi.org", 443, True),
        ("*.pypi.org", "pypi.org", 443, False),
        ("*.pypi.org", "notpypi.org", 443, False),
        (" PyPI.org ", "pypi.org", 443, True),
    ],
)
def test_what_a_rule_allows(rule, host, port, allowed):
    assert rules([rule])[0].allows(host, port) is allowed


@pytest.mark.parametrize(
    "text", ["", "*", "http://pypi.org", "pypi.org/simple", "a b", "*.*.org", "pypi.org:99999", "é.fr"]
)
def test_what_is_no_rule_is_refused_in_a_sentence(text):
    with pytest.raises(UsageError, match=r"is no host of a network: give names such as .*\.$"):
        rules([text])


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        *((each, False) for each in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1")),
        *((each, False) for each in ("169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1")),
        *((each, False) for each in ("::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1")),
        *((each, False) for each in ("::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::1")),
        ("::ffff:8.8.8.8", True),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address, is_public):
    assert public(address) is is_public


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.1", "0x7f000001", "2130706433", "[::1]", "0"])
def test_this_machine_is_refused_under_every_name_even_where_all_hosts_are_allowed(tmp_path, server, name):
    asked: list[Asked] = []
    with Proxy([], tmp_path, asked.append) as proxy:
        inside = Inside(proxy)
        answer = inside.raw(f"GET http://{name}/ HTTP/1.1\r\n\r\n".encode())
    assert b"403 Forbidden" in answer or b"502 Bad Gateway" in answer  # some systems do not know all these spellings
    assert asked and asked[0].why


def test_this_machine_is_refused_even_where_it_is_named_and_reached_without_that_check(tmp_path, server):
    with Proxy([f"localhost:{server}"], tmp_path, lambda _: None) as proxy:
        status, text = get(Inside(proxy), f"http://localhost:{server}/")
        assert (status, text.split(" ", 1)[1]) == (403, "is an address of this machine or of a private network.\n")
    with Proxy([f"localhost:{server}"], tmp_path, lambda _: None, private=True) as proxy:
        assert get(Inside(proxy), f"http://localhost:{server}/")[0] == 200


def test_the_address_that_was_checked_is_the_one_connected_to(tmp_path, server):
    asked: list[str] = []

    def rebinding(host, port, **more):
        """A hostile name server: its second answer is another."""
        asked.append(host)
        return socket.getaddrinfo("192.0.2.1" if len(asked) == 1 else "127.0.0.1", port, **more)

    with Proxy([f"rebinding.test:{server}"], tmp_path, lambda _: None, lookup=rebinding) as proxy:
        inside = Inside(proxy)
        assert inside.raw(f"GET http://rebinding.test:{server}/ HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 403")
        assert asked == ["rebinding.test"]
        assert inside.raw(f"GET http://rebinding.test:{server}/ HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 403")


def test_pages_and_uploads_go_through_with_the_proxys_own_headers_gone(tmp_path, server):
    asked: list[Asked] = []
    with Proxy([f"localhost:{server}"], tmp_path, asked.append, private=True) as proxy:
        inside = Inside(proxy)
        head = f"GET http://localhost:{server}/a?b=c HTTP/1.1\r\nHost: elsewhere\r\n"
        head += "Proxy-Authorization: x\r\nX-Own: 1\r\n\r\n"
        told = json.loads(inside.raw(head.encode()).partition(b"\r\n\r\n")[2])
        assert told == {"path": "/a?b=c", "host": f"localhost:{server}", "connection": "close", "x-own": "1"}
        large = os.urandom(500_000).hex().encode()
        assert get(inside, f"http://localhost:{server}/up", large) == (200, large.decode())
        tunnel = f"CONNECT localhost:{server} HTTP/1.1\r\n\r\nGET /through HTTP/1.0\r\n\r\n".encode()
        assert inside.raw(tunnel).startswith(b"HTTP/1.1 200") and b"/through" in inside.raw(tunnel)
        assert get(inside, f"http://127.0.0.1:{server}/")[0] == 403
    assert [(one.host, one.port, one.allowed) for one in asked] == [
        *[("localhost", server, True)] * 4,
        ("127.0.0.1", server, False),
    ]


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET ftp://localhost/ HTTP/1.1\r\n\r\n",
        b"CONNECT localhost HTTP/1.1\r\n\r\n",
        b"CONNECT localhost:99999 HTTP/1.1\r\n\r\n",
        b"CONNECT user@localhost:443 HTTP/1.1\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\nA: 1\r\n folded\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\n" + b"A: 1\r\n" * 20_000,
    ],
)
def test_what_is_no_request_is_refused_and_the_next_served(tmp_path, server, request_):
    with Proxy([f"localhost:{server}"], tmp_path, lambda _: None, private=True) as proxy:
        inside = Inside(proxy)
        try:
            assert inside.raw(request_).startswith(b"HTTP/1.1 400")
        except ConnectionError:
            assert len(request_) > 65536  # it was not read to its end
        assert get(inside, f"http://localhost:{server}/")[0] == 200


@given(st.binary(max_size=300))
def test_any_bytes_end_in_an_answer(junk):
    from mlgym.sandbox.proxy import Refused, _target

    try:
        method, host, port, _ = _target(junk)
    except Refused:
        return
    assert method and host and 0 <= port < 65536


def socket_of_a_pair() -> socket.socket:
    one, other = socket.socketpair()
    TALKS.append(other)
    return one


def test_only_a_listening_socket_of_the_internet_is_taken(tmp_path):
    with Proxy([], tmp_path, lambda _: None) as proxy:
        for make in (socket.socket, lambda: socket.socket(socket.AF_UNIX), socket_of_a_pair):
            with socket.socket(socket.AF_UNIX) as talk, make() as other:
                talk.settimeout(10)
                talk.connect(str(proxy.path))
                socket.send_fds(talk, [b"."], [other.fileno()])
                assert talk.recv(1) == b""
        with socket.socket(socket.AF_UNIX) as talk:
            talk.connect(str(proxy.path))
        assert Inside(proxy).taken
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as talk, Path(os.devnull).open() as file:
                talk.settimeout(10)
                talk.connect(str(proxy.path))
                socket.send_fds(talk, [b"."], [file.fileno()] * 3)
                assert talk.recv(1) == b""
        assert len(list(Path("/proc/self/fd").iterdir())) < before + 10


def test_connections_at_once_are_bounded_and_free_their_place(tmp_path, server):
    with Proxy([f"localhost:{server}"], tmp_path, lambda _: None, private=True) as proxy:
        inside = Inside(proxy)
        with contextlib.ExitStack() as idle:
            for _ in range(CONNECTIONS):
                idle.enter_context(socket.create_connection(("127.0.0.1", inside.port), 10))
            with pytest.raises(OSError), socket.create_connection(("127.0.0.1", inside.port), 10) as one_more:
                assert one_more.recv(1) == b""
                raise OSError("closed at once")
        for _ in range(50):  # the others' ends are seen to in threads of their own
            with contextlib.suppress(OSError):
                if get(inside, f"http://localhost:{server}/")[0] == 200:
                    return
            time.sleep(0.1)
        raise AssertionError("no place became free")


def test_an_address_goes_with_its_sandbox(tmp_path, server):
    with Proxy([f"localhost:{server}"], tmp_path, lambda _: None, private=True) as proxy:
        inside = Inside(proxy)
        assert get(inside, f"http://localhost:{server}/")[0] == 200
        inside.talk.close()
        again = Inside(proxy)  # the proxy has seen to the first by the time that it takes the next
        with pytest.raises(OSError):
            inside.raw(b"x")
        assert get(again, f"http://localhost:{server}/")[0] == 200
    assert not proxy.path.exists()


def test_the_way_out_of_a_sandbox(tmp_path, server):
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    asked: list[Asked] = []
    fetch = "python3 -c \"import urllib.request as u; print(u.urlopen('{}', timeout=10).status)\" 2>&1 | tail -1"
    with Proxy([f"127.1:{server}"], tmp_path, asked.append, private=True) as proxy:
        with open_shell("bubblewrap", SandboxSpec(workspace, proxy=proxy.path)) as shell:
            assert shell.run(fetch.format(f"http://127.1:{server}/"), 20).output == "200\n"
            assert "403" in shell.run(fetch.format("http://example.org/"), 20).output
            # past the proxy there is nothing: not the host's own server, no name, no address
            direct = (
                f"python3 -c \"import socket; socket.create_connection(('127.0.0.1', {server}), 5)\" 2>&1 | tail -1"
            )
            assert "refused" in shell.run(direct, 20).output
            shell.run("pkill -9 python; kill -9 -1", 20)  # nothing in there serves the address
            assert shell.run(fetch.format(f"http://127.1:{server}/"), 20).output == "200\n"
        with open_shell("bubblewrap", SandboxSpec(workspace)) as shell:
            assert "200" not in shell.run(fetch.format(f"http://127.1:{server}/"), 20).output
    assert [(one.host, one.allowed) for one in asked] == [
        ("127.1", True),
        ("example.org", False),
        ("127.1", True),
    ]
    assert Path(proxy.path).parent == tmp_path
