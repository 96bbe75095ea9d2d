"""What servers tell of their models, and that an episode keeps what it was told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlgym import models
from mlgym.episode import run_episode
from mlgym.errors import Stopped, UsageError
from mlgym.halt import Halt
from mlgym.models.endpoint import endpoint
from mlgym.models.facts import Facts, ask, facts
from mlgym.models.metered import Metered
from mlgym.records import Action, Brief, EpisodeSpec, Limits, Message, Reply
from mlgym.store import Episode
from tests.servers import AnthropicServer, OpenAIServer

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
HERE = "tests.test_models_facts" if __name__.startswith("tests.") else "test_models_facts"


def listed(**fields: Any) -> dict[str, Any]:
    """A list of two models."""
    return {"data": [{"id": "other"}, {"id": "x", **fields}]}


@pytest.mark.parametrize(
    ("provider", "tells", "context", "native", "quantization"),
    [
        ("vllm", {"/v1/models": listed(owned_by="vllm", max_model_len=4096)}, 4096, None, ""),
        ("groq", {"/v1/models": listed(context_window=131072)}, 131072, None, ""),
        ("together", {"/v1/models": listed(context_length=8192)["data"]}, 8192, None, ""),
        (
            "mistral",
            {"/v1/models": listed(max_context_length=32768, capabilities={"function_calling": True})},
            32768,
            True,
            "",
        ),
        ("openrouter", {"/v1/models": listed(context_length=200000, supported_parameters=["seed"])}, 200000, False, ""),
        ("gemini", {"/v1/models": {"data": [{"id": "models/x", "context_length": 7}]}}, 7, None, ""),
        ("vllm", {"/v1/models": listed()}, None, None, ""),
        ("vllm", {"/v1/models": {"data": "?"}}, None, None, ""),
        ("vllm", {}, None, None, ""),
        ("llamacpp", {"/v1/models": listed(meta={"n_ctx_train": 9000})}, 9000, None, ""),
        (
            "openai",  # which answers to any name
            {
                "/v1/models": {
                    "data": [{"id": "m.gguf", "meta": {"n_ctx": 2048, "n_ctx_train": 9000, "ftype": "Q4_1"}}],
                }
            },
            *(2048, None, "Q4_1"),
        ),
        (
            "openai",  # at an own address; the list says what it is
            {
                "/v1/models": listed(owned_by="llamacpp", meta={"n_ctx_train": 9000}),
                "/props": {"default_generation_settings": {"n_ctx": 2048}},
            },
            *(2048, None, ""),
        ),
        (
            "lmstudio",
            {
                "/v1/models": listed(),
                "/api/v0/models/x": {
                    "max_context_length": 9000,
                    "loaded_context_length": 4000,
                    "quantization": "Q4",
                },
            },
            *(4000, None, "Q4"),
        ),
        (
            "ollama",
            {
                "/v1/models": {"data": [{"id": "x:latest", "owned_by": "library"}]},
                "/api/show": {
                    "capabilities": ["completion", "tools"],
                    "details": {"quantization_level": "Q8_0"},
                    "model_info": {"llama.context_length": 131072},
                    "parameters": "stop  x\nnum_ctx 8192",
                },
                "/api/ps": {"models": [{"name": "x:latest", "context_length": 4096}]},
            },
            *(4096, True, "Q8_0"),
        ),
        (
            "ollama",
            {
                "/v1/models": listed(),
                "/api/show": {"capabilities": ["completion"], "model_info": {"llama.context_length": 131072}},
            },
            *(131072, False, ""),
        ),
    ],
)
def test_what_servers_tell(provider: str, tells: Any, context: Any, native: Any, quantization: str) -> None:
    with OpenAIServer(tells=tells) as server:
        found = ask(endpoint(f"{provider}/x", server.url))
    assert (found.context, found.native, found.quantization) == (context, native, quantization)


def test_anthropic_tells_its_windows() -> None:
    with AnthropicServer(tells={"/v1/models?limit=1000": listed(max_input_tokens=200_000)}) as server:
        assert ask(endpoint("anthropic/x", server.url)) == Facts(200_000, None, "", ("other", "x"))


def test_answers_of_another_shape_tell_nothing() -> None:
    tells = {"/v1/models": {"data": [3, {}, {"id": "x", "meta": 3}]}, "/api/show": {"model_info": [1], "details": 2}}
    with OpenAIServer(tells={**tells, "/api/ps": {"models": [1]}}) as server:
        assert ask(endpoint("ollama/x", server.url)) == Facts(None, None, "", ("x",))


def test_no_redirection_takes_the_key_elsewhere() -> None:
    with OpenAIServer(tells={"/v1/models": listed()}) as other:
        with OpenAIServer(tells={"/v1/models": f"{other.url}/models"}) as server:
            assert ask(endpoint("vllm/x", server.url)) == Facts() and server.asked
        assert other.asked == []


def test_a_server_that_is_not_there_tells_nothing() -> None:
    assert ask(endpoint("vllm/x", "http://127.0.0.1:9/v1")) == Facts()


def test_a_window_may_be_the_price_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with OpenAIServer() as server:
        place = endpoint("openai/gpt-4o", server.url)
        assert facts(place).context is None, "a server of one's own may call anything gpt-4o"
        assert facts(replace(place, usual=True)).context == 128_000
        monkeypatch.setenv("MLGYM_CONFIG", str(tmp_path))
        (tmp_path / "prices.toml").write_text('[prices]\n"vllm/x" = { sent = 0, received = 0, context = 77 }\n')
        assert facts(endpoint("vllm/x", server.url)).context == 77
        assert models.free("vllm/x", server.url)


def test_a_model_asks_its_server_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(lambda body: "hi", tells={"/v1/models": listed(max_model_len=50)}) as server:
        for _ in range(2):
            model: Any = models.load("vllm/x", base_url=server.url)
            assert (model([Message(role="user", content="a")], []).text, model.context) == ("hi", 50)
            model.close()
    assert server.asked == ["/v1/models"]


def windowed(brief: Brief, model: Any):  # type: ignore[no-untyped-def]
    """Acts by what it is told of its model."""
    for _ in range(2):
        model([Message(role="user", content="a")], [])
        yield Action(tool="bash", args={"command": f"echo {model.context} {model.native}"})
    yield Action(tool="submit")


def test_an_episode_that_goes_on_believes_what_it_was_told_first(tmp_path: Path) -> None:
    with OpenAIServer(lambda body: "hi", tells={"/v1/models": listed(max_model_len=50)}) as server:
        made = EpisodeSpec(
            task=GUESS, agent=f"{HERE}:windowed", model="vllm/x", base_url=server.url, sandbox="local", limits=Limits()
        )
        stop = iter(["", "", "", "", "", "now"])
        with pytest.raises(Stopped):
            run_episode(made, tmp_path, halt=Halt(lambda: next(stop, "now")))
        store = Episode.read(tmp_path)
        assert store.facts() == {"context": 50, "native": None} and 0 < len(store.steps()) < 3
        facts.cache_clear()
        server.tells = {}
        result = run_episode(made, tmp_path)
        assert [step.action.args.get("command") for step in store.steps()[:2]] == ["echo 50 None"] * 2
        assert result.ended == "submitted" and not [note for note in result.notes if "played back" in note]
    assert len(server.requests) == 2


@pytest.mark.parametrize("text", ["", "[1]", "{}"])
def test_a_spoilt_record_of_it_is_one_sentence(tmp_path: Path, text: str) -> None:
    store = Episode(tmp_path)
    (tmp_path / "model.json").write_text(text)
    if text == "{}":
        assert Metered(lambda *_: Reply(text="a"), Limits(), facts=store.facts()).context is None
    else:
        with pytest.raises(UsageError, match=r"model.json cannot be read: remove it"):
            store.facts()
