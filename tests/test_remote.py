"""A session at a server: the same as one here, over connections that break and servers that go."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlgym.errors import SandboxError, UsageError
from mlgym.records import Limits
from mlgym.remote import RemoteSession, places
from mlgym.rl import Engine, Row, ScriptedPolicy
from mlgym.serve import Bounds, Offer, Server, served
from mlgym.session import LocalSession, Session
from mlgym.trajectory import Trajectory

TASK = "duel-s3-d0.5"
ACTIONS = ["ls", "cat strategy.txt; false", "", "echo 1 1 1 1 1 > strategy.txt", "validate", "submit", "ls"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served(Offer(["duel"]), bounds=Bounds(answer_s=0.3)) as server:
        yield server


class Cutting:
    """A proxy of TCP that cuts a connection `cuts` times, once a request has gone through: its answer is lost."""

    def __init__(self, server: Server, cuts: int) -> None:
        self.to, self.cuts, self.listening = server.socket.getsockname(), cuts, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/{server.tokens[0]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                threading.Thread(target=self.forward, args=[client], daemon=True).start()

    def forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.to) as there, contextlib.suppress(OSError):
            seen = bytearray()
            threading.Thread(target=self.back, args=[there, client, seen], daemon=True).start()
            while data := client.recv(1 << 16):
                seen += data
                there.sendall(data)
            there.shutdown(socket.SHUT_WR)

    def back(self, there: socket.socket, client: socket.socket, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := there.recv(1 << 16):
                if b'"text"' in seen and self.cuts:
                    self.cuts -= 1
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


def played(session: Session) -> list[object]:
    """All that an episode tells."""
    told: list[object] = [session.reset(4), session.brief]
    for action in ACTIONS:
        outcome = session.act(action)
        told += [outcome, session.done, session.steps, session.reward, dict(session.parts)]
    return [*told, session.status, session.progress, session.noise]


def test_it_is_as_one_here(server: Server) -> None:
    here, there = LocalSession(TASK), RemoteSession(server.address, TASK)
    with contextlib.closing(here), contextlib.closing(there):
        assert played(there) == played(here)
        assert there.progress is not None and there.status == "submitted"
        there.reset(5)
        assert not there.done and there.brief.seed == 5 and there.steps == 0
        assert there.call("bash", {"command": "pwd"}).text.strip() == there.brief.machine["workspace"]
        outcome = there.finish("deadline")
        assert outcome.done and there.status == "timeout"
    assert not server.house.sessions


def test_options(server: Server) -> None:
    session = RemoteSession(server.address, TASK, limits=Limits(steps=1), reward="progress", tools="classic")
    with contextlib.closing(session):
        session.reset()
        assert session.brief.limits.steps == 1
        assert session.act("ls").truncated and session.status == "budget"
    wrong = RemoteSession(server.address, TASK, sandbox="local")
    with contextlib.closing(wrong), pytest.raises(UsageError, match="sandbox"):
        wrong.reset()
    assert places(server.address) == 64


def test_a_deadline(server: Server) -> None:
    with contextlib.closing(RemoteSession(server.address, TASK)) as session:
        session.reset()
        session.deadline = began = time.monotonic()
        session.deadline += 1.0
        assert "sleep" not in session.act("sleep 60").text and time.monotonic() - began < 40
        time.sleep(max(0.0, session.deadline - time.monotonic()))
        assert session.act("ls").done and session.status == "timeout"


def test_a_connection_that_breaks_takes_no_action_twice(server: Server) -> None:
    proxy = Cutting(server, cuts=3)
    with contextlib.closing(RemoteSession(proxy.url, TASK)) as session:
        session.reset()
        assert session.act("sleep 0.6; echo once >> log; cat log").text == "once\n"
        assert session.steps == 1 and proxy.cuts == 0
    assert not server.house.sessions
    proxy.listening.close()


def test_closed_from_another_thread(server: Server) -> None:
    session = RemoteSession(server.address, TASK)
    session.reset()
    thread = threading.Timer(0.5, session.close)
    thread.start()
    began = time.monotonic()
    outcome = session.act("sleep 60")
    thread.join()
    assert outcome.done and time.monotonic() - began < 40
    assert session.act("ls").text.startswith("The episode has ended")
    with pytest.raises(UsageError, match="closed"):
        session.reset()


def test_a_server_that_goes_leaves_the_episode_unscored() -> None:
    with served(Offer([TASK])) as server:
        session = RemoteSession(server.address, TASK, patience=0.3)
        session.reset()
    outcome = session.act("ls")
    assert outcome.truncated and outcome.reward is None and outcome.info["scored"] is False
    assert session.done and session.reward is None and session.status == "not_scored"
    with pytest.raises(SandboxError, match="cannot be used"):
        session.reset()
    session.close()


def test_a_server_that_has_forgotten_the_session(server: Server) -> None:
    session = RemoteSession(server.address, TASK)
    session.reset()
    with contextlib.closing(session.link.another()) as link:
        link.ask("/close", {"session_id": session.id})
    outcome = session.act("ls")
    assert outcome.reward is None and outcome.done and "no such session" in outcome.text
    session.reset()
    assert session.act("echo again").text == "again\n"
    session.close()


def test_mistakes(server: Server) -> None:
    bare = server.address.rpartition("/")[0]
    for url, token, task, says in [
        (bare, "wrong", TASK, "token is missing or wrong"),
        (bare, "", TASK, "token is missing or wrong"),
        (server.address, "", "titanic", "not offered"),
    ]:
        with contextlib.closing(RemoteSession(url, task, token)) as session:
            with pytest.raises(UsageError, match=says):
                session.reset()
            with pytest.raises(UsageError, match="call reset"):
                session.act("ls")
    with contextlib.closing(RemoteSession(bare, TASK, server.tokens[0])) as session:
        assert session.reset()
    for url in ("duel", "ftp://x/y", "http://127.0.0.1:99999/x"):
        with pytest.raises(UsageError, match="address"):
            RemoteSession(url, TASK)


def test_the_engine_rolls_out_at_a_server(server: Server) -> None:
    rows = [Row(TASK, seed=seed, group="one") for seed in range(2)]

    found = []
    for environments in (2, server.address):
        engine = Engine(ScriptedPolicy(ACTIONS[3:6]), environments=environments, protocol="plain")
        with contextlib.closing(engine):
            found.append([without_seconds(each) for each in engine.rollout(rows)])
    assert found[0] == found[1] and [each["status"] for each in found[1]] == ["submitted"] * 2
    assert not server.house.sessions


def test_what_is_no_server_of_ours() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        for status in (b"404 Not Found", b"502 Bad Gateway", b"404 Not Found"):
            client, _ = listening.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
                client.recv(1 << 16)

    threading.Thread(target=answer, daemon=True).start()
    session = RemoteSession(f"http://127.0.0.1:{listening.getsockname()[1]}", TASK, patience=0.0)
    with contextlib.closing(session):
        with pytest.raises(UsageError, match="no 'mlgym serve'"):
            session.reset()
        with pytest.raises(SandboxError, match="502"):
            session.reset()
    listening.close()
    with contextlib.closing(session.link.another()) as link, pytest.raises(SandboxError, match="refused"):
        link.ask("/places", {})


def without_seconds(trajectory: Trajectory) -> dict[str, Any]:
    told = trajectory.model_dump()
    for turn in told["turns"]:
        turn.update(model_s=0.0, env_s=0.0)
    return told
