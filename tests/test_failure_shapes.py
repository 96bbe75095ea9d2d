"""Each way in which recorded episodes of language models failed: driven by a server that does the same, an episode runs
to its end and is scored.
"""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mlgym.episode import run_episode
from mlgym.records import EpisodeSpec, Limits, Result
from mlgym.store import Episode
from tests.servers import OpenAIServer

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
GOOD = "echo 41 > guess.txt"
SCORES = {"closeness": 0.5}
STARTER = {"closeness": pytest.approx(1 / 33)}
TOO_LONG = {"status": 400, "error": "This model's maximum context length is 8192 tokens, you sent 9000."}


def text(command: str) -> str:
    """A reply of the text protocol."""
    return f"Try this.\n```\n{command}\n```"


def calls(*commands: str, **more: Any) -> dict[str, Any]:
    """A reply with native calls of the shell, or of a tool without arguments."""
    return {
        "calls": [(one, {}) if one in ("validate", "submit") else ("bash", {"command": one}) for one in commands],
        **more,
    }


class Shape(NamedTuple):
    """What a server replies, how the episode must end, and what its model or its steps must have been told."""

    replies: Any
    ended: str = "submitted"
    final: Any = SCORES
    told: str = ""
    agent: str = "react"
    tools: str = "modern"
    limits: dict[str, Any] = {}  # noqa: RUF012 - never changed
    fallback: bool = False
    model: str = "openai/x"
    steps: int | None = None


def ends_well(*replies: Any) -> list[Any]:
    """These replies, then good ones."""
    return [*replies, calls(GOOD), calls("submit")]


def classic(*commands: str) -> list[str]:
    return [text(command) for command in (*commands, GOOD, "submit")]


def too_long_once() -> Callable[[dict[str, Any]], Any]:
    """A window that is full after two long outputs, until less is sent."""

    def script(body: dict[str, Any]) -> Any:
        if sum(len(message["content"] or "") for message in body["messages"]) > 30_000:
            return TOO_LONG
        number = sum(message["role"] == "assistant" for message in body["messages"])
        done = any("LAST" in str(message["content"]) for message in body["messages"])
        return calls("submit") if done else calls("seq 1 20000", GOOD if number else "ls")

    return script


def in_turn(*replies: Any) -> Callable[[dict[str, Any]], Any]:
    """Each reply once, whatever it is asked, and the last one for ever."""
    left = itertools.chain(replies, itertools.repeat(replies[-1]))
    return lambda body: next(left)


