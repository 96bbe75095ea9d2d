"""The official clients against local servers that speak as the real ones do."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlgym import models
from mlgym.errors import BudgetError, ModelError, ToolsRefused, UsageError
from mlgym.models.metered import Metered
from mlgym.models.prices import Price
from mlgym.models.scripted import Scripted
from mlgym.records import Limits, Message, Reply, ToolCall
from tests.servers import TOOLS_REFUSED, AnthropicServer, OpenAIServer, Server

ASK = [Message(role="system", content="Be brief."), Message(role="user", content="Hello")]
TOOL = {
    "type": "function",
    "function": {
        "name": "bash",
        "description": "Run a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    },
}


Ask = Callable[..., Reply]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Ask one model once, closing it afterwards."""
    opened: list[Any] = []

    def asked(name: str, server: Server, messages: Any = ASK, tools: Any = (), **sampling: Any) -> Any:
        opened.append(models.load(name, base_url=server.url, sampling=sampling))
        return opened[-1](messages, tools)

    yield asked
    for model in opened:
        model.close()


def history(arguments: str = '{"command": "ls"}') -> list[Message]:
    """A conversation with two parallel calls and their results."""
    calls = tuple(ToolCall(id=f"c{n}", name="bash", arguments=arguments) for n in (1, 2))
    results = [Message(role="tool", content=f"result {n}", id=f"c{n}") for n in (1, 2)]
    return [*ASK, Message(role="assistant", content="", calls=calls), *results]


def test_openai_sends_only_what_was_asked_for(ask: Ask) -> None:
    with OpenAIServer(["hi"]) as server:
        reply = ask("openai/x", server, tools=[TOOL])
    sent = server.requests[0]["body"]
    assert sent == {
        "model": "x",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "tools": [TOOL],
    }
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.money, reply.stop) == ("hi", 100, 10, 0.0, "stop")


def test_openai_sends_sampling_as_it_stands(ask: Ask) -> None:
    with OpenAIServer(["hi"]) as server:
        ask("vllm/x/y", server, temperature=0.2, top_k=5, chat_template_kwargs={"thinking": False})
    sent = server.requests[0]["body"]
    assert set(sent) == {"model", "messages", "temperature", "top_k", "chat_template_kwargs"}
    assert (sent["model"], sent["temperature"], sent["top_k"]) == ("x/y", 0.2, 5)


def test_openai_parallel_calls_there_and_back(ask: Ask) -> None:
    item = {"text": "Both.", "calls": [("bash", {"command": "ls"}), ("bash", '{"command": ')]}
    with OpenAIServer(lambda body: item) as server:
        reply = ask("openai/x", server, messages=history(), tools=[TOOL])
    sent = server.requests[0]["body"]["messages"][2:]
    assert [call["id"] for call in sent[0]["tool_calls"]] == ["c1", "c2"] and sent[0]["content"] is None
    assert [(m["role"], m["tool_call_id"]) for m in sent[1:]] == [("tool", "c1"), ("tool", "c2")]
    assert [(c.name, c.arguments) for c in reply.calls] == [("bash", '{"command": "ls"}'), ("bash", '{"command": ')]
    assert len({c.id for c in reply.calls}) == 2


def test_openai_never_sends_malformed_arguments_back(ask: Ask) -> None:
    with OpenAIServer(lambda body: "ok") as server:
        ask("openai/x", server, messages=history(arguments='{"command": '))
    assert server.requests[0]["body"]["messages"][2]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize(("name", "kind"), [("openai/x", OpenAIServer), ("anthropic/x", AnthropicServer)])
def test_a_name_that_a_model_made_up_is_sent_back_as_one_that_is_taken(ask: Ask, name: str, kind: type[Server]) -> None:
    for made, sent in (("run it!", "run_it_"), ("", "_"), ("x" * 99, "x" * 64)):
        calls = (ToolCall(id="c1", name=made, arguments="{}"),)
        with kind(lambda _: "fine") as server:
            ask(name, server, [message.changed(calls=calls) if message.calls else message for message in history()])
        assert f"'name': '{sent}'" in str(server.requests[0]["body"])


def test_openai_without_usage_tokens_are_estimated(ask: Ask) -> None:
    with OpenAIServer([{"text": "a" * 400, "usage": None}]) as server:
        reply = ask("openai/x", server)
    assert reply.tokens_out == 100 and reply.tokens_in > 10


