"""`mlgym serve`: OpenEnv's wire protocol, its jobs and limits, and clients that mean no good."""

import contextlib
import http.client
import json
import os
import shutil
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
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from mlgym import guard, wire
from mlgym.errors import UsageError
from mlgym.made import written
from mlgym.offer import Offer, Reset, tightened
from mlgym.records import Limits
from mlgym.serve import Bounds, Server, read_tokens, served
from mlgym.session import LocalSession, Outcome
from mlgym.task import load_task

TASK = "duel-s3-d0.5"
TOKENS = ("first-token-of-this-test", "second-token-of-this-test")
SLOW = "sleep 1.2; echo once >> log; cat log"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served(Offer([TASK, "maze"]), tokens=TOKENS, bounds=Bounds(answer_s=0.4, message=4096)) as server:
        yield server


def ask(
    server: Server, path: str, body: Any = None, *, token: str = TOKENS[0], headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and answer of a request; a POST where there is a body."""
    port = server.socket.getsockname()[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    given = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.closing(connection):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data, {**given, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def begun(server: Server, **options: Any) -> str:
    """A new session's id, its episode begun."""
    status, told = ask(server, "/reset", {"task": TASK, **options})
    while status == 200 and told["observation"]["job"]:
        status, told = step(server, told["observation"]["session"], poll=told["observation"]["job"])
    assert status == 200, told
    return str(told["observation"]["session"])


def step(server: Server, session: str, request: str = "", **action: Any) -> tuple[int, Any]:
    return ask(server, "/step", {"session_id": session, "action": action, "request_id": request})


def result(server: Server, told: Any) -> Any:
    """What a job comes to."""
    while told["observation"]["job"]:
        _, told = step(server, told["observation"]["session"], poll=told["observation"]["job"])
    return told


def talk(socket: ClientConnection, kind: str, **data: Any) -> Any:
    """The answer to a message in a WebSocket."""
    socket.send(json.dumps({"type": kind, "data": data}))
    return json.loads(socket.recv())


def finished(socket: ClientConnection, answer: Any) -> Any:
    while job := answer["data"]["observation"]["job"]:
        answer = talk(socket, "step", poll=job)
    return answer["data"]


def ws(server: Server) -> str:
    return server.address.replace("http", "ws", 1) + "/ws"


def test_an_episode_in_a_socket_that_drops(server: Server) -> None:
    with connect(ws(server)) as first:
        told = finished(first, talk(first, "reset", task=TASK, seed=5, episode_id="mine"))
        assert told["reward"] is None and told["metadata"]["brief"]["seed"] == 5
        running = talk(first, "step", text=SLOW)["data"]
        assert running["metadata"]["running"] and running["reward"] == 0.0 and not running["done"]
        session = running["observation"]["session"]
        first.socket.shutdown(socket.SHUT_RDWR)  # a dropped connection: no close is sent
    with connect(ws(server)) as second:
        told = finished(second, talk(second, "reset", resume=session))
        assert told["observation"]["text"] == "once\n"
        state = talk(second, "state")["data"]
        assert (state["episode_id"], state["step_count"], state["task"]) == ("mine", 1, TASK)
        told = finished(second, talk(second, "step", tool="submit"))
        assert told["done"] and told["metadata"]["terminated"] and told["metadata"]["status"] == "submitted"
        assert told["reward"] == pytest.approx(sum(told["metadata"]["parts"].values()))
        second.send(json.dumps({"type": "close"}))
        with pytest.raises(ConnectionClosed):
            second.recv()
    with connect(f"{ws(server)}?session_id={session}") as third:
        assert json.loads(third.recv())["data"]["code"] == "SESSION_ERROR"


def test_a_request_that_comes_twice_acts_once(server: Server) -> None:
    session = begun(server)
    _, first = step(server, session, "r1", text=SLOW)
    status, other = step(server, session, "r2", text="echo no")
    assert status == 409 and "Job" in other["detail"]
    _, again = step(server, session, "r1", text=SLOW)
    assert first["observation"]["job"] == again["observation"]["job"] != ""
    told = result(server, again)
    assert told["observation"]["text"] == "once\n"
    assert step(server, session, "r1", text=SLOW)[1] == told
    assert step(server, session, poll="77")[0] == 404
    assert ask(server, "/close", {"session_id": session}) == (200, {"closed": True})
    assert step(server, session, text="ls")[0] == 404


def test_closing_ends_what_runs(server: Server) -> None:
    session, began = begun(server), time.monotonic()
    assert step(server, session, text="sleep 60")[1]["observation"]["job"]
    assert ask(server, "/close", {"session_id": session})[0] == 200
    while server.house.ending:
        time.sleep(0.02)
    assert time.monotonic() - began < 40


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"task": "../tasks/titanic"}, "not offered"),
        ({"task": "titanic"}, "not offered"),
        ({"task": "duel-s4-d0.5"}, "not offered"),
        ({"task": "maze-s1-d7"}, "difficulty"),
        ({"reward": "os:system"}, "reward must be"),
        ({"reward": "shaped?env=1&x=os.system"}, "reward must be"),
        ({"tools": "modern+os:system"}, "tools"),
        ({"feedback": "test"}, "feedback"),
        ({"sandbox": "local"}, "sandbox"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"split": "train", "index": 9}, "no task 9"),
        ({"session_id": "../../../etc"}, "session_id"),
        ({"limits": {"steps": "many"}}, "steps"),
    ],
)
def test_what_a_client_may_not_choose(server: Server, wanted: dict[str, Any], says: str) -> None:
    status, told = ask(server, "/reset", {"task": TASK, **wanted})
    assert status in (400, 422) and says in told["detail"], told
    if id := wanted.get("session_id"):
        assert (0, id) not in server.house.sessions


