"""Dialogues as rows: chats with tools, ShareGPT, prompts, and dialogues that are good or bad."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlgym.exporters import words
from mlgym.exporters.dialogue import Dialogue, Protocol, line, of_calls, of_steps
from mlgym.exporters.reading import Sample
from mlgym.exporters.shape import COMMON, MESSAGE, Shape
from mlgym.records import EpisodeSpec, Message

Row = dict[str, Any]
Schemas = Callable[[EpisodeSpec], Sequence[dict[str, Any]]]

CHAT: dict[str, Shape] = {**COMMON, "part": "int64", "messages": [MESSAGE], "train": ["bool"], "tools": "string"}
SHAREGPT: dict[str, Shape] = {
    **COMMON,
    "part": "int64",
    "conversations": [{"from": "string", "value": "string", "weight": "int64"}],
    "tools": "string",
}
PROMPTS: dict[str, Shape] = {
    "task": "string",
    "version": "int64",
    "seed": "int64",
    "prompt": [MESSAGE],
    "tools": "string",
}
KTO: dict[str, Shape] = {**COMMON, "prompt": [MESSAGE], "completion": [MESSAGE], "label": "bool", "tools": "string"}
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}


@dataclass(frozen=True)
class How:
    """How dialogues are made: which tools an episode had, in which words it called them, and from which records."""

    schemas: Schemas
    protocol: Protocol = "tools"
    dialogue: Literal["auto", "steps"] = "auto"


def common(sample: Sample) -> Row:
    """What each row tells of where it came from."""
    return {key: getattr(sample, key) for key in COMMON}


def episode(sample: Sample, how: How, places: Sequence[int] | None = None) -> Dialogue:
    """The episode as one dialogue: the line to its end, or the steps at `places`. Raises NoText."""
    if sample.trajectory:
        found = sample.trajectory
        spoke = [message.role == "assistant" for message in found.messages]
        head = spoke.index(True) if True in spoke else len(spoke)
        return Dialogue(found.messages, tuple(spoke), (0,) * len(spoke), head, found.tools)
    assert sample.spec and sample.home
    steps = sample.steps
    chosen = [steps[place] for place in (line(steps) if places is None else places)]
    begin = words.head(sample.home, sample.spec, sample.result, how.protocol)
    return of_steps(begin, chosen, how.schemas(sample.spec), how.protocol)


def dialogues(sample: Sample, how: How) -> list[Dialogue]:
    """The conversations that the model had; of an agent without one, the episode as one dialogue."""
    if how.dialogue == "auto" and sample.calls and sample.spec:
        return of_calls(sample.calls, sample.steps, how.schemas(sample.spec))
    found = episode(sample, how)
    return [found] if any(found.train) else []


def chats(sample: Sample, how: How) -> Iterator[Row]:
    """`messages` as OpenAI has them, but that `arguments` are objects; `train` says which of them train."""
    for part, found in enumerate(dialogues(sample, how)):
        yield {
            **common(sample),
            "part": part,
            "messages": [message(each) for each in found.messages],
            "train": list(found.train),
            "tools": tools(found),
        }


def sharegpt(sample: Sample, how: How) -> Iterator[Row]:
    """Turns from system, human, gpt and tool; calls and answers stand in tags as Hermes has them, and `weight` is 1
    where a turn trains.
    """
    for part, found in enumerate(dialogues(sample, how)):
        turns = [
            {"from": SPEAKERS[each.role], "value": _tagged(each), "weight": int(trains)}
            for each, trains in zip(found.messages, found.train, strict=True)
        ]
        yield {**common(sample), "part": part, "conversations": turns, "tools": tools(found)}


def prompt(sample: Sample, how: How) -> Row:
    """What an episode begins with, for whoever rolls it out."""
    found = episode(sample, how, [])
    messages = [message(each) for each in found.messages[: found.head]]
    version = sample.spec.version if sample.spec else 0
    return {"task": sample.task, "version": version, "seed": sample.seed, "prompt": messages, "tools": tools(found)}


def kto(sample: Sample, how: How, threshold: float) -> Iterator[Row]:
    """The episode after its prompt, good where its progress is above the threshold by more than its noise, bad where it
    is not above it at all; between these there is no label.
    """
    assert sample.progress is not None
    found = episode(sample, how)
    above = sample.progress - threshold
    if any(found.train) and not 0 < above <= sample.noise:
        yield {**common(sample), **halves(found, "completion"), "label": above > 0}


def halves(found: Dialogue, what: str) -> Row:
    """The prompt, and what came after it under the name `what`."""
    messages = [message(each) for each in found.messages]
    return {"prompt": messages[: found.head], what: messages[found.head :], "tools": tools(found)}


def message(given: Message) -> Row:
    """A message as OpenAI has it, but that arguments are objects, which the templates of models expect."""
    told: Row = {"role": given.role, "content": given.content}
    if given.calls:
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments(call.arguments)}}
            for call in given.calls
        ]
    if given.role == "tool":
        told["tool_call_id"] = given.id
    return told


def arguments(text: str) -> Any:
    """The arguments of a call; what is no JSON object stays a text."""
    try:
        found = json.loads(text or "{}", strict=False)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def tools(found: Dialogue) -> str | None:
    """The tools as JSON, since their schemas differ in shape; None where there are none."""
    return json.dumps(found.tools, ensure_ascii=False) if found.tools else None


def _tagged(given: Message) -> str:
    if given.role == "tool":
        return f"<tool_response>\n{given.content}\n</tool_response>"
    calls = [
        json.dumps({"name": call.name, "arguments": arguments(call.arguments)}, ensure_ascii=False)
        for call in given.calls
    ]
    return "\n".join(filter(None, [given.content, *(f"<tool_call>\n{call}\n</tool_call>" for call in calls)]))