def test_the_key_is_sent_where_one_is_set(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with OpenAIServer(["hi"]) as server:
        ask("openai/x", server), ask("vllm/x", server)
    sent = [request["headers"]["authorization"] for request in server.requests]
    assert sent == ["Bearer sk-secret", "Bearer not-needed"]  # a key goes to no other provider


def test_openrouter_tells_its_dollars(ask: Ask) -> None:
    with OpenAIServer([{"text": "hi", "more_usage": {"cost": 0.25}}]) as server:
        assert ask("openrouter/a/b", server).money == 0.25


@pytest.mark.parametrize("kind", TOOLS_REFUSED)
def test_refused_tools_are_recognised(ask: Ask, kind: Any) -> None:
    with OpenAIServer(["plain"], refuse_tools=kind) as server:
        with pytest.raises(ToolsRefused, match="no native tool calls"):
            ask("openai/x", server, tools=[TOOL])
        assert ask("openai/x", server).text == "plain"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"status": 401, "error": "Incorrect API key provided"}, "OPENAI_API_KEY"),
        ({"status": 404, "error": "The model `x` does not exist"}, "no model 'x'"),
        ({"status": 404, "error": {"detail": "Not Found"}}, "ends in /v1"),
        ({"status": 429, "error": "Rate limit reached", "headers": {"x-should-retry": "false"}}, "rate limit"),
        ({"status": 500, "error": "boom", "headers": {"x-should-retry": "false"}}, r"status 500 \(boom\)"),
        ({"status": 400, "error": "This model's maximum context length is 8192 tokens"}, "too long.*window"),
        ({"status": 400, "error": "Invalid schema for function 'bash': tools[0] is bad"}, "refused the request"),
        ({"status": 422, "error": {"detail": [{"loc": ["body"]}]}}, "refused the request"),
        ({"raw": "<html>", "headers": {"Content-Type": "text/html"}}, "usually ends in /v1"),
        ({"raw": "{not json"}, "cannot read|no completion"),
        ({"raw": {"error": {"message": "upstream is down"}}}, "upstream is down"),
    ],
)
def test_failures_are_one_sentence(ask: Ask, item: Any, words: str) -> None:
    too_long = BudgetError if "too long" in words else ModelError
    with OpenAIServer(lambda body: item) as server, pytest.raises(too_long, match=words) as failed:
        ask("openai/x", server, tools=[TOOL])
    assert not isinstance(failed.value, ToolsRefused)
    assert "\n" not in str(failed.value) and str(failed.value).endswith(".") and ".." not in str(failed.value)


def test_a_passing_failure_is_tried_again(ask: Ask) -> None:
    def script(body: Any) -> Any:
        return {"status": 429, "error": "slow down"} if len(server.requests) == 1 else "hi"

    with OpenAIServer(script) as server:
        assert ask("openai/x", server).text == "hi"
    assert len(server.requests) == 2


def test_a_server_that_is_not_there(ask: Ask) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = models.load("ollama/x", base_url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(ModelError, match=f"No server answers at http://127.0.0.1:{port}/v1.*is it running"):
        model(ASK, [])
    model.close()


def test_anthropic_sends_only_what_was_asked_for(ask: Ask) -> None:
    with AnthropicServer(["hi"]) as server:
        reply = ask("anthropic/x", server, tools=[TOOL])
    assert server.requests[0]["body"] == {
        "model": "x",
        "max_tokens": 16_000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]}
        ],
        "tools": [
            {"name": "bash", "description": "Run a command.", "input_schema": TOOL["function"]["parameters"]},
        ],
    }
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.stop) == ("hi", 100, 10, "end_turn")


def test_anthropic_sends_sampling_as_it_stands(ask: Ask) -> None:
    with AnthropicServer(["hi"]) as server:
        ask("anthropic/x", server, temperature=0.2, max_tokens=64_000, thinking={"type": "adaptive"})
    sent = server.requests[0]["body"]
    assert (sent["temperature"], sent["max_tokens"], sent["thinking"]) == (0.2, 64_000, {"type": "adaptive"})


def test_anthropic_results_of_parallel_calls_go_back_together(ask: Ask) -> None:
    with AnthropicServer(lambda body: "ok") as server:
        ask("anthropic/x", server, messages=[*history(), Message(role="user", content="Go on.")], tools=[TOOL])
    sent = server.requests[0]["body"]["messages"]
    assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
    assert [block["type"] for block in sent[1]["content"]] == ["tool_use", "tool_use"]
    assert [block["type"] for block in sent[2]["content"]] == ["tool_result", "tool_result", "text"]
    assert [block["tool_use_id"] for block in sent[2]["content"][:2]] == ["c1", "c2"]