def test_a_made_tasks_name_leads_to_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(Path(__file__).parent.parent / "examples" / "guess", tmp_path / "private")
    written("maze-s1-d0.5", tmp_path)  # as `mlgym tasks generate` does
    assert load_task("maze-s1-d0.5/../private").name == "private"
    for name in ("maze-s1-d0.5/../private", "maze-s1-d0.5/../private~budget=0.5", "./maze-s1-d0.5"):
        with pytest.raises(UsageError, match="not offered"):
            Offer(["maze"]).task(Reset(task=name))


def test_limits_are_tighter_never_wider() -> None:
    own = Limits(steps=20, seconds=60.0, command_s=10.0)
    asked = Limits(steps=99, seconds=5.0, command_s=1e9, training_s=3.0)
    assert tightened(own, asked) == Limits(steps=20, seconds=5.0, command_s=10.0, training_s=3.0)
    assert tightened(own, None) == own


def test_what_is_for_evaluation_is_not_offered_for_training() -> None:
    with pytest.raises(UsageError, match="There is no reward 'shapely'"):
        Offer([TASK], reward="shapely")
    with pytest.raises(UsageError, match="--include-eval"):
        Offer(["battle-of-sexes"])
    offer = Offer([TASK, "battle-of-sexes"], include_eval=True)
    assert {split: [task.name for task in tasks] for split, tasks in offer.splits.items()} == {
        "train": [TASK],
        "test": ["battle-of-sexes"],
    }
    assert [offer.task(Reset(seed=seed)).name for seed in (0, 1)] == [TASK, "battle-of-sexes"]


def test_test_scores_are_kept_back_until_the_end() -> None:
    session, info = LocalSession(load_task(TASK)), {"scored": True, "attempt": {"test": {"skill": 0.7}, "n": 0}}
    shown = wire.told(session, Outcome("text", 0.0, info=info))
    assert "0.7" not in json.dumps(shown)
    assert "0.7" in json.dumps(wire.told(session, Outcome("text", 0.0, terminated=True, info=info)))
    session.close()


def test_the_routes_that_tell(server: Server) -> None:
    assert ask(server, "/health", token="") == (200, {"status": "healthy"})
    assert ask(server, "/list_environments")[1] == ["mlgym"]
    assert ask(server, "/mlgym/splits")[1] == [{"name": "train", "type": "train"}]
    assert ask(server, "/mlgym/num_tasks", {"split": "train"})[1] == {"num_tasks": 1}
    assert ask(server, "/mlgym/task", {"split": "train", "index": 0})[1]["task"]["id"] == TASK
    assert ask(server, "/mlgym/task", {"split": "train", "index": 1})[0] == 400
    assert len(ask(server, "/mlgym/task_range", {"split": "train", "start": 0, "stop": 5})[1]["tasks"]) == 1
    assert set(ask(server, "/schema")[1]) == {"action", "observation", "state"}
    assert set(ask(server, "/metadata")[1]) == {"name", "description", "version"}
    assert ask(server, "/places")[1]["sessions"] == 64
    assert {"/reset", "/step", "/state"} <= set(ask(server, "/openapi.json")[1]["paths"])
    assert ask(server, "/mcp", {})[1]["error"]["code"] == -32601


