"""Models in this process: names, settings, and a real small model that llama.cpp runs."""

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgym import models
from mlgym.episode import run_episode
from mlgym.errors import BudgetError, ModelError, ToolsRefused, UsageError
from mlgym.models import local
from mlgym.models.local_chat import as_chat
from mlgym.records import EpisodeSpec, Limits, Message, Source, ToolCall
from mlgym.store import Episode

SHORT = {"max_tokens": 16, "temperature": 0.7}


def asked(words: str) -> list[Message]:
    return [Message(role="system", content="Be brief."), Message(role="user", content=words)]


def has(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


llama = pytest.mark.skipif(not has("xllamacpp") and "CI" not in os.environ, reason="xllamacpp is not installed")


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file that begins as GGUF files do, and then is none."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    return path


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ({"tempe": 1}, r"unknown key 'tempe' \(did you mean 'temperature'\?\)"),
        ({"temperature": -0.5}, "temperature: should be greater than or equal to 0, but is -0.5"),
        ({"max_tokens": "many"}, "max_tokens: should be a valid integer, but is 'many'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(sampling: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"local/smollm2 is wrong: {said}"):
        models.load("local/smollm2", sampling=sampling)


def test_what_is_no_model_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not that")
    for name, said in (("none.gguf", "is missing"), ("text.gguf", "is no GGUF file"), ("", "holds no model")):
        with pytest.raises(UsageError, match=f"{said}.* give a GGUF file, a folder of transformers, or smollm2"):
            models.load(f"local/{tmp_path / name}")


@pytest.mark.parametrize(("library", "extra"), [("xllamacpp", "local"), ("transformers", "local-torch")])
def test_a_missing_library_is_named_with_its_extra(library: str, extra: str, gguf: Path) -> None:
    if has(library):
        pytest.skip(f"{library} is installed")
    (gguf.parent / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=rf"{library}, which is missing: pip install 'mlgym-env\[{extra}\]'"):
        models.load(f"local/{gguf if library == 'xllamacpp' else gguf.parent}")


@llama
def test_loading_by_name_fetches_and_opens_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path))
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    model = models.load("local/smollm2", sampling=SHORT)
    assert models.free("local/smollm2") and not list(tmp_path.iterdir())
    with pytest.raises(ModelError, match=r"local/smollm2 cannot be had: .* is not in the cache"):
        model(asked("Hello"), ())


@llama
def test_a_damaged_file_is_the_models_failure_for_good(gguf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match=r"llama.cpp cannot load .*model.gguf: it is damaged") as caught:
        models.load(f"local/{gguf}")(asked("Hello"), ())
    assert caught.value.lasting and capfd.readouterr() == ("", "")


def test_every_known_model_says_what_a_source_and_a_reader_need() -> None:
    for name, row in local.known().items():
        Source(name=name, **{key: value for key, value in row.items() if key in Source.model_fields})
        assert row["title"] and row["licence"] and row["sha256"] and row["mb"] > 0, name


def test_calls_and_their_results_stand_in_the_conversation() -> None:
    calls = (ToolCall(id="1", name="bash", arguments='{"command": "ls"}'), ToolCall(id="2", name="bash", arguments="{"))
    chat = as_chat([Message(role="assistant", content="", calls=calls), Message(role="tool", content="x", id="1")])
    assert [call["function"]["arguments"] for call in chat[0]["tool_calls"]] == ['{"command": "ls"}', "{}"]
    assert chat[1] == {"role": "tool", "content": "x", "tool_call_id": "1"}


@pytest.fixture
def open_models() -> Iterator[list[Any]]:
    """Models to be closed after the test."""
    opened: list[Any] = []
    yield opened
    for model in opened:
        model.close()