def test_anthropic_thinking_is_sent_back_with_its_calls_even_from_a_record() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "abc"}
    with AnthropicServer(lambda body: {"blocks": [thought], "calls": [("bash", {"command": "ls"})]}) as server:
        model = models.load("anthropic/x", base_url=server.url)
        reply = Reply.model_validate_json(model(ASK, [TOOL]).model_dump_json())
        model.close()
        model = models.load("anthropic/x", base_url=server.url)  # as an episode that goes on has it
        said = Message(role="assistant", content=reply.text, calls=reply.calls, extra=reply.extra)
        model([*ASK, said, Message(role="tool", content="out", id=reply.calls[0].id)], [TOOL])
        model.close()
    assert server.requests[1]["body"]["messages"][1]["content"][0] == thought


def test_anthropic_counts_cached_tokens_too(ask: Ask) -> None:
    usage = {"cache_creation_input_tokens": 5, "cache_read_input_tokens": 3}
    with AnthropicServer([{"text": "hi", "more_usage": usage}]) as server:
        assert ask("anthropic/x", server).tokens_in == 108


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"status": 401, "error": "invalid x-api-key"}, "ANTHROPIC_API_KEY"),
        ({"status": 404, "error": "model: x", "kind": "not_found_error"}, "no model 'x'"),
        ({"status": 400, "error": "prompt is too long: 210000 tokens > 200000 maximum"}, "too long"),
        ({"status": 529, "error": "Overloaded", "headers": {"x-should-retry": "false"}}, "status 529"),
    ],
)
def test_anthropic_failures_are_one_sentence(ask: Ask, item: Any, words: str) -> None:
    with (
        AnthropicServer(lambda body: item) as server,
        pytest.raises((BudgetError if "too long" in words else ModelError), match=words),
    ):
        ask("anthropic/x", server, tools=[TOOL])


@pytest.mark.parametrize(("name", "kind"), [("openai/x", OpenAIServer), ("anthropic/x", AnthropicServer)])
def test_a_server_that_hangs_is_asked_again_after_the_users_time_out(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Server]
) -> None:
    monkeypatch.setenv("MLGYM_MODEL_TIMEOUT", "0.4")
    with kind(lambda body: {"text": "late", "hang": 2} if len(server.requests) == 1 else "hi") as server:
        assert ask(name, server).text == "hi" and len(server.requests) == 2


@pytest.mark.parametrize("cut", [{"cut": 1, "text": "half" * 50}, {"raw": '{"id": "x", "choi'}])
@pytest.mark.parametrize(("name", "kind"), [("openai/x", OpenAIServer), ("anthropic/x", AnthropicServer)])
def test_half_an_answer_is_a_sentence(ask: Ask, name: str, kind: type[Server], cut: dict[str, Any]) -> None:
    with kind(lambda body: dict(cut)) as server, pytest.raises(ModelError, match=r"^.*\.$|\?$"):
        ask(name, server)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "inf", "nan"])
def test_a_time_out_that_is_none_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MLGYM_MODEL_TIMEOUT", value)
    with pytest.raises(UsageError, match="MLGYM_MODEL_TIMEOUT is a number of seconds above 0"):
        models.load("openai/x", base_url="http://127.0.0.1:1/v1")


def test_anthropic_marks_what_stays_for_the_cache_and_prices_it(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = {"type": "ephemeral"}
    usage = {"cache_creation_input_tokens": 1000, "cache_read_input_tokens": 10_000}
    with AnthropicServer(lambda body: {"text": "ok", "more_usage": usage}) as server:
        reply = ask("anthropic/x", server, messages=history(), tools=[TOOL])
        ask("anthropic/x", server, messages=ASK[1:], tools=[TOOL])
        ask("anthropic/x", server, messages=history(), tools=[TOOL], cache=False)
        ask("anthropic/x", server, messages=history(), tools=[TOOL], cache_control={"type": "ephemeral", "ttl": "1h"})
    first, no_system, off, own = (request["body"] for request in server.requests)
    assert first["system"][0]["cache_control"] == first["messages"][-1]["content"][-1]["cache_control"] == mark
    assert str(first).count("cache_control") == 2 and no_system["tools"][-1]["cache_control"] == mark
    assert "cache" not in str(off) and str(own).count("cache_control") == 1 and own["cache_control"]["ttl"] == "1h"
    assert (reply.tokens_in, reply.tokens_cached) == (11_100, 10_000)
    price = Price(sent=1.0, received=5.0, cached=0.1, written=1.25)
    assert price.of(11_100, 10, 10_000, 1000) == pytest.approx((100 + 1000 + 1250 + 50) / 1e6)
    assert Price(sent=1.0, received=5.0).of(11_100, 10, 10_000, 1000) == pytest.approx((11_100 + 50) / 1e6)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 80}},
        {"prompt_cache_hit_tokens": 80},
        {"prompt_tokens_details": None},
    ],
)
def test_cached_tokens_are_read_and_counted(ask: Ask, usage: dict[str, Any]) -> None:
    with OpenAIServer([{"text": "hi", "more_usage": usage}]) as server:
        reply = ask("openai/x", server)
    assert (reply.tokens_in, reply.tokens_cached) == (100, 0 if None in usage.values() else 80)
    model = Metered(Scripted([reply]), Limits())
    model(ASK, [])
    assert model.cost.tokens_cached == reply.tokens_cached


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"reasoning_content": "hm"}, "hi", "hm"),
        ({"reasoning": "hm"}, "hi", "hm"),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "hi"},
                ]
            },
            "hi",
            "hm",
        ),
    ],
)
def test_reasoning_is_kept_apart(ask: Ask, message: Any, text: str, reasoning: str) -> None:
    with OpenAIServer([{"text": "hi", "more_message": message}]) as server:
        reply = ask("openai/x", server)
    assert (reply.text, reply.reasoning, reply.extra) == (text, reasoning, ())


