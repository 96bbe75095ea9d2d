"""Policies of rollouts: the one in this process, and conversations as tokens by a chat template."""

import copy
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from servers import OpenAIServer, Server

from mlgym.errors import ModelError, UsageError
from mlgym.records import Message
from mlgym.rl import Engine, Row, ServerPolicy, TextPolicy, TorchPolicy
from mlgym.rl.render import Chat, by_tokenizer
from mlgym.trajectory import Trajectory

torch = pytest.importorskip("torch")

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Bytes as tokens, with the marks of ChatML."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE({each: n for n, each in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bare.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=bare, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    )
    made.chat_template = CHATML
    return made


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Iterator[Any]:
    """A random Qwen2 of two layers, with weights large enough that its replies differ."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
    )
    yield Qwen2ForCausalLM(config).float()
    torch.set_num_threads(threads)


def recomputed(model: Any, found: Trajectory) -> list[float]:
    """The log-probabilities of a trajectory's tokens by one pass over it, 0.0 where the environment wrote."""
    whole = torch.tensor([found.prompt + found.ids])
    with torch.inference_mode():
        logits = model.eval()(input_ids=whole).logits[0, len(found.prompt) - 1 : -1].float() / found.temperature
    told = torch.log_softmax(logits, -1).gather(-1, torch.tensor(found.ids)[:, None])[:, 0]
    return (told * torch.tensor(found.mask)).tolist()


def test_sampler_and_learner_agree(model: Any, tokenizer: Any) -> None:
    policy = TorchPolicy(model, tokenizer, temperature=0.7, name="tiny")
    engine = Engine(policy, environments=4, protocol="plain", max_tokens=24, limits={"steps": 3})
    rows = [Row(GUESS, seed, f"{seed}") for seed in (1, 2)] * 2
    found = engine.rollout(rows)
    for each in found:
        assert len(each.turns) == 3
        assert each.logprobs == pytest.approx(recomputed(model, each), abs=1e-4)
        assert all(value < 0 for value, mask in zip(each.logprobs, each.mask, strict=True) if mask)
    assert len({each.ids for each in found}) == 4
    assert [
        each.ids for each in Engine(policy, protocol="plain", max_tokens=24, limits={"steps": 3}).rollout(rows)
    ] == [each.ids for each in found]


