"""An episode as dialogues: its steps along the line that led to its end, or the conversations that its model had.

Which messages train: replies that led to an action which was understood. Of a reply that is repeated in a later
conversation, after the agent had shortened its history, only the first one trains.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlgym.exporters.plain import END_OF_WATCHER
from mlgym.records import Message, Record, Reply, Step, ToolCall

END, VALIDATE, NOTHING = "end", "validate", "none"
Protocol = Literal["tools", "text", "plain"]
FENCED = "```\n{}\n```"


class NoText(ValueError):
    """A tool call that cannot be said as a command line."""


class Call(Record):
    """A line of calls.jsonl: the messages after the first `keep` of the call before, and the names of the tools."""

    keep: int
    messages: tuple[Message, ...]
    tools: tuple[str, ...] = ()
    reply: Reply


@dataclass(frozen=True)
class Dialogue:
    """Messages, for each whether it trains and the step it belongs to (0: none); the first `head` are the prompt."""

    messages: tuple[Message, ...]
    train: tuple[bool, ...]
    steps: tuple[int, ...]
    head: int
    tools: tuple[dict[str, Any], ...] = ()

    def cut(self, end: int) -> "Dialogue":
        """The first `end` messages."""
        return replace(self, messages=self.messages[:end], train=self.train[:end], steps=self.steps[:end])


def parents(steps: Sequence[Step]) -> list[int]:
    """For each step the place of the one in whose state it began, -1 for the start; a last `end` has what counts."""
    saved, found = dict[str, int](), list[int]()
    at, counts = -1, -2  # `counts`: the state saved under the empty name, -2 where there is none
    for place, step in enumerate(steps):
        for mark in step.marks:
            name = mark[1:]
            if mark[:1] == "+":
                saved[name] = at
            else:
                at = saved.get(name, at)
            counts = counts if name else at if mark == "+" else -2
        found.append(counts if step.action.tool == END and counts != -2 else at)
        at = place
    return found


def line(steps: Sequence[Step], last: int | None = None) -> list[int]:
    """The places of the steps that led to the state of step `last` (the end), and what `validate` said of it on the
    way; steps that were gone back from are left out.
    """
    before = parents(steps)
    at = len(steps) - 1 if last is None else last
    path: list[int] = []
    while at >= 0:
        path.append(at)
        at = before[at]
    path.reverse()
    on = dict(zip(path, [*path[1:], len(steps)], strict=True))
    aside = [
        place
        for place, step in enumerate(steps)
        if place not in on and step.action.tool == VALIDATE and before[place] in on and place < on[before[place]]
    ]
    return [place for place in sorted([*path, *aside]) if steps[place].action.tool != END]


def of_steps(
    head: Sequence[Message], steps: Sequence[Step], tools: Sequence[dict[str, Any]], protocol: Protocol = "tools"
) -> Dialogue:
    """The steps after the messages `head`; parallel calls are one reply. Raises NoText."""
    messages, train, numbers = list(head), [False] * len(head), [0] * len(head)
    for group in _replies(steps):
        said, answers = _said(group) if protocol == "tools" else _spoken(group, protocol)
        understood = all(map(_understood, group))
        messages += [said, *answers]
        train += [understood, *(False for _ in answers)]
        numbers += [group[0].n] * (1 + len(answers))
    return Dialogue(
        tuple(messages), tuple(train), tuple(numbers), len(head), tuple(tools) if protocol == "tools" else ()
    )


def of_calls(calls: Iterable[Call], steps: Sequence[Step], schemas: Sequence[dict[str, Any]]) -> list[Dialogue]:
    """The conversations of the model, each as it was sent, with the last reply; one that trains nothing is left out."""
    led = {step.calls: step.n for step in steps if step.observation.status != "format"}
    found: list[Dialogue] = []
    sent, train, numbers, head = list[Message](), list[bool](), list[int](), 0
    tools: tuple[dict[str, Any], ...] = ()
    reply: Message | None = None
    count = 0

    def close() -> None:
        if reply is not None and (any(train) or count in led):
            found.append(Dialogue((*sent, reply), (*train, count in led), (*numbers, led.get(count, 0)), head, tools))

    for call in calls:
        if call.keep < len(sent) or reply is None:
            close()
            sent, numbers = sent[: call.keep], numbers[: call.keep]
            train, head = [False] * len(sent), call.keep + len(call.messages)
            taken = False
        else:
            taken = True  # the first new message repeats the reply
        for message in call.messages:
            own = taken and message.role == "assistant"
            taken = taken and not own
            sent.append(message)
            train.append(own and count in led)
            numbers.append(led.get(count, 0) if own else 0)
        named = set(call.tools)
        tools = tuple(schema for schema in schemas if schema["function"]["name"] in named)
        reply = Message(role="assistant", content=call.reply.text, calls=call.reply.calls)
        count += 1
    close()
    return found


def _understood(step: Step) -> bool:
    """Whether a step is one to learn from: it was an action, and no run that an agent's own watcher stopped."""
    mine = END_OF_WATCHER in str(step.action.args.get("command", ""))
    return step.observation.status != "format" and step.action.tool != NOTHING and not mine


def _replies(steps: Sequence[Step]) -> list[list[Step]]:
    groups: list[list[Step]] = []
    for step in steps:
        same = groups and step.action.call and groups[-1][-1].action.call == step.action.call
        if same:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def _said(group: Sequence[Step]) -> tuple[Message, list[Message]]:
    """A reply with its calls, and the answers to them; what was no call of a tool stands in the text."""
    thought = "\n\n".join(filter(None, (step.action.thought for step in group)))
    if len(group) == 1 and group[0].action.tool in ("", NOTHING):
        return _spoken(group, "text")
    calls = [
        ToolCall(id=f"call_{step.n}", name=step.action.tool, arguments=json.dumps(step.action.args, ensure_ascii=False))
        for step in group
    ]
    answers = [Message(role="tool", content=step.observation.text, id=f"call_{step.n}") for step in group]
    return Message(role="assistant", content=thought, calls=tuple(calls)), answers


def _spoken(group: Sequence[Step], protocol: Protocol) -> tuple[Message, list[Message]]:
    """A reply in text, and the answer of the user."""
    if len(group) > 1:
        raise NoText("several calls in one reply")
    step = group[0]
    if step.action.tool == NOTHING:
        text = str(step.action.args.get("reply", ""))
    else:
        command = _command(step)
        text = "\n\n".join(filter(None, (step.action.thought, FENCED.format(command))))
        text = command if protocol == "plain" else text
    return Message(role="assistant", content=text), [Message(role="user", content=step.observation.text)]


def _command(step: Step) -> str:
    action = step.action
    if action.tool == "":
        return str(action.args.get("text", ""))
    if action.tool == "bash" and set(action.args) <= {"command", "timeout"}:
        return str(action.args.get("command", ""))
    if not action.args:
        return action.tool
    raise NoText(f"a call of {action.tool} with arguments")