def test_anthropics_thinking_is_reasoning(ask: Ask) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "abc"}
    with AnthropicServer([{"text": "hi", "blocks": [thought]}]) as server:
        reply = ask("anthropic/x", server)
    assert (reply.text, reply.reasoning, reply.extra) == ("hi", "hm", ())


def test_what_must_go_back_goes_back_and_only_to_its_kind(ask: Ask) -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "s"}]
    item = {"calls": [("bash", {"command": "ls"})], "more_message": {"reasoning_details": details, "reasoning": "hm"}}
    with OpenAIServer(lambda body: item) as server, AnthropicServer(lambda body: "ok") as other:
        reply = ask("openrouter/a/b", server, tools=[TOOL])
        said = Message(role="assistant", content=reply.text, calls=reply.calls, extra=reply.extra)
        turns = [*ASK, said, Message(role="tool", content="out", id=reply.calls[0].id)]
        ask("openrouter/a/b", server, messages=turns, tools=[TOOL])
        ask("anthropic/x", other, messages=turns, tools=[TOOL])
        ask("openai/x", server, messages=[*ASK, said.changed(extra=({"type": "thinking", "signature": "x"},))])
    assert server.requests[1]["body"]["messages"][2]["reasoning_details"] == details
    assert "reasoning" not in str(other.requests[0]["body"]) and "signature" not in str(server.requests[2]["body"])


def test_what_hangs_on_calls_goes_back_with_them(ask: Ask) -> None:
    signed = {"google": {"thought_signature": "abc"}}
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}, "extra_content": signed}
    item = {"more_message": {"tool_calls": [call], "reasoning_content": "hm"}}
    with OpenAIServer(lambda body: item) as server:
        reply = Reply.model_validate_json(ask("gemini/x", server, tools=[TOOL]).model_dump_json())
        said = Message(role="assistant", content=reply.text, calls=reply.calls, extra=reply.extra)
        ask("gemini/x", server, messages=[*ASK, said, Message(role="tool", content="out", id="c1")], tools=[TOOL])
    sent = server.requests[1]["body"]["messages"][2]
    assert sent["tool_calls"][0] == call and sent["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("provider", "unpinned"),
    [
        (None, True),
        ({"order": ["one"]}, True),
        ({"order": ["one", "two"], "allow_fallbacks": False}, True),
        ({"order": ["one"], "allow_fallbacks": False}, False),
        ({"only": ["one"]}, False),
    ],
)
def test_provenance_is_kept_and_a_router_that_chooses_is_marked(ask: Ask, provider: Any, unpinned: bool) -> None:
    item = {"text": "hi", "more": {"provider": "One", "model": "a/b-0805"}, "more_usage": {"cost": 0.5}}
    tells = {"/v1/models": {"data": [{"id": "a/b", "quantization": "fp8"}]}}
    with OpenAIServer([item], tells=tells) as server:
        reply = ask("openrouter/a/b", server, **({"provider": provider} if provider else {}))
        assert (reply.model, reply.upstream, reply.told_money, reply.money) == ("a/b-0805", "One", 0.5, 0.5)
        assert (reply.unpinned, reply.quantization) == (unpinned, "fp8")
        other = ask("vllm/a/b", server)
    assert (other.unpinned, other.money, other.told_money) == (False, 0.0, 0.5)
