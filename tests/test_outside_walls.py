"""What a program that is the agent cannot do: reach anything but its model and its tools, or keep its episode from an
end that is scored.
"""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from servers import OpenAIServer
from test_outside import Program, isolated, log, program  # noqa: F401 - two fixtures

from mlgym import outside
from mlgym.cache import cache_dir
from mlgym.outside import flow, http
from mlgym.outside import program as started
from mlgym.records import Limits

LOOK = """
import glob, socket
print("variables", sorted(key for key in os.environ if "KEY" in key), "of-the-host" in str(os.environ))

def reached(*address):
    try:
        return bool(socket.create_connection(address, 2))
    except OSError:
        return False

print("network", reached("1.1.1.1", 53), reached("127.0.0.1", PORT))
print("links", sorted(name for _, name in socket.if_nameindex()))
for place in ("HOME_OF_HOST", "CACHE", "REPOSITORY", "EPISODE", "/root/.cache", "/proc/1/root/etc/shadow"):
    print("there", place, os.path.exists(place))
found = [each for top in ("/home", "/tmp", "/opt", "/run", "/var/tmp", "/srv", "/mnt")
         for folder, _, names in os.walk(top) for each in names if "strategy" in each or each == "task.toml"]
print("files", found, sorted(os.listdir(".")), sorted(os.listdir("/opt")))
print("processes", len(glob.glob("/proc/[0-9]*")))
try:
    open("/opt/task/task", "a")
except OSError as error:
    print("task", error.strerror)
task("bash", "echo $OPENAI_API_KEY; ls /opt /run ~; cat /opt/task/task; env | grep -c MLGYM")
task("bash", "echo mine > x; (exec 3<>/dev/tcp/127.0.0.1/3128) 2>&1 | head -c 60")
print("mine", os.path.exists("x"), os.path.exists("/home/agent/workspace/x"))
"""


