"""How `react` keeps its conversation within the model's window."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym import agents
from mlgym.agents.context import Conversation
from mlgym.agents.prompts import Prompts, middle_out
from mlgym.errors import BudgetError, UsageError
from mlgym.models.metered import Metered
from mlgym.records import Limits, Message, Reply, ToolCall
from tests.worlds import MODERN, World

POLICIES = ("last", "summarise", "cut")
HEAD = [Message(role="system", content="You work."), Message(role="user", content="Do it.")]


def conversation(policy: str, tokens: int | None, window: int = 10) -> Conversation:
    return Conversation(HEAD, Prompts(), policy=policy, window=window, tokens=tokens)


class Narrow:
    """A model that takes no more than `tokens` (four characters each), and prints long things for `steps` steps."""

    def __init__(self, tokens: int, steps: int, *, native: bool = True, told: bool = True, chars: int = 6_000) -> None:
        self.tokens, self.steps, self.native, self.chars = tokens, steps, native, chars
        self.context = tokens if told else None
        self.sent: list[list[Message]] = []
        self.refused = self.summaries = self.acted = 0

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        used = sum(len(m.content) + sum(len(call.arguments) for call in m.calls) for m in messages) // 4
        if used > self.tokens:
            self.refused += 1
            raise BudgetError("It is too long.", limit="context")
        paired(messages)
        self.sent.append(list(messages))
        if "replaced by a summary" in messages[-1].content:
            self.summaries += 1
            return Reply(text=f"<think>What was it?</think>Summary {self.summaries}.", tokens_in=used, stop="stop")
        self.acted += 1
        command = f"head -c {self.chars} /dev/zero | tr '\\0' x; echo {self.acted}" if self.acted < self.steps else ""
        if not self.native:
            return Reply(text=f"Go on.\n```\n{command or 'submit'}\n```", tokens_in=used, stop="stop")
        call = ToolCall(id=f"c{self.acted}", name="submit", arguments="")
        if command:
            call = call.changed(name="bash", arguments='{"command": "' + command.replace("\\", "\\\\") + '"}')
        return Reply(text="Go on.", calls=(call,), tokens_in=used, stop="tool_calls")


def paired(messages: Sequence[Message]) -> None:
    """Every call has its result right after it, no result stands alone, and roles alternate."""
    open_calls: list[str] = []
    for before, message in itertools.pairwise([Message(role="assistant", content=""), *messages[1:]]):
        if message.role == "tool":
            assert message.id in open_calls
            open_calls.remove(message.id)
        else:
            assert not open_calls
            assert (message.role == "assistant") != (before.role == "assistant") or before.role == "tool"
        open_calls += [call.id for call in message.calls]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_long_episode_stays_within_a_small_window(tmp_path: Path, policy: str, native: bool, told: bool) -> None:
    world = World(tmp_path, steps=40)
    model = Narrow(5_000, 30, native=native, told=told)
    spec = f"react?context={policy}" + ("" if native else "&protocol=text")
    world.drive(agents.load(spec)(world.brief, model))
    assert world.submitted and len(world.seen) == 30
    assert model.refused == 0 if told else model.refused >= 1
    assert (model.summaries > 0) == (policy == "summarise")
    assert all(messages[0] == model.sent[0][0] and "Play well." in messages[1].content for messages in model.sent)
    kept = [after[: len(before) - 1] == before[:-1] for before, after in itertools.pairwise(model.sent)]
    assert sum(kept) > len(kept) // 3, "caches of providers want a beginning that stays the same"


def test_a_summary_takes_the_place_of_what_is_gone(tmp_path: Path) -> None:
    world = World(tmp_path, steps=40)
    model = Narrow(5_000, 20)
    world.drive(agents.load("react?context=summarise")(world.brief, model))
    last = model.sent[-1][1].content
    assert f"your summary of them:)\n\nSummary {model.summaries}." in last and "What was it?" not in last
    asked = [messages for messages in model.sent if "replaced by a summary" in messages[-1].content]
    assert "your summary of them:)\n\nSummary 1." in asked[1][1].content


def test_the_option_tokens_goes_before_what_the_model_tells(tmp_path: Path) -> None:
    world = World(tmp_path)
    model = Narrow(50_000, 12)
    world.drive(agents.load("react?context=cut&tokens=4000")(world.brief, model))
    assert world.submitted and max(sum(len(m.content) for m in messages) for messages in model.sent) < 16_000


def test_what_is_gone_is_said_and_the_newest_stays() -> None:
    talk = conversation("cut", 2_000)
    for n in range(8):
        talk.add(Message(role="assistant", content=f"call {n}"))
        talk.answer(f"seen {n} " + "x" * 700)
    reply = talk.ask(lambda messages, tools: Reply(text=messages[1].content + messages[-1].content), ())
    assert "oldest turns of this conversation were left out" in reply.text and "seen 7" in reply.text


def test_a_window_that_is_too_small_for_the_task_ends_the_agent() -> None:
    tried = []

    def full(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        tried.append(len(messages))
        raise BudgetError("It is too long.", limit="context")

    with pytest.raises(BudgetError, match="too long"):
        conversation("last", None).ask(full, ())
    assert len(tried) == 3


@pytest.mark.parametrize("reply", ["", "<think>I wonder"])
def test_without_a_summary_the_turns_are_cut(reply: str) -> None:
    talk = conversation("summarise", 2_000)
    for n in range(8):
        talk.add(Message(role="assistant", content=f"call {n}"))
        talk.answer("x" * 900)
    sent: list[Sequence[Message]] = []

    def model(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        sent.append(messages)
        return Reply(text=reply)

    talk.ask(model, ())
    assert len(sent) == 2 and "oldest turns of this conversation were left out" in sent[1][1].content


@pytest.mark.parametrize("policy", POLICIES)
def test_an_interrupted_episode_makes_the_same_calls_again(tmp_path: Path, policy: str) -> None:
    def drive(name: str, model: Metered) -> list[Any]:
        (tmp_path / name).mkdir()
        world = World(tmp_path / name, steps=40)
        return world.drive(agents.load(f"react?context={policy}")(world.brief, model))

    replies: list[Reply] = []
    first = Metered(Narrow(4_000, 25, told=False), Limits(), on_call=lambda *call: replies.append(call[2]))
    actions = drive("first", first)
    assert len(actions) == 25 and "too_long" in [reply.stop for reply in replies]
    again = Metered(Narrow(0, 0), Limits(), replay=replies)
    assert drive("again", again) == actions and again.cost.calls == first.cost.calls == len(replies)


TURNS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 30_000), min_size=1, max_size=3)), min_size=1, max_size=12
)


@given(
    turns=TURNS, policy=st.sampled_from(POLICIES), tokens=st.none() | st.integers(500, 30_000), window=st.integers(0, 6)
)
def test_whatever_is_cut_results_stay_with_their_calls(
    turns: list[tuple[int, list[int]]], policy: str, tokens: int | None, window: int
) -> None:
    talk, sent = conversation(policy, tokens, window), list[int]()

    def model(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        paired(messages)
        sent.append(sum(len(m.content) for m in messages))
        return Reply(text="So far.", tokens_in=sent[-1] // 4)

    for n, (calls, sizes) in enumerate(turns):
        asked = tuple(ToolCall(id=f"{n}-{k}", name="bash", arguments="{}") for k in range(calls))
        talk.add(Message(role="assistant", content="Go.", calls=asked))
        for k in range(max(calls, 1)):
            talk.answer("y" * sizes[k % len(sizes)], f"{n}-{k}" if calls else None)
        talk.ask(model, ())
        newest = max(calls, 1) * 600 + 2_500  # what cannot be left out: the task, and the newest results at their least
        assert tokens is None or sent[-1] <= max(newest, tokens * 4)


def test_both_ends_of_a_long_observation_are_kept() -> None:
    text = middle_out("a" * 500 + "b" * 500, 100)
    assert text.startswith("aaa") and text.endswith("bbb") and "901 characters left out" in text


def test_the_hint_says_how_to_see_the_rest(tmp_path: Path) -> None:
    world = World(tmp_path)
    model = Narrow(10**6, 2, chars=50_000)
    world.drive(agents.load("react")(world.brief, model))
    seen = model.sent[-1][-1].content
    assert len(seen) < 20_300 and "30,0" in seen and "write the output to a file" in seen and "Left: 49 steps" in seen


@pytest.mark.parametrize("spec", ["react?context=magic", "react?window=-1", "react?tokens=-1", "react?warn=-2"])
def test_options_that_are_none_are_refused(tmp_path: Path, spec: str) -> None:
    world = World(tmp_path, tools=MODERN)
    with pytest.raises(UsageError, match="of react"):
        next(agents.load(spec)(world.brief, Narrow(1, 1)))
