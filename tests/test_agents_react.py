"""The agent that asks a language model, driven by scripts and by local servers."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from mlgym import agents, models
from mlgym.agents.context import Conversation
from mlgym.agents.fences import NotSpoken, spoken
from mlgym.agents.prompts import Prompts, middle_out
from mlgym.errors import BudgetError, ToolsRefused, UsageError
from mlgym.models.metered import Metered
from mlgym.models.scripted import Scripted
from mlgym.records import Limits, Message, Reply, ToolCall
from tests.servers import TOOLS_REFUSED, AnthropicServer, OpenAIServer
from tests.worlds import CLASSIC, MODERN, Watched, World

ALWAYS_0 = "printf 'def row_strategy(history):\\n    return 0\\n' > strategy.py"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def run(
    tmp_path: Path, script: Any, spec: str = "react", refuse_tools: bool = False, **world: Any
) -> tuple[World, Watched]:
    model = Watched(script, refuse_tools=refuse_tools)
    place = World(tmp_path, **world)
    place.drive(agents.load(spec)(place.brief, model))
    return place, model


def test_react_needs_a_model(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(UsageError, match="-m provider/model"):
        next(agents.load("react")(world.brief, None))


def test_an_unknown_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="telepathy"):
        run(tmp_path, [], "react?protocol=telepathy")


def test_a_whole_episode_by_tool_calls(tmp_path: Path) -> None:
    script = [
        {"text": "Always 0.", "calls": [call("bash", command=ALWAYS_0)]},
        {"calls": [call("validate")]},
        {"calls": [call("submit")]},
    ]
    world, model = run(tmp_path, script)
    assert world.submitted and world.seen[1][1].validation["Score"] > 1.4
    assert world.seen[0][0].thought == "Always 0." and world.seen[0][0].id == "call_0_0"
    messages, tools = model.sent[-1], model.offered[-1]
    assert tools == list(world.brief.tools)
    assert [m.role for m in messages] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert "Left: 49 steps" in messages[3].content and "printed nothing" in messages[3].content
    told = messages[1].content
    assert all(
        word in told for word in ("Play well.", "1.0227", "maximized", "50 steps", "strategy.py", "network none")
    )
    assert "validat" in messages[0].content and "submit" in messages[0].content


def test_parallel_calls_are_steps_of_one_reply(tmp_path: Path) -> None:
    script = [
        {"text": "Both.", "calls": [call("bash", command="echo 1"), call("bash", command="echo 2")]},
        {"calls": [call("submit")]},
    ]
    world, model = run(tmp_path, script)
    first, second, last = (action for action, _ in world.seen)
    assert first.call == second.call != last.call and (first.thought, second.thought) == ("Both.", "")
    results = [m for m in model.sent[1] if m.role == "tool"]
    assert [m.id for m in results] == ["call_0_0", "call_0_1"]
    assert [m.content[0] for m in results] == ["1", "2"]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"calls": [{"name": "bash", "arguments": '{"command": '}]}, "not JSON"),
        ({"calls": [{"name": "bash", "arguments": "[1]"}]}, "must be a JSON object"),
        ({"calls": [call("fly")]}, "no tool 'fly'.*bash, validate, submit"),
        ({"text": "I am done."}, "called no tool"),
        ({"text": ""}, "called no tool"),
        ({"text": "", "stop": "length"}, "cut off"),
    ],
)
def test_a_mistake_is_corrected_and_too_many_end_it(tmp_path: Path, reply: Any, said: str) -> None:
    world, model = run(tmp_path, [reply, {"calls": [call("submit")]}])
    assert world.submitted and len(world.seen) == 1
    last = model.sent[1][-1]
    assert re.search(said, last.content)
    world, model = run(tmp_path, [reply] * 9)
    assert not world.submitted and world.seen == [] and len(model.sent) == 3


def test_a_good_call_beside_a_bad_one_is_done_and_both_are_answered(tmp_path: Path) -> None:
    both = {"calls": [call("fly"), call("bash", command="echo 1")]}
    world, model = run(tmp_path, [both] * 4 + [{"calls": [call("submit")]}])
    assert world.submitted and len(world.seen) == 5
    assert [m.id for m in model.sent[1] if m.role == "tool"] == ["call_0_0", "call_0_1"]


def test_refused_tools_fall_back_to_text(tmp_path: Path) -> None:
    script = [f"Always 0.\n```bash\n{ALWAYS_0}\n```", "```\nvalidate\n```", "Good.\n```\nsubmit\n```"]
    world, model = run(tmp_path, script, refuse_tools=True)
    assert world.submitted and world.seen[1][1].validation["Score"] > 1.4
    assert world.seen[0][0].args == {"text": ALWAYS_0} and world.seen[0][0].thought == "Always 0."
    assert [bool(tools) for tools in model.offered] == [True, False, False, False]
    first = model.sent[2][-1]
    assert first.role == "user" and first.content.endswith("(Current Step: 1, Remaining Steps: 49)\nbash-$")


def test_a_model_that_is_known_to_take_no_tools_is_offered_none(tmp_path: Path) -> None:
    model = Watched(["```\nsubmit\n```"])
    model.native = False
    world = World(tmp_path)
    world.drive(agents.load("react")(world.brief, model))
    assert world.submitted and model.offered == [[]]


def test_tools_refused_in_the_middle_leave_the_conversation(tmp_path: Path) -> None:
    replies = [
        Reply(
            text="Look.",
            calls=(
                ToolCall(id="a", name="bash", arguments='{"command": "echo first"}'),
                ToolCall(id="b", name="validate", arguments=""),
            ),
        ),
        Reply(text="Done.\n```\nsubmit\n```", stop="stop"),
    ]
    sent: list[Any] = []

    def model(messages: Any, tools: Any) -> Reply:
        if tools and sent:
            raise ToolsRefused("No tools any more.")
        sent.append(messages)
        return replies[len(sent) - 1]

    world = World(tmp_path)
    world.drive(agents.load("react")(world.brief, model))
    assert world.submitted
    assert [message.role for message in sent[1]] == ["system", "user", "assistant", "user"]
    assert "three backticks" in sent[1][0].content and not sent[1][2].calls
    assert '```\necho first\n```\n```\n{"name": "validate", "arguments": {}}\n```' in sent[1][2].content
    assert "first\n" in sent[1][3].content and "Score" in sent[1][3].content


def test_a_model_that_refuses_what_it_is_not_offered_is_an_error(tmp_path: Path) -> None:
    def refuse(messages: Any, tools: Any) -> None:
        raise ToolsRefused("No tools.")

    with pytest.raises(ToolsRefused):
        next(agents.load("react")(World(tmp_path).brief, refuse))


def test_refused_tools_are_an_error_where_tools_were_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ToolsRefused):
        run(tmp_path, ["x"], "react?protocol=tools", refuse_tools=True)


@pytest.mark.parametrize(("spec", "tools"), [("react?protocol=text", MODERN), ("react", CLASSIC)])
def test_the_text_protocol_can_be_chosen(tmp_path: Path, spec: str, tools: Any) -> None:
    world, model = run(tmp_path, ["no block", "```\nsubmit\n```"], spec, tools=tools)
    assert world.submitted and not any(model.offered)
    assert ("edit: Does edit." in model.sent[0][0].content) == (tools is CLASSIC)
    assert "No command was run" in model.sent[1][-1].content


def test_several_blocks_take_the_last_and_say_so(tmp_path: Path) -> None:
    two = "```\necho 1\n```\nor\n```\necho 2\n```"
    world, model = run(tmp_path, [two, "```\nsubmit\n```"], "react?protocol=text")
    assert world.seen[0][1].text == "2\n" and "only the last one was run" in model.sent[1][-1].content
    world, model = run(tmp_path, [two] * 5, "react?protocol=text&strict=true")
    assert world.seen == [] and len(model.sent) == 3


@pytest.mark.parametrize(
    ("text", "thought", "command"),
    [
        ("Look.\n```\nls\n```", "Look.", "ls"),
        ("```bash\nls -la\npwd\n```\nafterwards", "afterwards", "ls -la\npwd"),
        (
            "A\n```\ncat > a.md <<'EOF'\n```python\nx\n```\nEOF\n```\nB",
            "A\nB",
            "cat > a.md <<'EOF'\n```python\nx\n```\nEOF",
        ),
        ("````\necho '\n```\n'\n````", "", "echo '\n```\n'"),
        ("```validate```", "", "validate"),
        ("  ```\nls\n  ```", "", "ls"),
        ("``` \nedit 1:2\nx\nend_of_edit\n``` ", "", "edit 1:2\nx\nend_of_edit"),
    ],
)
def test_the_command_stands_between_the_outermost_fences(text: str | None, thought: str, command: str) -> None:
    for strict in (False, True):
        assert spoken(text, strict) == (thought, command, "")


@pytest.mark.parametrize("text", ["", "ls", "```\nls", "```\n\n```", "use `ls`", "``````"])
def test_replies_without_a_command(text: str | None) -> None:
    with pytest.raises(NotSpoken):
        spoken(text)


def test_old_observations_are_shortened_in_jumps() -> None:
    long = "".join(f"{n}\n" for n in range(2000))
    head = [Message(role="system", content=long), Message(role="user", content=long)]
    talk = Conversation(head, Prompts(), policy="last", window=4, tokens=None)
    kept = [talk.messages()]
    for _ in range(12):
        talk.add(Message(role="assistant", content=long))
        talk.answer(long)
        kept.append(talk.messages())
    sizes = [len(m.content) for m in kept[-1] if m.role == "user"]
    assert sizes[0] == len(long) and sizes[-4:] == [len(long)] * 4 and max(sizes[1:9]) < 1100
    assert all(len(m.content) == len(long) for m in kept[-1] if m.role != "user")
    changes = sum(later[: len(earlier)] != earlier for earlier, later in itertools.pairwise(kept))
    assert changes == 2  # not at every call


def test_both_ends_of_a_long_observation_are_kept() -> None:
    text = middle_out("a" * 500 + "b" * 500, 100)
    assert text.startswith("aaa") and text.endswith("bbb") and "901 characters left out" in text


def test_a_spent_budget_ends_the_agent(tmp_path: Path) -> None:
    reply = {"calls": [call("bash", command="ls")], "money": 0.6}
    world = World(tmp_path)
    model = Metered(Scripted([reply] * 9), Limits(money=1.0))
    with pytest.raises(BudgetError):
        world.drive(agents.load("react")(world.brief, model))
    assert len(world.seen) == 2


NATIVE = [
    {"text": "Always 0.", "calls": [("bash", {"command": ALWAYS_0}), ("validate", {})]},
    {"text": "", "calls": [("submit", {})]},
]


@pytest.mark.parametrize(
    ("name", "kind"), [("openai/x", OpenAIServer), ("vllm/x", OpenAIServer), ("anthropic/x", AnthropicServer)]
)
def test_a_whole_episode_against_a_server(tmp_path: Path, name: str, kind: Any) -> None:
    world = World(tmp_path)
    with kind(NATIVE) as server:
        model = Metered(models.load(name, base_url=server.url), world.brief.limits)
        world.drive(agents.load("react")(world.brief, model))
        model.close()
    assert world.submitted and world.seen[1][1].validation["Score"] > 1.4
    assert model.cost.tokens_in == 200 and model.cost.calls == 2 and model.cost.money == 0


@pytest.mark.parametrize("refusal", TOOLS_REFUSED)
def test_a_whole_episode_against_a_server_without_tools(tmp_path: Path, refusal: str) -> None:
    script = [f"```\n{ALWAYS_0}\n```", "```\nvalidate\n```", "```\nsubmit\n```"]
    world = World(tmp_path)
    with OpenAIServer(script, refuse_tools=refusal) as server:
        model = models.load("openai/x", base_url=server.url)
        world.drive(agents.load("react")(world.brief, model))
        model.close()
    assert world.submitted and world.seen[1][1].validation["Score"] > 1.4


def test_a_replayed_episode_takes_the_same_actions_without_the_model(tmp_path: Path) -> None:
    script = ["```\necho 1\n```", "nothing", "```\nsubmit\n```"]
    replies = []
    first = World(tmp_path)
    model = Metered(Scripted(script, refuse_tools=True), first.brief.limits, on_call=lambda *c: replies.append(c[2]))
    actions = first.drive(agents.load("react")(first.brief, model))
    again = World(tmp_path)
    played = Metered(Scripted([]), again.brief.limits, replay=replies)
    assert again.drive(agents.load("react")(again.brief, played)) == actions and len(replies) == 4