def test_it_reaches_its_model_and_its_tools_and_nothing_else(
    program: Program,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-host")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "of-the-host")
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {"PORT": str(server.getsockname()[1]), "HOME_OF_HOST": str(Path(outside.__file__).parent)}
        places |= {"CACHE": str(cache_dir()), "REPOSITORY": str(Path(__file__).parent), "EPISODE": str(tmp_path / "e")}
        text = LOOK
        for name, place in places.items():
            text = text.replace(name, place)
        result = program(text, ["never asked"])
    said = log(tmp_path)
    assert (result.ended, result.scored, result.isolation) == ("gave_up", True, "full")
    assert "variables ['OPENAI_API_KEY'] False" in said
    assert "network False False\nlinks ['lo']" in said
    assert said.count("there ") == 6 and not [line for line in said.splitlines() if line.endswith(" True")]
    assert "files [] ['task.md'] ['agent', 'env', 'task']" in said and "processes 2\n" in said
    assert "task Permission denied" in said or "task Read-only file system" in said
    _, _, task = said.partition("\n('bash', 'echo $OPENAI")
    assert "none" not in task and "/opt/task/task: No such file" in task and "\n0\n" in task
    assert "Connection refused" in task and "mine False False" in task


HOSTILE = """
import http.client, signal, socket
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def raw(data):
    with socket.create_connection(("127.0.0.1", 3128), 20) as open_:
        try:
            open_.sendall(data)
            open_.settimeout(5)
            return open_.recv(20)
        except OSError:
            return b"closed"

for data in (b"\\x00" * 1000, b"GET\\r\\n\\r\\n", b"A" * 100_000, b"POST /tools HTTP/9.9\\r\\n\\r\\n", b"\\r\\n" * 5000,
             b"GET / HTTP/1.1\\r\\n" + b"a: b\\r\\n" * 1000 + b"\\r\\n", b"\\x16\\x03\\x01\\x02\\x00"):
    print("raw", raw(data))
head = b"POST /v1/chat/completions HTTP/1.1\\r\\nContent-Length: 100000000\\r\\n\\r\\n"
with socket.create_connection(("127.0.0.1", 3128)) as open_:
    sent = 0
    try:
        open_.sendall(head)
        for _ in range(100):
            open_.sendall(b"x" * 1_000_000)
            sent += 1
    except OSError:
        pass
    print("sent all", sent == 100)
many = []
for _ in range(1000):
    try:
        many.append(socket.create_connection(("127.0.0.1", 3128), 1))
    except OSError:
        break
print("open", len(many))
for each in many:
    each.close()
for _ in range(20):  # half requests that are never finished
    open_ = socket.create_connection(("127.0.0.1", 3128))
    open_.sendall(b"POST /tools HTTP/1.1\\r\\nContent-Length: 10\\r\\n\\r\\n" if len(many) % 2 else b"GET /")
    many.append(open_)
control = socket.socket(socket.AF_UNIX)
control.connect("/run/proxy")
control.sendall(b"nonsense")
with socket.create_server(("127.0.0.1", 0)) as own:
    other = socket.socket(socket.AF_UNIX)
    other.connect("/run/proxy")
    socket.send_fds(other, [b"."], [own.fileno()])
for n in range(30):
    if not os.fork():
        os.setsid()
        time.sleep(1000)
for _ in range(100):
    if task("submit").returncode != 1:
        break
    time.sleep(0.1)
time.sleep(1000)
"""


@pytest.mark.slow
def test_nonsense_floods_and_forks_end_with_the_episode(
    program: Program,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, began = threading.active_count(), time.monotonic()
    files = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(http._Handler, "timeout", 0.3)
    result = program(HOSTILE, ["never asked"])
    assert (result.ended, result.scored) == ("submitted", True), log(tmp_path)
    assert time.monotonic() - began < 60
    assert "sent all False" in log(tmp_path)
    end = time.monotonic() + 10
    while threading.active_count() > before + 3 and time.monotonic() < end:
        time.sleep(0.05)
    assert threading.active_count() <= before + 3  # what serves all sandboxes stays
    assert len(list(Path("/proc/self/fd").iterdir())) <= files + 8


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("os.write(1, b'x' * 3_000_000)\ntime.sleep(1000)", "printed more than 1000000 bytes"),
        pytest.param("time.sleep(1000)", "asked for nothing in", marks=pytest.mark.slow),
        pytest.param(
            *("while True: urllib.request.urlopen(os.environ['MLGYM_URL'] + '/tools').read()", "asked for nothing in"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("while True: subprocess.run(['task', 'mcp'], input=b'nonsense\\n')", "asked for nothing in"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["floods", "hangs", "asks for the tools for ever", "talks nonsense for ever"],
)
def test_one_that_must_be_stopped_is_scored(
    program: Program,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    text: str,
    why: str,
) -> None:
    monkeypatch.setattr(started, "MOST", 1_000_000)
    monkeypatch.setattr(outside, "QUIET_S", 1.0)
    monkeypatch.setattr(flow, "LOOK_S", 0.1)
    result = program(text, limits=Limits(command_s=1.0))
    assert (result.ended, result.boundary, result.scored) == ("error", "agent", True)
    assert result.final and why in result.why
    assert (tmp_path / "e" / "agent.log").stat().st_size < 500_000


@pytest.mark.slow
def test_one_that_eats_its_memory_only_ends_itself(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    limits: Any = outside.LIMITS
    monkeypatch.setattr(outside, "LIMITS", type(limits)(memory_mb=200, disk_mb=100, file_mb=50))
    result = program('task("bash", "ls")\nx = [bytearray(1_000_000) for _ in range(1000)]')
    assert (result.ended, result.scored, result.steps) == ("gave_up", True, 1)
    assert result.why.startswith("The program ended with code")


# After a step that it may regret: what goes wrong on its way, or what the provider cannot read.
SPOILED = """
task("validate")
key, url = os.environ["OPENAI_API_KEY"], os.environ["OPENAI_BASE_URL"] + "/chat/completions"
go = '{"role": "user", "content": "go"}'
tool = '{"type": "function", "function": {"name": "x", "parameters": {"a": %s}}}'
bodies = ["NaN", '"\\\\ud800"', "[" * 900 + "]" * 900]
bodies = ['{"messages": [%s], "tools": [%s]}' % (go, tool % bad) for bad in bodies]
bodies.append('{"messages": [%s, {"role": "tool", "content": "\\\\u0000", "tool_call_id": "\\\\ud800"}]}' % go)
bodies.append('{"messages": [%s]}' % go.replace("go", "Break."))
for body in bodies:
    try:
        urllib.request.urlopen(urllib.request.Request(url, body.encode(), {"Authorization": "Bearer " + key})).read()
    except urllib.error.HTTPError as error:
        print(error.code, error.read())
"""


def test_no_request_of_a_program_leaves_it_unscored(program: Program, tmp_path: Path) -> None:  # noqa: F811
    def script(body: dict[str, Any]) -> Any:
        return {"status": 400, "error": "malformed"} if "Break." in str(body["messages"]) else "Fine."

    with OpenAIServer(script) as server:
        result = program(SPOILED, model="openai/x", base_url=server.url)
    assert (result.ended, result.boundary, result.scored) == ("error", "agent", True), log(tmp_path)
    assert result.final and "answers a plain question, but not" in result.why and "malformed" in result.why
    assert log(tmp_path).count("400 ") == 1  # for NaN