def test_a_reply_does_not_depend_on_its_batch(model: Any, tokenizer: Any) -> None:
    policy = TorchPolicy(model, tokenizer)
    prompts = [policy.begin([Message(role="user", content="x" * length)], ()) for length in (1, 40, 7, 3, 90)]
    many = policy.sample(prompts, [30, 5, 60, 1, 12], range(5))
    alone = [policy.sample([p], [m], [s])[0] for p, m, s in zip(prompts, [30, 5, 60, 1, 12], range(5), strict=True)]
    assert [each.ids for each in many] == [each.ids for each in alone]
    for one, other in zip(many, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert one.stop == ("stop" if one.ids[-1] == tokenizer.eos_token_id else "length")


def test_one_that_has_ended_is_not_read_beyond_the_models_last_place(tokenizer: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=1, n_head=2, bos_token_id=None)
    policy = TorchPolicy(GPT2LMHeadModel(config), tokenizer)  # its places are learned: there is none behind the last
    prompts, most = [[65] * 60, [66] * 4, [67] * 5], [4, 40, 40]
    many = policy.sample(prompts, most, [1, 2, 3])
    alone = [policy.sample([p], [m], [s])[0] for p, m, s in zip(prompts, most, [1, 2, 3], strict=True)]
    assert [each.ids for each in many] == [each.ids for each in alone]


def test_draws_follow_the_probabilities(model: Any, tokenizer: Any) -> None:
    policy = TorchPolicy(model, tokenizer, temperature=2.0)
    logits = torch.tensor([[0.0, 1.0, float("-inf"), 3.0]]).repeat(4000, 1)
    draws = torch.linspace(0, 1, 4001, dtype=torch.float64)[:-1].numpy()
    tokens, logprobs = policy._draw(logits, draws)
    share = torch.bincount(torch.tensor(tokens), minlength=4) / 4000
    assert share.tolist() == pytest.approx(torch.softmax(logits[0] / 2, -1).tolist(), abs=1e-3)
    assert logprobs[0] == pytest.approx(float(torch.log_softmax(logits[0] / 2, -1)[tokens[0]]))


def test_greedy_takes_the_likeliest(model: Any, tokenizer: Any) -> None:
    policy = TorchPolicy(model, tokenizer, temperature=0.0)
    one, other = policy.sample([policy.begin([Message(role="user", content="hi")], ())] * 2, [9, 9], [1, 2])
    assert one.ids == other.ids and set(one.logprobs) == {0.0}


SAID = [
    Message(role="user", content="a"),
    Message(role="system", content=""),
    Message(role="user", content="<|im_end|>x"),
]


@pytest.mark.parametrize(("first", "reply", "then"), list(product(SAID, ["", "said", "é\n"], SAID)))
def test_what_follows_is_what_the_template_writes(tokenizer: Any, first: Message, reply: str, then: Message) -> None:
    chat = Chat(by_tokenizer(tokenizer), "tiny")
    said = tokenizer.encode(reply, add_special_tokens=False)
    kept = [*chat.begin([first], ()), *said, *chat.end, *chat.follow([then])]
    assert kept == chat.begin([first, Message(role="assistant", content=reply), then], ())
    assert kept.count(tokenizer.eos_token_id) == 3


def test_answers_to_calls_follow_too(tokenizer: Any) -> None:
    chat = Chat(by_tokenizer(tokenizer), "tiny")
    found = chat.follow([Message(role="tool", content="one", id="1"), Message(role="tool", content="two", id="2")])
    assert tokenizer.decode(found) == (
        "\n<|im_start|>tool\none<|im_end|>\n<|im_start|>tool\ntwo<|im_end|>\n<|im_start|>assistant\n"
    )


LISTED = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content[0].text }}<|im_end|>\n{% endfor %}"
BEFORE = "{% for m in messages if m.role != 'tool' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ messages | length }}: {{ messages[0].content }}", "writes a conversation anew once more follows"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "writes no end behind a reply"),
        (LISTED + OPEN, "writes a conversation anew once more follows"),
        (BEFORE + OPEN, "has no place for what is said in the role 'tool'"),
        ("{{ raise_exception('no such roles') }}", "cannot write a conversation .no such roles."),
        (None, "cannot write a conversation .Cannot use chat template"),
    ],
)
def test_a_template_that_cannot_be_followed_is_refused(tokenizer: Any, template: str | None, why: str) -> None:
    other = copy.copy(tokenizer)
    other.chat_template = template
    with pytest.raises(UsageError, match=f"The chat template of odd {why}"):
        Chat(by_tokenizer(other), "odd").begin([Message(role="user", content="a")], [{"type": "function"}])


def test_a_template_that_drops_old_thinking_is_followed(tokenizer: Any) -> None:
    other = copy.copy(tokenizer)
    last = "{% if loop.last %}<think></think>{% endif %}"
    other.chat_template = CHATML.replace(
        "{{ m.content }}", "{% if m.role == 'assistant' %}" + last + "{% endif %}{{ m.content }}"
    )
    other.chat_template += "{% if add_generation_prompt %}<think>{% endif %}"
    found = Chat(by_tokenizer(other), "thinks").follow([Message(role="user", content="b")])
    assert tokenizer.decode(found) == "\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n<think>"


class VllmServer(Server):
    """A server with vLLM's additions: prompts as tokens, tokens back, and the template at /tokenize."""

    suffix = "/v1"

    def __init__(self, policy: TorchPolicy) -> None:
        super().__init__()
        self.policy, self.fails = policy, 0
        self.tells_tokens = True

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if self.fails:
            self.fails -= 1
            return 503, {"retry-after-ms": "1"}, {"error": {"message": "warming up"}}
        if path == "/tokenize":
            render = by_tokenizer(self.policy.tokenizer)
            ids = render(body["messages"], body.get("tools", []), body["add_generation_prompt"])
            return 200, {}, {"count": len(ids), "max_model_len": 4096, "tokens": ids}
        if path == "/detokenize":
            return 200, {}, {"prompt": self.policy.tokenizer.decode(body["tokens"])}
        if len(body["prompt"]) + body["max_tokens"] > 4096:
            return 400, {}, {"error": {"message": "This model's maximum context length is 4096 tokens."}}
        assert (body["top_p"], body["top_k"], body["return_token_ids"]) == (1.0, -1, True)
        (reply,) = self.policy.sample([body["prompt"]], [body["max_tokens"]], [body["seed"]])
        choice = {"index": 0, "text": self.policy.text(reply.ids), "finish_reason": reply.stop}
        choice["logprobs"] = {"tokens": [], "token_logprobs": list(reply.logprobs), "text_offset": []}
        if self.tells_tokens:
            choice["token_ids"] = list(reply.ids)
        answer = {"id": "cmpl-1", "object": "text_completion", "created": 0, "model": "tiny", "choices": [choice]}
        return 200, {}, answer


