"""What `react` reads in a reply: thinking, calls written as text, blocks that are not closed, stop reasons."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym import agents, models
from mlgym.agents.fences import NotSpoken, spoken
from mlgym.agents.prompts import Prompts
from mlgym.agents.replies import wants
from mlgym.agents.solutions import NotWritten, solution
from mlgym.agents.written import MOST, alone, calls, thinking
from mlgym.records import Brief, Limits, Reply, ToolCall
from tests.servers import AnthropicServer
from tests.worlds import CLASSIC, MODERN, Watched, World

BRIEF = Brief(
    task="t",
    title="T",
    instruction="Do.",
    tools=MODERN,
    limits=Limits(),
    metric="m",
    direction="maximize",
    baseline={"scores": {}, "command": "", "files": []},
    seed=0,
    machine={},
)
BASH = {"name": "bash", "arguments": {"command": "echo ran"}}
LS = '{"name": "bash", "arguments": {"command": "ls"}}'


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        ("<think>Hm.</think>\n\nDone.", "Hm.", "Done."),
        ("\n<thinking>a\nb</thinking><think>c</think> Done.", "a\nb\n\nc", "Done."),
        ("Hm, the template began it.\n</think>\n\nDone.", "Hm, the template began it.", "Done."),
        ("<think>cut off in the mid", "cut off in the mid", ""),
        ("<think></think>Done.", "", "Done."),
        ("Done.", "", "Done."),
        ("  Done. ", "", "  Done. "),
        ("Done, without <think>tags</think>.", "", "Done, without <think>tags</think>."),
        ("```\necho '</think>'\n```", "", "```\necho '</think>'\n```"),
        ("<think>```\nrm -rf .\n```</think>\n```\nls\n```", "```\nrm -rf .\n```", "```\nls\n```"),
    ],
)
def test_thinking_at_the_head_is_kept_apart(text: str, thought: str, rest: str) -> None:
    assert thinking(text) == (thought, rest)


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{LS}\n</tool_call>",
        f"I look.\n<tool_call>{LS}",
        f"<function_call>{LS}</function_call>",
        f"<|python_tag|>{LS}",
        LS,
        f" {LS}\n",
        f"```json\n{LS}\n```",
        f"I look.\n\n```\n{LS}\n```\n",
        '{"name": "bash", "parameters": {"command": "ls"}}',
        '{"name": "bash", "arguments": "{\\"command\\": \\"ls\\"}"}',
        "<tool_call>\n<function=bash>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>",
    ],
)
def test_a_call_written_as_text_is_a_call(text: str) -> None:
    (call,) = calls(text)
    assert (call.name, json.loads(call.arguments)) == ("bash", {"command": "ls"})


@pytest.mark.parametrize(
    "text",
    ["", "ls", "{", "{}", '{"name": "Ada"}', '{"name": 3, "arguments": {}}', f"It is {LS}.",
     "<tool_call>ls</tool_call>", f"```\n{LS}\n```\nor\n```\nls\n```", "<tool_call>" * 5, '{"a":' * 100_000, "[" * 9],
)  # fmt: skip
def test_what_is_no_call_is_none(text: str) -> None:
    assert calls(text) == ()


def test_line_breaks_within_arguments_are_taken_and_many_calls_are_bounded() -> None:
    (call,) = calls('<tool_call>{"name": "bash", "arguments": {"command": "ls\npwd"}}</tool_call>')
    assert json.loads(call.arguments) == {"command": "ls\npwd"}
    assert len(calls(f"<tool_call>{LS}</tool_call>" * 99)) == MOST
    assert alone(LS) and not alone(f"echo\n{LS}")


@pytest.mark.parametrize(
    "part",
    [
        *("<tool_call>", "<think>", "<think></think>", "```\n", "```x\n", "<function=x>", "</think>", "{", "`", "a"),
        "<parameter=x>",
    ],
)
def test_every_text_is_read_before_the_test_times_out(part: str) -> None:
    text = part * (200_000 // len(part))
    _, rest = thinking(text)
    calls(rest)
    with contextlib.suppress(NotSpoken):
        spoken(rest)
    assert len(calls(f"<tool_call><function=x>{text}</function>")) <= MOST
    with contextlib.suppress(NotWritten):
        solution(f"{text}\n```{text}\n```", ("a.py",))


@given(st.text('<>/`{}"\\ \nthinkcalbsoue_:,=|', max_size=200), st.booleans(), st.sampled_from(["stop", "length", ""]))
def test_any_text_is_read(text: str, native: bool, stop: str) -> None:
    assert wants(Reply(text=text, stop=stop), BRIEF, Prompts(), native=native)


@pytest.mark.parametrize(
    ("text", "command", "said"),
    [
        ("So:\n```bash\nls\npwd", "ls\npwd", "no closing fence"),
        ("```\nls\n```\nThen:\n```\npwd", "pwd", "2 blocks"),
        ("```\nls\n```\n```", "ls", ""),
        ("```\nls\n```\n```\n\n", "ls", ""),
    ],
)
def test_a_last_block_that_is_not_closed_is_taken_where_the_reply_is_whole(text: str, command: str, said: str) -> None:
    found = spoken(text, whole=True)
    assert found.command == command and said in found.note


@pytest.mark.parametrize("text", ["So:\n```bash\nls", "```\nls\n```\nThen:\n```\nrm -r"])
def test_a_block_that_may_be_half_of_what_was_meant_is_not_run(text: str) -> None:
    with pytest.raises(NotSpoken, match="no closing fence"):
        spoken(text)


def test_a_block_with_other_fences_in_it_must_be_closed() -> None:
    with pytest.raises(NotSpoken, match="no closing fence"):
        spoken("```\ncat > a.md <<'EOF'\n```python\nx\n```\nEOF", whole=True)


def test_strict_sees_no_block_that_is_not_closed() -> None:
    assert spoken("```\nls\n```\n```\npwd", strict=True, whole=True).command == "ls"
    with pytest.raises(NotSpoken, match="no complete block"):
        spoken("```\nls", strict=True, whole=True)


def run(tmp_path: Path, *script: Any, spec: str = "react", **world: Any) -> tuple[World, Watched]:
    model, place = Watched([*script]), World(tmp_path, **world)
    place.drive(agents.load(spec)(place.brief, model))
    return place, model


def test_written_calls_are_answered_in_text(tmp_path: Path) -> None:
    two = f"<think>Two.</think>Both.<tool_call>{LS}</tool_call><tool_call>{LS.replace('ls', 'echo 2')}</tool_call>"
    world, model = run(tmp_path, two, f"```json\n{LS.replace('bash', 'submit')}\n```")
    assert [action.tool for action, _ in world.seen] == ["bash", "bash", "submit"] and world.submitted
    assert world.seen[0][0].thought.startswith("Both.") and "Two." not in world.seen[0][0].thought
    assert [m.role for m in model.sent[1]] == ["system", "user", "assistant", "user"]
    assert "strategy.py" in model.sent[1][-1].content and "\n\n2\n" in model.sent[1][-1].content
    assert "Two." not in model.sent[1][2].content


def test_the_text_protocol_takes_a_call_in_its_block(tmp_path: Path) -> None:
    world, _ = run(tmp_path, f"Look.\n```json\n{LS}\n```", f"<tool_call>{LS}</tool_call>", "```\nsubmit\n```",
                   spec="react?protocol=text")  # fmt: skip
    assert [action.tool for action, _ in world.seen] == ["bash", "bash", ""] and world.seen[0][0].thought == "Look."
    world, _ = run(tmp_path, f"```\n{LS}\n```", *["nothing"] * 3, spec="react?protocol=text&strict=true")
    assert [action.args for action, _ in world.seen] == [{"text": LS}]


def test_a_written_call_of_no_tool_is_a_mistake(tmp_path: Path) -> None:
    world, model = run(
        tmp_path, '<tool_call>{"name": "fly", "arguments": {}}</tool_call>', {"calls": [{"name": "submit"}]}
    )
    assert world.submitted and "no tool 'fly'" in model.sent[1][-1].content and model.sent[1][-1].role == "user"


@pytest.mark.parametrize(
    ("stop", "said"),
    [("length", "cut off"), ("max_tokens", "cut off"), ("content_filter", "withheld"), ("refusal", "withheld"),
     ("pause_turn", "go on"), ("stop", "called no tool")],
)  # fmt: skip
def test_each_stop_reason_has_its_sentence(tmp_path: Path, stop: str, said: str) -> None:
    world, model = run(tmp_path, {"text": "", "stop": stop}, {"calls": [{"name": "submit"}]})
    assert world.submitted and re.search(said, model.sent[1][-1].content)
    world, model = run(tmp_path, *[{"text": "", "stop": stop}] * 9)
    assert world.seen == [] and len(model.sent) == 3


def test_refusals_and_pauses_of_anthropics_kind(tmp_path: Path) -> None:
    world = World(tmp_path)
    script = [{"stop": "refusal"}, {"text": "Let me", "stop": "pause_turn"}, {"calls": [("submit", {})]}]
    with AnthropicServer(script) as server:
        model = models.load("anthropic/x", base_url=server.url)
        world.drive(agents.load("react")(world.brief, model))
        model.close()
    told = [request["body"]["messages"][-1]["content"][-1]["text"] for request in server.requests[1:]]
    assert world.submitted and "withheld" in told[0] and "go on" in told[1]


def test_of_a_reply_without_an_action_only_the_ends_are_sent_back(tmp_path: Path) -> None:
    world, model = run(
        tmp_path, "bat " * 5_000, {"text": "bat " * 5_000, "calls": [BASH]}, {"calls": [{"name": "submit"}]}
    )
    sizes = [len(message.content) for message in model.sent[-1] if message.role == "assistant"]
    assert world.submitted and sizes[0] < 1_100 and sizes[1] == 20_000


def test_the_last_call_of_a_reply_that_was_cut_off_is_not_run(tmp_path: Path) -> None:
    world, model = run(tmp_path, {"calls": [BASH, BASH], "stop": "max_tokens"}, {"calls": [{"name": "submit"}]})
    results = [m.content for m in model.sent[1] if m.role == "tool"]
    assert len(world.seen) == 2 and "ran" in results[0] and "Send it again" in results[1] and "cut off" in results[1]


def test_calls_count_where_none_were_asked_for(tmp_path: Path) -> None:
    world, model = run(
        tmp_path, {"calls": [{"name": "open", "arguments": {"path": "a"}}]}, "```\nsubmit\n```", tools=CLASSIC
    )
    assert [action.tool for action, _ in world.seen] == ["open", ""] and model.sent[1][-1].role == "tool"


def test_arguments_nested_without_end_are_a_mistake(tmp_path: Path) -> None:
    world, model = run(
        tmp_path, {"calls": [{"name": "bash", "arguments": '{"a":' + "[" * 200_000}]}, {"calls": [{"name": "submit"}]}
    )
    assert world.submitted and "not JSON" in model.sent[1][-1].content


def test_reasoning_is_not_said_again(tmp_path: Path) -> None:
    blocks = ({"type": "thinking", "thinking": "Hm.", "signature": "s"},)
    asked = Reply(
        text="", calls=(ToolCall(id="1", name="bash", arguments='{"command": "ls"}'),), reasoning="Hm.", extra=blocks
    )
    _, model = run(tmp_path, asked, {"calls": [{"name": "submit"}]})
    back = model.sent[1][2]
    assert (back.content, back.extra) == ("", blocks)
