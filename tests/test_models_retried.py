"""Failures of servers: which class each is, whether it is tried again, and what ends the pauses."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from mlgym import models
from mlgym.errors import BudgetError, MlgymError, ModelError, Stopped, ToolsRefused, Unanswerable, UsageError
from mlgym.models.metered import Metered
from mlgym.models.retried import TRIES
from mlgym.records import Limits, Message
from tests.servers import AnthropicServer, OpenAIServer, Server

ASK = [Message(role="user", content="Hello")]
TOOL = {"type": "function", "function": {"name": "bash", "description": "", "parameters": {"type": "object"}}}
KINDS = pytest.mark.parametrize(("name", "kind"), [("openai/x", OpenAIServer), ("anthropic/x", AnthropicServer)])
SLOW = {"status": 429, "error": "slow down"}


def failure(name: str, server: Server, check: Any = None) -> MlgymError:
    """What asking once comes to, which must be a failure."""
    model: Any = models.load(name, base_url=server.url)
    model.check = check or model.check
    try:
        with pytest.raises(MlgymError) as failed:
            model(ASK, [TOOL])
    finally:
        model.close()
    return failed.value


@pytest.mark.parametrize(
    ("item", "error", "lasting", "again"),
    [
        ({"status": 400, "error": "tools is not supported"}, ToolsRefused, False, False),
        ({"status": 400, "error": "maximum context length is 8192 tokens"}, BudgetError, False, False),
        ({"status": 413, "error": "prompt is too long"}, BudgetError, False, False),
        *[({"status": status, "error": "no"}, ModelError, True, False) for status in (400, 401, 403, 404, 422)],
        *[({"status": status, "error": "not now"}, ModelError, False, True) for status in (402, 408, 409, 425, 429)],
        *[({"status": status, "error": "boom"}, ModelError, False, True) for status in (500, 502, 503, 504, 529)],
        ({"cut": 1, "text": "half" * 50}, ModelError, False, True),
        ({"raw": "<html>"}, ModelError, False, True),
        ({"raw": "null"}, ModelError, False, True),
        ({"hang": 0.6, "text": "late"}, ModelError, False, True),
    ],
)
@KINDS
def test_each_failure_is_of_one_class_and_tried_again_only_where_it_may_pass(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Server], item: Any, error: type, lasting: bool, again: bool
) -> None:
    monkeypatch.setenv("MLGYM_MODEL_TIMEOUT", "0.3" if "hang" in item else "60")
    with kind(lambda body: dict(item)) as server:
        failed = failure(name, server)
    assert (type(failed), failed.lasting) == (error, lasting)
    assert len(server.requests) == (TRIES if again else 1)


def test_a_server_that_nobody_finds_is_told_apart() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ModelError) as failed:
        models.load("vllm/x", base_url=url)(ASK, [])
    assert (failed.value.reached, failed.value.lasting) == (False, False)


@KINDS
@pytest.mark.parametrize("header", [{"Retry-After": "3600"}, {"Retry-After": "Wed, 01 Jan 2199 00:00:00 GMT"}])
def test_a_pause_that_the_provider_wants_too_long_is_left_to_the_run(
    name: str, kind: type[Server], header: dict[str, str]
) -> None:
    with kind(lambda body: {**SLOW, "headers": header}) as server:
        failed = failure(name, server)
    assert isinstance(failed, ModelError) and failed.after is not None and failed.after >= 3600
    assert not failed.lasting and len(server.requests) == 1


@pytest.mark.parametrize(
    "header", [{"Retry-After": "0"}, {"retry-after-ms": "3"}, {"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}]
)
def test_a_pause_that_the_provider_wants_is_taken(monkeypatch: pytest.MonkeyPatch, header: dict[str, str]) -> None:
    monkeypatch.setenv("MLGYM_MODEL_PAUSE", "3600")  # which would be too long
    with OpenAIServer(lambda body: "hi" if len(server.requests) > 2 else {**SLOW, "headers": header}) as server:
        model: Any = models.load("openai/x", base_url=server.url)
        assert model(ASK, []).text == "hi"
        model.close()
    assert len(server.requests) == 3


@pytest.mark.parametrize("times", [1, 2])
def test_a_pause_ends_when_the_episode_must_stop(times: int) -> None:
    asked: Iterator[int] = iter(range(times + 1))

    def before() -> None:
        if next(asked) == times:
            raise Stopped("It was asked to stop.")

    with OpenAIServer(lambda body: {**SLOW, "headers": {"Retry-After": "60"}}) as server:
        model = Metered(models.load("openai/x", base_url=server.url), Limits())
        model.before = before
        with pytest.raises(Stopped):
            model(ASK, [])
        model.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["soon", "0", "-1", "inf"])
def test_a_pause_that_is_none_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MLGYM_MODEL_PAUSE", value)
    with pytest.raises(UsageError, match="MLGYM_MODEL_PAUSE is a number of seconds above 0"):
        models.load("vllm/x")


BAD = [Message(role="user", content="Break.")]


@pytest.mark.parametrize(
    ("item", "plainly", "error", "calls"),
    [
        ({"status": 400, "error": "no"}, {}, Unanswerable, 2),
        ({"status": 403, "error": "flagged"}, {}, Unanswerable, 2),
        ({"status": 500, "error": "template"}, {}, Unanswerable, 2 * TRIES + 1),
        ({"raw": "null"}, {}, Unanswerable, 2 * TRIES + 1),
        ({"status": 400, "error": "no"}, {"status": 400, "error": "no"}, ModelError, 2),
        ({"status": 403, "error": "no"}, {"status": 401, "error": "no"}, ModelError, 2),
        ({"status": 404, "error": "no"}, {}, ModelError, 1),
        ({"status": 529, "error": "busy"}, {}, ModelError, TRIES),
        ({"status": 429, "error": "slow down"}, {}, ModelError, TRIES),
        ({"status": 429, "error": "Request too large: Limit 30000, Requested 40000"}, {}, BudgetError, 1),
    ],
)
@KINDS
def test_a_conversation_at_fault_is_told_from_a_provider_at_fault(
    name: str, kind: type[Server], item: Any, plainly: Any, error: type, calls: int
) -> None:
    def script(body: Any) -> Any:
        return item if "Break." in str(body["messages"]) else plainly if "yes" in str(body["messages"]) else "Hi."

    with kind(script) as server:
        for doubts in (False, True):
            model = Metered(models.load(name, base_url=server.url), Limits())
            model.doubts = doubts
            if not doubts:
                with pytest.raises(MlgymError) as failed:
                    model(BAD, ())  # an agent of ours says nothing of its own in the first call
                assert type(failed.value) is (BudgetError if error is BudgetError else ModelError)
                assert model.cost.calls or model(ASK, ()).text == "Hi."
            server.requests.clear()
            with pytest.raises(MlgymError) as failed:
                model(BAD, ())
            assert (type(failed.value), len(server.requests)) == (error, calls)
            assert failed.value.boundary == {Unanswerable: "agent", BudgetError: "budget"}.get(error, "model")
            model.close()


def test_a_failure_that_passes_meanwhile_is_none() -> None:
    asked: list[int] = []

    def script(body: Any) -> Any:
        asked.append(1)
        return {"status": 500, "error": "boom"} if len(asked) <= TRIES else "At last."

    with OpenAIServer(script) as server:
        model = Metered(models.load("openai/x", base_url=server.url), Limits())
        model.doubts = True
        assert model(ASK, ()).text == "At last." and model.cost.calls == 1
        model.close()