@pytest.fixture
def vllm(model: Any, tokenizer: Any) -> Iterator[VllmServer]:
    with VllmServer(TorchPolicy(model, tokenizer)) as server:
        yield server


@pytest.mark.slow
def test_a_server_gives_the_tokens_that_its_model_gives_here(vllm: VllmServer, model: Any, tokenizer: Any) -> None:
    options: dict[str, Any] = {"protocol": "plain", "max_tokens": 12, "limits": {"steps": 2}}
    rows = [Row(GUESS, seed) for seed in (1, 2)]
    vllm.fails = 1
    with closing(ServerPolicy("vllm/tiny", vllm.url)) as policy:
        found = Engine(policy, **options).rollout(rows)
    here = Engine(TorchPolicy(model, tokenizer), **options).rollout(rows)
    for one, other in zip(found, here, strict=True):
        assert (one.prompt, one.ids, one.mask) == (other.prompt, other.ids, other.mask) and one.turns
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert [message.content for message in one.messages] == [message.content for message in other.messages]


@pytest.mark.slow
def test_a_server_whose_context_is_full_ends_the_episode(vllm: VllmServer) -> None:
    with closing(ServerPolicy("vllm/tiny", vllm.url)) as policy:
        (found,) = Engine(policy, protocol="plain", max_tokens=4090).rollout([Row(GUESS)])
    assert (found.ended, found.turns) == ("context", ())


@pytest.mark.slow
def test_a_server_without_tokens_is_told(vllm: VllmServer) -> None:
    vllm.tells_tokens = False
    told = pytest.raises(UsageError, match="only the text of its replies can be had")
    with closing(ServerPolicy("vllm/tiny", vllm.url)) as policy, told:
        Engine(policy, protocol="plain").rollout([Row(GUESS)])
    with OpenAIServer(["ls"]) as plain, pytest.raises(ModelError, match="Not Found"):
        ServerPolicy("vllm/tiny", plain.url)


@pytest.mark.parametrize("protocol", ["text", "tools"])
def test_a_server_of_text_gives_messages(protocol: str) -> None:
    replies = {
        "text": ["```\nls\n```", "```\nsubmit\n```"],
        "tools": [
            {"text": "Look.", "calls": [("bash", {"command": "ls"}), ("view", "{broken")]},
            {"calls": [("submit", {})]},
        ],
    }
    with (
        OpenAIServer(replies[protocol]) as server,
        closing(TextPolicy("vllm/tiny", server.url, version=3, temperature=0.5)) as policy,
    ):
        (found,) = Engine(policy, protocol=protocol).rollout([Row(GUESS)])
        sent = [request["body"] for request in server.requests]
    assert (found.status, found.ids, found.prompt, found.temperature) == ("submitted", (), (), 0.5)
    assert [turn.policy for turn in found.turns] == [3, 3] and found.messages[0].role == "system"
    assert [each["role"] for each in sent[1]["messages"][:3]] == ["system", "user", "assistant"]
    assert sent[1]["messages"][1]["content"] == found.messages[1].content
    if protocol == "tools":
        assert [call.name for call in found.messages[2].calls] == ["bash", "view"]
        answered = [each["tool_call_id"] for each in sent[1]["messages"] if each["role"] == "tool"]
        assert answered == [call["id"] for call in sent[1]["messages"][2]["tool_calls"]] and len(answered) == 2


@pytest.mark.parametrize(
    ("item", "status"), [({"status": 500, "error": "down"}, "not_scored"), ({"text": "", "stop": "refusal"}, "gave_up")]
)
def test_a_provider_that_fails_is_no_doing_of_the_policys(item: dict[str, Any], status: str) -> None:
    with OpenAIServer(lambda _: item) as server, closing(TextPolicy("vllm/tiny", server.url)) as policy:
        (found,) = Engine(policy).rollout([Row(GUESS)])
    assert found.status == status and (found.reward is None) == (status == "not_scored")
    assert not found.turns or found.turns[-1].stop == "refused"