NOT_A_BLOCK = "I would first look at the data."
SHAPES: dict[str, Shape] = {  # of steps, and of ends
    "an edit that the linter rejects": Shape(
        classic("open guess.py", "edit 1:1\nx = = 1\nend_of_edit"), told="E999|not applied|refused", tools="classic"
    ),
    "an edit without its end marker": Shape(
        classic("open guess.py", "edit 1:1\nx = 1"), told="end_of_edit", tools="classic"
    ),
    "a traceback": Shape(ends_well(calls("python3 -c 'import nothing'")), told="ModuleNotFoundError"),
    "a timeout, its output kept": Shape(
        ends_well(calls("echo begun; sleep 60")), told="begun\n.*Stopped after", limits={"command_s": 0.5}
    ),
    "an evaluation that cannot be parsed": Shape(
        [calls("echo many > guess.txt", "validate"), calls("submit")], final=None, told="not valid|invalid"
    ),
    "the same after a valid one": Shape(
        [calls(GOOD, "validate", "head -c 99 /dev/urandom > guess.txt"), calls("submit")], fallback=True
    ),
    "a submission that is not there": Shape([calls(GOOD, "validate", "rm guess.txt"), calls("submit")], fallback=True),
    "an output above 100,000 characters": Shape(ends_well(calls("seq 1 40000")), told="characters left out: write the"),
    "a submission that is a folder": Shape(
        [calls(GOOD, "validate", "rm guess.txt; mkdir guess.txt", "validate"), calls("submit")], fallback=True
    ),
    "a last score worse than the best": Shape(
        [calls(GOOD, "validate", "echo 5 > guess.txt", "validate"), calls("submit")],
        final={"closeness": pytest.approx(1 / 38)},
    ),
    "packages that cannot be installed": Shape(
        ends_well(calls("pip install lightgbm || python3 -m pip install lightgbm")),
        told="(?i)not found|no module|no matching|exit code",
        limits={"command_s": 4},
    ),
    "max_steps": Shape(lambda body: calls(GOOD), "steps", told="LAST CALL", limits={"steps": 3}),
    "exit_format": Shape(in_turn(text(GOOD), NOT_A_BLOCK), "gave_up", agent="react?protocol=text", steps=1),
    "exit_format by several blocks, where that is strict": Shape(
        in_turn(text(GOOD), f"{text('ls')}\n{text('pwd')}"), "gave_up", agent="react?protocol=text&strict=true", steps=1
    ),
    "exit_context": Shape(in_turn(calls(GOOD), TOO_LONG), "context", steps=1),
    "a conversation that is too long, made shorter": Shape(too_long_once(), limits={"steps": 9}),
    "exit_cost": Shape(
        lambda body: calls(GOOD, more_usage={"cost": 0.4}),
        "money",
        told="LAST CALL",
        limits={"money": 1.0},
        model="openrouter/x",
        steps=3,
    ),
    "tokens used up": Shape(lambda body: calls(GOOD), "tokens", told="LAST CALL", limits={"tokens": 300}, steps=3),
    "nothing but empty replies": Shape(lambda body: {"text": ""}, "gave_up", STARTER, steps=0),
    "an empty reply": Shape(ends_well({"text": ""}), told="called no tool"),
}
REPLIES: dict[str, Shape] = {
    "a refusal": Shape(ends_well({"text": "", "stop": "content_filter"}), told="withheld"),
    "nothing but refusals": Shape(
        lambda body: {"text": "I cannot help.", "stop": "content_filter"}, "gave_up", STARTER, steps=0
    ),
    "a call that is cut off": Shape(
        ends_well({"calls": [("bash", '{"command": "rm guess')], "stop": "length"}), told="not JSON.*cut off"
    ),
    "a whole call at the limit of tokens is not trusted": Shape(
        ends_well({**calls("echo 7 > guess.txt"), "stop": "length"}), told="ended in this call"
    ),
    "a block that is cut off": Shape(
        [{"text": "So:\n```\necho 7 > guess.txt", "stop": "length"}, *classic()],
        told="no closing fence.*cut off",
        agent="react?protocol=text",
    ),
    "a block that is not closed": Shape(
        ["So:\n```\necho 41 > guess.txt", text("submit")], told="had no closing fence", agent="react?protocol=text"
    ),
    "a tool that does not exist": Shape(ends_well({"calls": [("fly", {})]}), told="no tool 'fly'"),
    "arguments that do not fit": Shape(ends_well({"calls": [("bash", {"cmd": "ls"})]}), told="takes command"),
    "a call written as text": Shape(
        [
            {"text": '<think>Hm.\n</think>\n<tool_call>\n{"name": "bash", "arguments": {"command": "' + GOOD + '"}}'},
            {"text": "<tool_call>\n<function=submit>\n</function>\n</tool_call>"},
        ]
    ),
}


@pytest.mark.parametrize("name", [*SHAPES, *(pytest.param(name, marks=pytest.mark.slow) for name in REPLIES)])
def test_an_episode_of_each_failure_shape_is_scored(name: str, tmp_path: Path) -> None:
    shape = {**SHAPES, **REPLIES}[name]
    with OpenAIServer(shape.replies) as server:
        result = episode(shape, tmp_path, server)
    assert result.scored and (result.ended, result.final) == (shape.ended, shape.final)
    assert result.attempts[-1].kind != "validate" and result.attempts[-1].fallback == shape.fallback
    assert shape.steps is None or result.steps == shape.steps
    if result.ended == "gave_up":
        assert "had no action" in result.why and result.cost.calls == result.steps + 3
    seen = "\n".join(str(request["body"]["messages"][-1]["content"]) for request in server.requests)
    seen += "\n".join(step.observation.text for step in Episode.read(tmp_path).steps())
    assert not shape.told or re.search(shape.told, seen, re.DOTALL), seen


def episode(shape: Shape, folder: Path, server: OpenAIServer) -> Result:
    spec = EpisodeSpec(
        task=GUESS,
        agent=shape.agent,
        model=shape.model,
        base_url=server.url,
        tools=shape.tools,
        sandbox="bubblewrap",
        limits=Limits.model_validate({"steps": 12, "command_s": 10.0, **shape.limits}),
    )
    return run_episode(spec, folder)


def test_when_the_faults_of_a_provider_stop_the_episode_ends_scored(tmp_path: Path) -> None:
    soon = {"retry-after": "0", "retry-after-ms": "1"}
    faults = [
        {"status": 429, "error": "slow down", "headers": soon},
        {"status": 500, "error": "overloaded", "headers": soon},
        {**calls(GOOD), "cut": True},
        {"raw": "<html>Bad gateway</html>"},
        {"raw": '{"choices": []}'},
    ]

    def script(body: dict[str, Any]) -> Any:
        number = sum(message["role"] == "assistant" for message in body["messages"])
        return faults.pop(0) if faults and number else [calls(GOOD), calls("validate"), calls("submit")][number]

    with OpenAIServer(script) as server:
        results = [episode(Shape(()), tmp_path, server) for _ in range(4)]  # an unscored one is gone on with
    assert not faults and results[-1].scored and (results[-1].ended, results[-1].final) == ("submitted", SCORES)
    assert {result.boundary for result in results if not result.scored} <= {"model"}
