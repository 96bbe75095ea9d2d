"""The short call before a run, and `mlgym models`."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from mlgym.cli import app
from mlgym.errors import ModelError, UsageError
from mlgym.models import preflight
from mlgym.models.usable import usable
from mlgym.store import Episode, episodes
from tests.servers import TOOLS_REFUSED, AnthropicServer, OpenAIServer, is_preflight

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
READY = {"calls": [("ready", {})]}
NAMES = {"/v1/models": {"data": [{"id": name} for name in ("tiny-chat", "embedder", "tiny-chat-long", "x")]}}


def answering(body: dict[str, Any]) -> dict[str, Any]:
    """Serves `x` alone: ready, then submits."""
    if body["model"] != "x":
        return {"status": 404, "error": f"The model `{body['model']}` does not exist."}
    return READY if is_preflight(body) else {"calls": [("submit", {})]}


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@pytest.mark.parametrize(
    ("script", "refuse", "native", "said"),
    [
        ([READY], "", True, "native tool calls"),
        (["I am ready."], "", None, "did not call the tool"),
        (["I am ready."], "ollama", False, "no native tool calls"),
    ],
)
def test_tools_or_none(script: Any, refuse: str, native: bool | None, said: str) -> None:
    with OpenAIServer(
        script, refuse_tools=refuse, tells={"/v1/models": {"data": [{"id": "x", "max_model_len": 99}]}}
    ) as server:
        found = preflight.trial("vllm/x", server.url)
    assert (found.native, found.context, found.name) == (native, 99, "vllm/x") and said in found.line
    assert server.requests == [] and server.preflights[0]["body"]["max_tokens"] == preflight.MOST_TOKENS
    assert len(server.preflights) == 1


def test_a_server_that_loads_its_models_when_asked_is_asked_for_the_window_afterwards() -> None:
    shown = {"model_info": {"llama.context_length": 131_072}}

    def script(body: Any) -> Any:
        server.tells["/api/ps"] = {"models": [{"name": "x", "context_length": 4096}]}
        return READY

    with OpenAIServer(script, tells={"/v1/models": {"data": [{"id": "x"}]}, "/api/show": shown}) as server:
        assert preflight.trial("ollama/x", server.url).context == 4096


def test_anthropic_is_asked_the_same() -> None:
    with AnthropicServer([READY]) as server:
        assert preflight.trial("anthropic/x", server.url, {"temperature": 0.5}).native is True
    assert server.preflights[0]["body"]["temperature"] == 0.5


def test_what_was_found_is_one_sentence() -> None:
    item = {**READY, "more": {"provider": "Someone", "model": "a/b-0805"}, "more_usage": {"cost": 0.25}}
    with OpenAIServer([item]) as server:
        line = preflight.trial("openrouter/a/b", server.url).line
    assert "as a/b-0805, served by Someone" in line and "the call cost 0.25000 dollars." in line


def test_a_wrong_key_and_a_wrong_name_are_said_with_the_names_that_are_served() -> None:
    with OpenAIServer(answering, tells=NAMES) as server, pytest.raises(ModelError) as failed:
        preflight.trial("vllm/tiny-chta", server.url)
    assert failed.value.lasting and "served there: tiny-chat, tiny-chat-long, " in str(failed.value)
    with OpenAIServer([{"status": 401, "error": "no"}]) as server, pytest.raises(ModelError) as failed:
        preflight.trial("vllm/x", server.url)
    assert failed.value.lasting and str(failed.value).endswith("check VLLM_API_KEY (no).")


def run(*args: str) -> None:
    assert not app(["run", GUESS, "--sandbox", "local", "-q", *args], standalone_mode=False)


def test_a_run_makes_the_call_once_a_model_and_only_for_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with OpenAIServer(answering) as server:
        args = ["-m", "vllm/x", "--base-url", server.url, "-k", "2", "-o", "r"]
        app(["run", GUESS, *args, "--dry-run"], standalone_mode=False)
        assert server.preflights == []
        run(*args)
        assert (len(server.preflights), len(server.requests)) == (1, 2)
        assert "vllm/x answers in" in capsys.readouterr().err
        run(*args)
        assert (len(server.preflights), len(server.requests)) == (1, 2), "all was done"
    assert all(Episode.read(folder).facts() for folder in episodes(tmp_path / "r"))


@pytest.mark.parametrize(
    ("name", "item", "said"),
    [
        ("x", {"status": 401, "error": "no"}, "does not accept the key; check VLLM_API_KEY (no). Nothing was run."),
        ("tiny", {"status": 404, "error": "no model `tiny`"}, "served there: tiny-chat, tiny-chat-long, "),
        ("x", {"status": 400, "error": "Unknown 'top'"}, "refused the request (Unknown 'top'). Nothing was run."),
    ],
)
def test_what_will_not_pass_ends_the_command_before_anything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, item: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with OpenAIServer([item], tells=NAMES) as server, pytest.raises(UsageError) as failed:
        run("-m", f"vllm/{name}", "--base-url", server.url, "-o", "r")
    assert said in str(failed.value) and "\n" not in str(failed.value) and not (tmp_path / "r").exists()


def test_what_may_pass_is_said_and_the_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def script(body: Any) -> Any:
        return {"status": 503, "error": "busy"} if is_preflight(body) else answering(body)

    with OpenAIServer(script) as server:
        run("-m", "vllm/x", "--base-url", server.url, "-o", "r")
    assert "status 503 (busy). The run starts all the same" in capsys.readouterr().err
    assert (len(server.preflights), len(server.requests)) == (preflight.TRIES, 1)


def test_a_server_that_is_not_there_ends_a_run_that_has_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="No server answers"):
        run("-m", "vllm/x", "--base-url", free_port(), "-o", "r")
    assert not (tmp_path / "r").exists()


def test_models_test_prints_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer(answering, tells=NAMES) as server:
        app(["models", "test", "vllm/x", "--base-url", server.url, "-M", "seed=1"], standalone_mode=False)
        assert "vllm/x answers in" in (said := capsys.readouterr().out) and said.endswith("Price: nothing.\n")
        app(["models", "test", "vllm/x", "--base-url", server.url, "--json"], standalone_mode=False)
        told = json.loads(capsys.readouterr().out)
        assert (told["native_tools"], told["returned"], told["price"]) == (True, "x", "nothing")
        assert server.preflights[0]["body"]["seed"] == 1
    with pytest.raises(UsageError, match="needs a key: set GROQ_API_KEY"):
        app(["models", "test", "groq/x"], standalone_mode=False)


def test_models_lists_what_can_be_used_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLGYM_CONFIG", str(tmp_path))
    with OpenAIServer(tells=NAMES) as server:
        (tmp_path / "providers.toml").write_text(f'[desk]\nurl = "{server.url}"\nown = true\n')
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        found = {one.provider: one for one in usable()}
        app(["models"], standalone_mode=False)
        table = capsys.readouterr().out
        app(["models", "--json"], standalone_mode=False)
        assert len(json.loads(capsys.readouterr().out)) == len(found)
    assert (found["desk"].missing, found["desk"].served[0]) == ("", "tiny-chat")
    assert found["openai"].served and found["anthropic"].missing == "set ANTHROPIC_API_KEY"
    assert "claude-opus-5" in found["anthropic"].priced and not found["groq"].served
    assert table.splitlines()[1].startswith("openai") and "set GROQ_API_KEY" in table


def test_refusals_of_every_kind_of_server_are_found_before_the_run() -> None:
    for kind in TOOLS_REFUSED:
        with OpenAIServer(["hi"], refuse_tools=kind) as server:
            assert preflight.trial("openai/x", server.url).native is False