@llama
@pytest.mark.slow
@pytest.mark.network
def test_a_small_model_answers_counts_and_keeps_its_limits(
    open_models: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    model: Any = models.load("local/smollm2", sampling=SHORT, seed=3)
    open_models.append(model)
    assert (model.context, model.native) == (8192, False)
    first = model(asked("Tell me of Paris, and of its river, in many words."), ())
    assert first.text and (first.tokens_out, first.stop) == (16, "length") and 20 < first.tokens_in < 60
    assert (first.money, first.model, first.quantization) == (0.0, "SmolLM2-135M-Instruct.Q4_1", "Q4_1")
    again = model(asked("Tell me of Paris, and of its river, in many words."), ())
    assert again.text != first.text and again.tokens_cached > 10  # other luck, and the prompt was kept
    with pytest.raises(BudgetError, match=r"9,\d\d\d tokens is too long for the 8,192 of SmolLM2") as caught:
        model(asked("go " * 9000), ())
    assert caught.value.limit == "context"
    with pytest.raises(ToolsRefused, match="takes no native tool calls"):
        model(asked("Hello"), [{"type": "function", "function": {"name": "bash", "parameters": {}}}])
    assert capfd.readouterr() == ("", "")


@llama
@pytest.mark.slow
@pytest.mark.network
def test_models_of_one_file_share_it_and_a_seed_decides(open_models: list[Any]) -> None:
    open_models += [models.load("local/smollm2", sampling=SHORT, seed=seed) for seed in (5, 6, 5)]
    words = asked("Write a line of a poem.")
    texts: list[str] = [""] * 3

    def answer(n: int) -> None:
        texts[n] = open_models[n](words, ()).text

    threads = [threading.Thread(target=answer, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts[0] == texts[2] != texts[1]
    engines = [model._engine for model in open_models]
    assert engines[0] is engines[1] is engines[2]
    for model in open_models:
        model.close()
    other = models.load("local/smollm2", sampling={**SHORT, "n_ctx": 512})
    open_models[:] = [other]
    assert other.context == 512 and len(local._open) == 1  # type: ignore[attr-defined]


INTERRUPTED = """
import os, signal, threading
from mlgym import models
from mlgym.records import Message
model = models.load("local/smollm2", sampling={"max_tokens": 4000})
model.context
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    model([Message(role="user", content="Write a long story." + "go " * 3000)], ())
except KeyboardInterrupt:
    print("interrupted")
threading.Thread(target=model, args=([Message(role="user", content="Another.")], ()), daemon=True).start()
"""


@llama
@pytest.mark.slow
@pytest.mark.network
def test_a_reply_can_be_interrupted_and_none_outlives_the_program() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


@llama
@pytest.mark.slow
@pytest.mark.network
def test_an_episode_with_a_small_model_ends_with_a_score(tmp_path: Path) -> None:
    spec = EpisodeSpec(
        task="battle-of-sexes",
        agent="react?protocol=text",
        model="local/smollm2",
        sampling={"max_tokens": 64, "temperature": 0.7},
        limits=Limits(steps=3),
        seed=1,
    )
    result = run_episode(spec, tmp_path / "episode")
    assert result.scored and result.final and result.ended in ("gave_up", "steps", "submitted"), result
    assert 0 < result.cost.tokens_out <= 64 * result.cost.calls and result.cost.money == 0
    replies = Episode.read(tmp_path / "episode").replies()
    assert len(replies) == result.cost.calls and all(reply.seconds > 0 for reply in replies)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model of chance in a folder, with a tokenizer and a template that refuses system messages."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    pieces = ["<pad>", "<eos>", *(chr(n) for n in range(32, 127)), "\n"]
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel({p: n for n, p in enumerate(pieces)}, unk_token="<pad>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    raw.decoder = tokenizers.decoders.Fuse()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", pad_token="<pad>")
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(
        vocab_size=len(pieces), max_position_embeddings=256, eos_token_id=1, bos_token_id=None, pad_token_id=0, **sizes
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_folder_of_transformers_answers(folder: Path, open_models: list[Any]) -> None:
    open_models += [models.load(f"local/{folder}", sampling=SHORT, seed=seed) for seed in (1, 1, 2)]
    first, same, other = (model(asked("Hello"), ()) for model in open_models)
    assert first.text == same.text != other.text and open_models[0].context == 256
    assert (first.tokens_in, first.tokens_out, first.stop) == (len("user: Be brief.\n\nHello\n"), 16, "length")
    with pytest.raises(BudgetError, match="too long for the 256 of tiny"):
        open_models[0](asked("x" * 300), ())
    with pytest.raises(ToolsRefused):
        open_models[0](asked("Hello"), [{"type": "function", "function": {"name": "bash", "parameters": {}}}])
    full = models.load(f"local/{folder}", sampling={"max_tokens": 400, "temperature": 0.0})
    open_models.append(full)
    reply = full(asked("x" * 200), ())
    assert reply.tokens_in + reply.tokens_out <= 256
