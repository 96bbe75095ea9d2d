"""OpenAI's interface as programs get it: with OpenAI's own client, and with what no client would send."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from mlgym.errors import BudgetError, ToolsRefused
from mlgym.models.scripted import Scripted
from mlgym.outside import http as service
from mlgym.outside.chat import Talk, Unfit
from mlgym.outside.desk import Desk
from mlgym.outside.flow import CALLS, served
from mlgym.outside.http import MOST, Service
from mlgym.records import Message, Observation, Reply, ToolCall
from mlgym.sandbox.served import Served

BASH = {"type": "function", "function": {"name": "bash", "description": "Run.", "parameters": {"type": "object"}}}


class Free:
    """An asker that nothing is held against."""

    def check(self) -> None:
        """Nothing."""

    def wait(self, seconds: float) -> None:
        """Nothing."""


class Episode:
    """The agent's generator in a thread, with steps that are answered by what was done."""

    def __init__(self, model: Any, quiet_s: float = 60.0) -> None:
        self.desk, self.model, self.quiet_s = Desk((BASH,), "small"), model, quiet_s
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        flow = served(self.desk, self.model, Free(), Talk(), lambda: None, self.quiet_s)
        try:
            action = next(flow)
            while True:
                action = flow.send(Observation(text=json.dumps([action.tool, action.args, action.thought])))
        except StopIteration:
            pass
        except Exception as error:
            self.error = error
        finally:
            self.desk.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Starts an episode with a model, and gets its port."""
    begun: list[Episode] = []

    def start(model: Any, quiet_s: float = 60.0) -> tuple[Episode, int]:
        begun.append(Episode(model, quiet_s))
        server = Served(tmp_path / f"{len(begun)}", Service(begun[-1].desk).answer)
        server.__enter__()
        servers.append(server)
        begun[-1].thread.start()
        return begun[-1], server.listen()

    servers: list[Served] = []
    yield start
    for one, server in zip(begun, servers, strict=True):
        one.desk.leave()
        one.thread.join(10)
        server.__exit__()


def client(port: int, **more: Any) -> openai.OpenAI:
    direct = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1", http_client=direct, **more)


def post(port: int, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, data, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def test_a_conversation_with_tools(serve: Any) -> None:
    seen: list[Any] = []

    def model(messages: Any, tools: Any) -> Reply:
        seen.append((messages, tools))
        call = ToolCall(id="c1", name="bash", arguments='{"command": "ls"}')
        signed = ({"type": "thinking", "signature": "s"},)
        if len(seen) == 1:
            return Reply(text="", calls=(call,), extra=signed, tokens_in=7, tokens_out=3, stop="tool_use", model="m")
        return Reply(text="done", reasoning="I thought", stop="max_tokens")

    _, port = serve(model)
    with client(port) as asking:
        assert [each.id for each in asking.models.list()] == ["small"]
        said: list[Any] = [
            {"role": "developer", "content": "Act."},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        ]
        first = asking.chat.completions.create(model="x", messages=said, tools=[BASH], temperature=0)  # type: ignore[list-item]
        choice = first.choices[0]
        assert choice.finish_reason == "tool_calls" and choice.message.tool_calls
        assert choice.message.content is None and choice.message.tool_calls[0].id == "c1"
        assert first.usage and (first.usage.prompt_tokens, first.usage.total_tokens, first.model) == (7, 10, "m")
        said += [choice.message, {"role": "tool", "tool_call_id": "c1", "content": "a.py"}]
        second = asking.chat.completions.create(model="x", messages=said)
        assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("done", "length")
    messages, tools = seen[0]
    assert messages == [Message(role="system", content="Act."), Message(role="user", content="one\ntwo")]
    assert tools == [BASH]
    assert [message.role for message in seen[1][0]] == ["system", "user", "assistant", "tool"]
    assert seen[1][0][2].extra[0]["signature"] == "s" and seen[1][0][3].id == "c1"


def test_a_stream(serve: Any) -> None:
    replies = [{"text": "look", "calls": [{"name": "bash", "arguments": {"command": "ls"}}], "tokens_in": 5}]
    _, port = serve(Scripted(replies))
    with client(port) as asking:
        chunks = list(
            asking.chat.completions.create(
                model="x",
                messages=[{"role": "user", "content": "go"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "look"
    calls = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert calls[0].index == 0 and calls[0].function and calls[0].function.arguments == '{"command": "ls"}'
    assert chunks[-2].choices[0].finish_reason == "tool_calls" and chunks[-1].usage
    assert chunks[-1].usage.prompt_tokens == 5


def test_what_fails_at_the_model(serve: Any) -> None:
    def budget(*_: Any) -> Reply:
        raise BudgetError("All is spent.")

    def long(messages: Any, _: Any) -> Reply:
        if len(messages) > 1:
            raise BudgetError("It is too long.", limit="context")
        return Reply(text="short")

    def refusing(_: Any, tools: Any) -> Reply:
        if tools:
            raise ToolsRefused("No tools here.")
        return Reply(text="without")

    go: list[Any] = [{"role": "user", "content": "go"}]
    episode, port = serve(budget)
    with client(port) as asking, pytest.raises(openai.RateLimitError, match="All is spent") as caught:
        asking.chat.completions.create(model="x", messages=go)
    assert caught.value.code == "insufficient_quota"
    episode.desk.leave()
    episode.thread.join(10)
    assert isinstance(episode.error, BudgetError)
    episode, port = serve(long)
    with client(port) as asking:
        with pytest.raises(openai.BadRequestError, match="too long") as bad:
            asking.chat.completions.create(model="x", messages=go * 2)
        assert asking.chat.completions.create(model="x", messages=go).choices[0].message.content == "short"
        with pytest.raises(openai.BadRequestError):
            asking.chat.completions.create(model="x", messages=go * 2)
    assert bad.value.code == "context_length_exceeded"
    episode.desk.leave()
    episode.thread.join(10)
    assert isinstance(episode.error, BudgetError) and episode.error.limit == "context"
    _, port = serve(refusing)
    with client(port) as asking:
        with pytest.raises(openai.BadRequestError, match="No tools here"):
            asking.chat.completions.create(model="x", messages=go, tools=[BASH])  # type: ignore[list-item]
        assert asking.chat.completions.create(model="x", messages=go).choices[0].message.content == "without"


def test_tools_and_their_order(serve: Any) -> None:
    _, port = serve(Scripted(["a thought"]))
    assert post(port, "/chat/completions", {"messages": [{"role": "user", "content": "go"}]})[0] == 200
    status, seen = post(port, "/tools", {"tool": "bash", "args": {"command": "ls"}})
    assert (status, seen["status"], json.loads(seen["text"])) == (200, "ok", ["bash", {"command": "ls"}, "a thought"])
    assert json.loads(post(port, "/tools", {"tool": "bash"})[1]["text"]) == ["bash", {}, ""]
    told = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "bash", "arguments": {"a": 1}}}
    assert json.loads(post(port, "/mcp", told)[1]["result"]["content"][0]["text"]) == ["bash", {"a": 1}, ""]
    assert post(port, "/mcp", {"jsonrpc": "2.0", "method": "notifications/initialized"}) == (202, None)


GO = {"role": "user", "content": "go"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/nothing", {}, 404),
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[" * 100_000, 400),
        ("/v1/chat/completions", [], 400),
        ("/v1/chat/completions", {"messages": []}, 400),
        ("/v1/chat/completions", {"messages": "go"}, 400),
        ("/v1/chat/completions", {"messages": [3]}, 400),
        ("/v1/chat/completions", {"messages": [{"role": "root", "content": "go"}]}, 400),
        ("/v1/chat/completions", {"messages": [{"role": [], "content": "go"}]}, 400),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": 3}]}, 400),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400),
        ("/v1/chat/completions", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, 400),
        ("/v1/chat/completions", {"messages": [GO], "n": 2}, 400),
        ("/v1/chat/completions", {"messages": [GO], "tools": ["bash"]}, 400),
        ("/v1/chat/completions", {"messages": [GO], "tools": 3}, 400),
        ("/v1/chat/completions", {"messages": [GO], "tools": [{"function": {"name": "x" * 100}}]}, 400),
        ("/tools", {"tool": 3}, 400),
        ("/tools", [], 400),
        ("/tools", {"tool": "bash", "args": []}, 400),
    ],
)
def test_what_is_malformed_is_refused(serve: Any, path: str, body: Any, status: int) -> None:
    episode, port = serve(Scripted([]))
    found, said = post(port, path, body)
    assert (found, set(said["error"])) == (status, {"message", "type", "param", "code"})
    assert episode.thread.is_alive()


def test_a_body_without_a_length_or_with_too_much_is_not_read(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, port = serve(Scripted([]))
    for length, status in ((str(MOST + 1), 413), ("9" * 5000, 413), ("-1", 411), ("²", 411), ("many", 411)):
        assert post(port, "/tools", b"", {"Content-Length": length})[0] == status
    assert post(port, "/tools", b"0\r\n\r\n", {"Transfer-Encoding": "chunked"})[0] == 411
    monkeypatch.setattr(service, "ALL", 5)
    assert post(port, "/tools", {})[0] == 400 and post(port, "/tools", b"    {}")[0] == 413


def test_one_that_asks_for_nothing_and_one_that_only_asks_the_model_are_stopped(serve: Any) -> None:
    episode, _ = serve(Scripted([]), quiet_s=0.2)
    episode.thread.join(10)
    assert "asked for nothing" in str(episode.error)
    episode, port = serve(lambda *_: Reply(text="again"))
    go = {"messages": [GO]}
    assert {post(port, "/v1/chat/completions", go)[0] for _ in range(CALLS)} == {200}
    assert post(port, "/v1/chat/completions", go)[0] == 410 or post(port, "/v1/chat/completions", go)[0] == 410
    assert f"{CALLS} times without a step" in str(episode.error)


def test_settings_that_are_not_passed_on_are_remembered_and_few() -> None:
    talk = Talk()
    talk.asked({"messages": [GO], "temperature": 1, "stream": True, **{f"key{n}" * 50: 1 for n in range(100)}})
    assert len(talk.ignored) == 20 and "temperature" in talk.ignored and "stream" not in talk.ignored
    with pytest.raises(Unfit, match="image_url"):
        talk.asked({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]})
