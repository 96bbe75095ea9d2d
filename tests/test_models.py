"""Names, prices, limits, the scripted model and the meter."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlgym import models
from mlgym.errors import BudgetError, ModelError, ToolsRefused, UsageError
from mlgym.models import data
from mlgym.models.endpoint import Provider
from mlgym.models.metered import REFUSED, Metered
from mlgym.models.scripted import Scripted
from mlgym.records import Limits, Message, Reply

ASK = [Message(role="user", content="Hello")]
TOOL = {"type": "function", "function": {"name": "bash", "description": "", "parameters": {"type": "object"}}}
OPEN = Limits(money=None, tokens=None)


def conversation(replies: int) -> list[Message]:
    return [*ASK, *[Message(role=role, content="x") for _ in range(replies) for role in ("assistant", "user")]]


def scripted_function(messages: Any, tools: Any) -> Any:
    return {"text": f"{len(messages)} messages", "calls": [{"name": "bash", "arguments": {"command": "ls"}}]}


def test_importing_models_and_agents_imports_no_client() -> None:
    imports = "import sys, mlgym.models, mlgym.agents.react, mlgym.agents.tuner"
    code = f"{imports}; print({{'openai', 'anthropic'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["gpt-4o", "nobody/x", "openai/", "scripted/", ""])
def test_unknown_models_are_refused_with_the_known_providers(name: str) -> None:
    with pytest.raises(UsageError, match=r"openai/….*vllm/….*scripted/…"):
        models.load(name)


@pytest.mark.parametrize(
    ("name", "variable"),
    [("openai/a", "OPENAI_API_KEY"), ("anthropic/a", "ANTHROPIC_API_KEY"), ("openrouter/a/b", "OPENROUTER_API_KEY")],
)
def test_a_missing_key_is_said_before_any_call(name: str, variable: str) -> None:
    with pytest.raises(UsageError, match=variable):
        models.load(name)


@pytest.mark.parametrize("name", ["vllm/a", "ollama/a", "openai/a", "anthropic/a"])
def test_no_key_is_needed_for_an_own_server(name: str) -> None:
    base_url = "" if name in ("vllm/a", "ollama/a") else "http://10.0.0.1:9/v1"
    model: Any = models.load(name, base_url=base_url)
    model.close()


def test_settings_that_mlgym_sends_itself_are_refused() -> None:
    with pytest.raises(UsageError, match="'messages'"):
        models.load("vllm/a", sampling={"messages": []})


def test_a_base_url_without_its_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="http://"):
        models.load("openai/a", base_url="localhost:8000/v1")


@pytest.mark.parametrize(
    ("name", "base_url", "given", "money", "tokens", "said"),
    [
        ("openai/gpt-4o", "", OPEN, 1.0, None, "1.00 dollars"),
        ("openai/gpt-4o", "", Limits(money=3.0), 3.0, None, ""),
        ("openai/gpt-4o", "", Limits(tokens=5), None, 5, ""),
        ("openai/unheard-of", "", OPEN, None, 2_000_000, "price of openai/unheard-of is unknown"),
        ("vllm/a", "", Limits(money=3.0), 3.0, 2_000_000, "bounds nothing"),
        ("openrouter/a/b", "", OPEN, 1.0, None, "1.00 dollars"),  # its answers tell what they cost
        ("openrouter/a/b", "", Limits(money=3.0), 3.0, None, ""),
        ("openai/gpt-4o", "https://gateway.example/v1", OPEN, None, 2_000_000, "unknown"),
        ("openai/gpt-4o", "http://localhost:8000/v1", OPEN, None, 2_000_000, "costs nothing"),
        ("vllm/a", "", OPEN, None, 2_000_000, "costs nothing"),
        ("scripted/a.json", "", OPEN, None, None, ""),
        ("", "", OPEN, None, None, ""),
    ],
)
def test_default_limits(
    name: str, base_url: str, given: Limits, money: float | None, tokens: int | None, said: str
) -> None:
    limits, sentence = models.default_limits(name, base_url, given)
    assert (limits.money, limits.tokens) == (money, tokens)
    assert said in sentence and bool(said) == bool(sentence)


@pytest.mark.parametrize(
    ("name", "base_url"), [("openai/unheard-of", ""), ("groq/a", ""), ("openai/gpt-4o", "https://g.example")]
)
def test_a_limit_in_dollars_needs_a_price_and_the_error_names_both_ways_out(
    name: str, base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLGYM_CONFIG", str(tmp_path))
    with pytest.raises(UsageError, match=r"3\.00 dollars cannot be kept.*prices\.toml.*--tokens") as refused:
        models.default_limits(name, base_url, Limits(money=3.0))
    line = str(refused.value).split("`")[1].replace("DOLLARS", "2.5")
    (tmp_path / "prices.toml").write_text(f"[prices]\n{line}\n")
    assert models.default_limits(name, base_url, Limits(money=3.0)) == (Limits(money=3.0), "")
    assert models.default_limits(name, base_url, Limits(tokens=3)) == (Limits(tokens=3), "")


def test_scripts_answer_by_the_place_in_the_conversation(tmp_path: Path) -> None:
    call = {"name": "bash", "arguments": {"command": "ls"}}
    script = ["one", {"text": "two", "calls": [call, {**call, "arguments": "{bad"}], "tokens_in": 7}]
    (tmp_path / "a.json").write_text(json.dumps(script))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(item) for item in script))
    for name in ("a.json", "a.jsonl"):
        model = models.load(f"scripted/{tmp_path / name}")
        second = model(conversation(1), [])
        assert model(ASK, []).text == "one"  # no state: the order of asking does not matter
        assert (second.text, second.tokens_in, second.calls[0].arguments) == ("two", 7, '{"command": "ls"}')
        assert second.calls[1].arguments == "{bad" and second.calls[1].id != second.calls[0].id
        with pytest.raises(ModelError, match="2 replies"):
            model(conversation(2), [])


def test_a_script_may_be_a_function() -> None:
    model = models.load(f"scripted/{__name__}:scripted_function")
    assert model(conversation(1), []).text == "3 messages"


def test_a_script_may_refuse_tools(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["text"]')
    model = models.load(f"scripted/{tmp_path / 'a.json'}", sampling={"refuse_tools": True})
    with pytest.raises(ToolsRefused):
        model(ASK, [TOOL])
    assert model(ASK, []).text == "text"


@pytest.mark.parametrize("text", ["{", '{"a": 1}', None])
def test_a_broken_script_is_a_usage_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(UsageError, match=r"a\.json"):
        models.load(f"scripted/{tmp_path / 'a.json'}")


def test_a_script_has_only_its_own_settings() -> None:
    with pytest.raises(UsageError, match="temperature"):
        models.load("scripted/x.json", sampling={"temperature": 1})


def reply(text: str = "a", money: float | None = 0.4, tokens: int = 10) -> Reply:
    return Reply(text=text, money=money, tokens_in=tokens, tokens_out=tokens)


def test_the_meter_counts_and_stops_at_money() -> None:
    seen = []
    model = Metered(Scripted([reply()] * 9), Limits(money=1.0), on_call=lambda *call: seen.append(call))
    for count in (1, 2, 3):
        model(ASK, [])
        assert model.cost.money == pytest.approx(0.4 * count) and model.cost.calls == count == len(seen)
    assert model.money_left == 0.0
    with pytest.raises(BudgetError) as stopped:
        model(ASK, [])
    assert stopped.value.limit == "money" and len(seen) == 3


def test_the_meter_stops_at_tokens() -> None:
    model = Metered(Scripted([reply()] * 9), Limits(tokens=40))
    model(ASK, []), model(ASK, [])
    assert (model.cost.tokens_in, model.cost.tokens_out) == (20, 20)
    with pytest.raises(BudgetError) as stopped:
        model(ASK, [])
    assert stopped.value.limit == "tokens"


def test_an_unknown_price_stays_unknown_and_ends_what_only_dollars_limit() -> None:
    model = Metered(Scripted([reply(money=None)] * 9), Limits(money=0.1, tokens=1000))
    model(ASK, []), model(ASK, [])
    assert model.cost.money is None and model.money_left is None
    model = Metered(Scripted([reply(money=None)]), Limits(money=1.0))
    model(ASK, [])
    with pytest.raises(BudgetError, match="came without its price") as stopped:
        model(ASK, [])
    assert stopped.value.limit == "money"


def test_a_models_luck_goes_on_after_recorded_replies() -> None:
    class Numbered:
        number = 0

        def __call__(self, messages: Any, tools: Any) -> Reply:
            self.number += 1
            return reply(str(self.number))

    model = Metered(Numbered(), Limits(), replay=[reply("1"), reply("2")])
    assert [model(ASK, []).text for _ in range(4)] == ["1", "2", "3", "4"]


def test_recorded_replies_are_played_first_and_counted() -> None:
    seen = []
    model = Metered(
        Scripted(["fresh"]),
        Limits(money=9),
        replay=[reply("old"), reply("older")],
        on_call=lambda *c: seen.append(c[2]),
    )
    assert [model(ASK, []).text for _ in range(3)] == ["old", "older", "fresh"]
    assert model.cost.money == pytest.approx(0.8) and model.cost.calls == 3
    assert [r.text for r in seen] == ["fresh"]


@pytest.mark.parametrize(
    "told", [{"money": math.nan}, {"money": -1.0}, {"money": math.inf}, {"tokens_in": -9}, {"tokens_out": -9}]
)
def test_a_use_that_would_undo_the_limits_is_refused(told: dict[str, Any]) -> None:
    replies = [reply().changed(**told), reply()]
    metered = Metered(lambda *_: replies.pop(0), Limits(money=1.0))
    with pytest.raises(ModelError, match="told a use that no limit could be held by"):
        metered([], [])
    assert metered([], []).money == 0.4 and metered.cost.money == 0.4


def test_a_reply_is_recorded_before_it_is_returned() -> None:
    def stop(messages: Any, tools: Any, answer: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Metered(Scripted(["a"]), Limits(), on_call=stop)(ASK, [])


def test_a_refusal_of_tools_is_recorded_and_played_back() -> None:
    seen = []
    first = Metered(Scripted(["text"], refuse_tools=True), Limits(), on_call=lambda *c: seen.append(c[2]))
    with pytest.raises(ToolsRefused):
        first(ASK, [TOOL])
    first(ASK, [])
    assert [r.stop for r in seen] == [REFUSED, "stop"]
    again = Metered(Scripted([]), Limits(), replay=seen)
    with pytest.raises(ToolsRefused, match="refuses native"):
        again(ASK, [TOOL])
    assert again(ASK, []).text == "text"
    assert again.cost == first.cost


def test_the_users_own_providers_and_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLGYM_CONFIG", str(tmp_path))
    (tmp_path / "providers.toml").write_text('[gateway]\nurl = "https://gate.example/v1"\nkey = "GATE_KEY"\n')
    (tmp_path / "prices.toml").write_text('[prices]\n"gateway/a" = { sent = 1, received = 2.0 }\n')
    with pytest.raises(UsageError, match="GATE_KEY"):
        models.load("gateway/a")
    assert models.default_limits("gateway/a", "", Limits(money=2.0)) == (Limits(money=2.0), "")
    assert not models.free("gateway/a") and models.free("vllm/a") and models.free("local/a")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("prices.toml", '[prices]\n"a/b" = { sent = 1 }', "'a/b': the key 'received' is missing"),
        ("prices.toml", '[prices]\n"a/b" = { sent = -1, received = 2 }', "'a/b': sent: should be greater"),
        ("prices.toml", "prices = 3", "'prices' should be a table"),
        ("prices.toml", "[", "cannot be read as TOML"),
        ("providers.toml", '[a]\nurl = "http://a"\nkeys = "X"', "unknown key 'keys' (did you mean 'key'?)"),
    ],
)
def test_what_is_wrong_in_a_file_of_the_users_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, said: str
) -> None:
    monkeypatch.setenv("MLGYM_CONFIG", str(tmp_path))
    (tmp_path / file).write_text(text)
    with pytest.raises(UsageError) as failed:
        models.default_limits("openai/x", "", OPEN)
    assert said in str(failed.value) and str(tmp_path / file) in str(failed.value) and "\n" not in str(failed.value)


def test_the_documents_have_every_provider() -> None:
    text = (Path(__file__).parent.parent / "docs" / "models.md").read_text()
    rows = {name: (kind.key, kind.url) for name, kind in data.shipped("providers.toml", Provider).items()}
    assert [name for name, told in rows.items() if not all(f"`{each}`" in text for each in (name, *told))] == []