@pytest.mark.parametrize("token", ["", "wrong", TOKENS[0][:-1], TOKENS[0] + "x", "ä" * 24])
def test_no_token_no_service(server: Server, token: str) -> None:
    for path in ("/state?session_id=x", "/places", "/schema", "/nothing"):
        assert ask(server, path, token=token)[0] == 401
    assert ask(server, "/reset", {"task": TASK}, token=token)[0] == 401
    port = server.socket.getsockname()[1]
    quoted = urllib.parse.quote(token)
    for address in (f"ws://127.0.0.1:{port}/{quoted}/ws", f"ws://127.0.0.1:{port}/ws"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(address).close()


def test_what_a_browser_could_send(server: Server) -> None:
    # DNS rebinding: the page's own name now leads to this machine.
    status, told = ask(server, "/places", headers={"Host": "evil.example:8000"})
    assert status == 403 and "name of the server" in told["detail"]
    for host in ("127.0.0.1.evil.example", "[::1].evil.example", "localhost.evil.example", ""):
        assert ask(server, "/places", headers={"Host": host})[0] == 403, host
    for host in ("localhost:8000", "127.0.0.1", "[::1]:9"):
        assert ask(server, "/places", headers={"Host": host})[0] == 200, host
    assert ask(server, "/places", headers={"Origin": "http://127.0.0.1:8000"})[0] == 403
    with pytest.raises(InvalidStatus, match="403"):
        connect(ws(server), origin="http://localhost").close()  # type: ignore[arg-type]


def test_one_token_sees_nothing_of_another(server: Server) -> None:
    session = begun(server)
    for path in ("/step", "/close"):
        body = {"session_id": session, "action": {"text": "ls"}}
        assert ask(server, path, body, token=TOKENS[1])[0] == 404
    assert ask(server, f"/state?session_id={session}", token=TOKENS[1])[0] == 404
    assert ask(server, f"/state?session_id={session}")[0] == 200
    ask(server, "/close", {"session_id": session})


GARBAGE = [
    b"\xff\xfe\x00",
    b"\x00" * 100,
    b"null",
    b"[1]",
    b"[" * 4000,
    b'{"type": NaN}',
    b'{"type": "reset", "data": {"metadata": {"x": Infinity}}}',
    b'{"type": "step", "data": 1}',
    b'{"type": "step", "data": {}}',
    b'{"type": "step", "data": {"text": "ls", "tool": "bash"}}',
    b'{"type": "step", "data": {"text": "ls"}}',
    b'{"type": "step", "data": {"text": "ls", "sudo": 1}}',
    b'{"type": "reset", "data": {"seed": 1e400}}',
    b'{"type": "reset", "data": {"seed": ' + b"9" * 3000 + b"}}",
    b'{"type": "reset", "data": {"resume": "x"}}',
    b'{"type": ["reset"]}',
    b'{"type": "mcp", "data": {}}',
    b'{"type": "state"}',
]


def test_garbage_is_answered_and_changes_nothing(server: Server) -> None:
    before = len(server.house.sessions)
    with connect(ws(server)) as socket:
        for frame in GARBAGE:
            for sent in (frame, frame.decode("latin-1")):
                socket.send(sent)
                answer = json.loads(socket.recv())
                assert answer["type"] == "error" and answer["data"]["message"].endswith("."), (frame, answer)
        assert talk(socket, "reset", task="\ud800")["type"] == "error"
        deep: Any = "x"
        for _ in range(200):
            deep = [deep]
        assert len(server.house.sessions) <= before + 1
        finished(socket, talk(socket, "reset", task=TASK))
        told = finished(socket, talk(socket, "step", tool="bash", args={"command": deep, "\ud800": "\ud800"}))
        assert told["metadata"]["info"]["observation"]["status"] == "format"
        talk(socket, "state")
        socket.send('{"type": "close"}')
    for body in (frame for frame in GARBAGE if b'"type"' not in frame):
        assert ask(server, "/step", body)[0] in (400, 422), body
    assert ask(server, "/mlgym/task", b'{"split": "\\ud800", "index": 1}')[0] == 400
    assert ask(server, "/step", b"x" * 5000)[0] == 413


def test_a_huge_message_ends_its_own_socket_only(server: Server) -> None:
    with connect(ws(server)) as good, connect(ws(server)) as bad:
        finished(good, talk(good, "reset", task=TASK))
        with pytest.raises(ConnectionClosed, match="1009"):
            bad.send('{"type": "step", "data": {"text": "' + "x" * 50_000 + '"}}')
            bad.recv()
        assert finished(good, talk(good, "step", text="echo here"))["observation"]["text"] == "here\n"
        good.send('{"type": "close"}')


def test_places_are_counted() -> None:
    bounds = Bounds(sessions=2, per_token=1, answer_s=5)
    with served(Offer([TASK]), tokens=TOKENS, bounds=bounds) as server:
        session = begun(server)
        status, told = ask(server, "/reset", {"task": TASK})
        assert status == 503 and "1 of 1" in told["detail"]
        assert ask(server, "/reset", {"task": TASK}, token=TOKENS[1])[0] == 200
        with connect(ws(server)) as socket:
            assert talk(socket, "reset", task=TASK)["data"]["code"] == "CAPACITY_REACHED"
            ask(server, "/close", {"session_id": session})
            assert talk(socket, "reset", task=TASK)["type"] == "observation"


def test_an_idle_session_is_closed() -> None:
    with served(Offer([TASK]), bounds=Bounds(idle_s=0.5, answer_s=5)) as server:
        token = server.tokens[0]
        assert ask(server, "/reset", {"task": TASK}, token=token)[0] == 200
        (hosted,) = server.house.sessions.values()
        assert hosted.local is not None and hosted.local.research.session.shell.running
        shell = hosted.local.research.session.shell
        until = time.monotonic() + 10
        while shell.running and time.monotonic() < until:
            time.sleep(0.05)
        assert not shell.running and not server.house.sessions


def test_many_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUEST_S", 60.0)
    with served(Offer([TASK]), bounds=Bounds(connections=6)) as server, contextlib.ExitStack() as held:
        address = server.socket.getsockname()
        sockets = [held.enter_context(socket.create_connection(address, timeout=10)) for _ in range(30)]
        for each in sockets[6:]:
            with contextlib.suppress(ConnectionError):
                assert each.recv(100) == b""


def test_slow_requests_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUEST_S", 0.5)
    with served(Offer([TASK])) as server, contextlib.ExitStack() as held:
        address = server.socket.getsockname()
        sockets = [held.enter_context(socket.create_connection(address, timeout=5)) for _ in range(6)]
        for each in sockets[:3]:
            each.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")  # and never more
        for each in sockets:
            with contextlib.suppress(ConnectionError):
                assert each.recv(100) == b""
        assert ask(server, "/places", token=server.tokens[0])[0] == 200


def test_tokens_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("\n".join(TOKENS) + "\n\n")
    file.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_tokens(file)
    file.chmod(0o600)
    assert read_tokens(file) == TOKENS
    file.write_text("\n")
    with pytest.raises(UsageError, match="no token"):
        read_tokens(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_tokens(tmp_path / "none")
    with pytest.raises(UsageError, match="16 characters"):
        Server(Offer([TASK]), tokens=["short"])


def test_a_port_that_is_taken(server: Server) -> None:
    with pytest.raises(UsageError, match="cannot be listened at"):
        Server(Offer([TASK]), port=server.socket.getsockname()[1])


def launched(tmp_path: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mlgym", "serve", "-t", TASK, "--port", "0", "--answer", "0.5", *options]
    env = {**os.environ, "MLGYM_CACHE": str(tmp_path), "MLGYM_SERVE_TOKEN": TOKENS[0]}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def marked(mark: str) -> list[str]:
    """The processes whose command line has a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    mark = f"{600 + os.getpid() / 1e7:.7f}{int(number)}"
    with launched(tmp_path) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "Serving at http://127.0.0.1:" in line and TOKENS[0] not in line
        port = int(urllib.parse.urlsplit(line.split()[-1]).port or 0)
        with connect(f"ws://127.0.0.1:{port}/{TOKENS[0]}/ws") as client:
            finished(client, talk(client, "reset", task=TASK))
            assert talk(client, "step", text=f"sleep {mark}")["data"]["observation"]["job"]
            assert marked(mark)
            process.send_signal(number)
            code = process.wait(40)
        assert code == (0 if number != signal.SIGKILL else -9), process.stderr and process.stderr.read()
    until = time.monotonic() + 20
    while marked(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert not marked(mark)
    if number == signal.SIGKILL:  # its folders are swept away by whoever comes next
        assert list((tmp_path / "scratch").iterdir())
        with launched(tmp_path) as process:
            assert process.stdout is not None
            port = int(urllib.parse.urlsplit(process.stdout.readline().split()[-1]).port or 0)
            with connect(f"ws://127.0.0.1:{port}/{TOKENS[0]}/ws") as client:
                finished(client, talk(client, "reset", task=TASK))
            process.terminate()
    assert not list((tmp_path / "scratch").iterdir())
