"""The agent that lets a language model think, act and observe in turn, by tool calls or by a text protocol."""

import json
from collections.abc import Sequence
from typing import Any

from mlgym.agents import Flow, prompts
from mlgym.agents.commands import tool_names
from mlgym.agents.fences import NotSpoken, spoken
from mlgym.errors import ToolsRefused, UsageError
from mlgym.models import Model
from mlgym.records import Action, Brief, Message, Observation, Reply, ToolCall

MISTAKES = 3
WHOLE = 20_000
OLD = 1_000


def react(
    brief: Brief,
    model: Model | None,
    *,
    protocol: str = "auto",
    window: int = 10,
    strict: bool = False,
    mistakes: int = MISTAKES,
) -> Flow:
    """Ask the model, do what it says, show it what came of it, until it submits.

    `protocol` is "tools" (native tool calls), "text" (commands in fenced blocks), or "auto": tools, and text if the
    server refuses them or the set has no tool for the shell. At least the last `window` observations are kept (up to
    20,000 characters each), of older ones the ends. After `mistakes` replies in a row without an action the agent gives
    up. `strict` takes replies with several blocks for mistakes.
    """
    if model is None:
        raise UsageError("The agent react needs a language model: name one with -m provider/model.")
    if protocol not in ("auto", "tools", "text"):
        raise UsageError(f"The option protocol of react is auto, tools or text, not '{protocol}'.")
    if protocol == "tools" or (protocol == "auto" and "bash" in tool_names(brief)):
        try:
            yield from _native(brief, model, window, mistakes)
            return
        except ToolsRefused:
            if protocol == "tools":
                raise
    yield from _text(brief, model, window, mistakes, strict)


def _native(brief: Brief, model: Model, window: int, mistakes: int) -> Flow:
    """The loop with native tool calls; each call of a reply is a step, and every call gets its result."""
    messages = _opening(brief, native=True)
    wrong = turn = 0
    while wrong < mistakes:
        turn += 1
        reply = model(shortened(messages, window), brief.tools)
        messages.append(_said(reply))
        acted = False
        for place, call in enumerate(reply.calls):
            args, complaint = _arguments(call, brief)
            if complaint:
                messages.append(Message(role="tool", content=complaint + _cut_short(reply), id=call.id))
                continue
            acted = True
            thought = reply.text if place == 0 else ""
            seen = yield Action(tool=call.name, args=args, thought=thought, id=call.id, call=f"reply-{turn}")
            if seen.status == "end":
                return
            messages.append(Message(role="tool", content=_shown(seen) + "\n" + counters(seen), id=call.id))
        if not reply.calls:
            names = ", ".join(tool_names(brief))
            complaint = f"Your reply called no tool. Call one of: {names}; `submit` ends the task."
            messages.append(Message(role="user", content=complaint + _cut_short(reply)))
        wrong = 0 if acted else wrong + 1


def _text(brief: Brief, model: Model, window: int, mistakes: int, strict: bool) -> Flow:
    """The loop with commands in fenced blocks."""
    messages = _opening(brief, native=False)
    wrong = step = 0
    while wrong < mistakes:
        reply = model(shortened(messages, window), ())
        messages.append(_said(reply))
        try:
            said = spoken(reply.text, strict)
        except NotSpoken as error:
            wrong += 1
            ask = "Write your thought, and then one command in a block fenced by three backticks."
            messages.append(Message(role="user", content=f"No command was run: {error}. {ask}{_cut_short(reply)}"))
            continue
        wrong, step = 0, step + 1
        seen = yield Action(tool="", args={"text": said.command}, thought=said.thought, call=f"reply-{step}")
        if seen.status == "end":
            return
        messages.append(Message(role="user", content=_after_command(seen, said.note, step)))


def _opening(brief: Brief, native: bool) -> list[Message]:
    return [
        Message(role="system", content=prompts.system(brief, native)),
        Message(role="user", content=prompts.task(brief)),
    ]


def _said(reply: Reply) -> Message:
    """The reply as a message; an empty one is kept as such, since roles must alternate for some servers."""
    text = reply.text or ("" if reply.calls else "(an empty reply)")
    return Message(role="assistant", content=text, calls=reply.calls, extra=reply.extra)


def _arguments(call: ToolCall, brief: Brief) -> tuple[dict[str, Any], str]:
    """The arguments of a call, or what is wrong with it."""
    known = tool_names(brief)
    if call.name not in known:
        return {}, f"There is no tool '{call.name}', so nothing was done. The tools are: {', '.join(known)}."
    try:
        args = json.loads(call.arguments or "{}")
    except ValueError as error:
        return {}, f"The arguments of '{call.name}' are not JSON ({error}), so nothing was done. Send them again."
    if not isinstance(args, dict):
        return {}, f"The arguments of '{call.name}' must be a JSON object, so nothing was done. Send them again."
    return args, ""


def _cut_short(reply: Reply) -> str:
    limit = reply.stop in ("length", "max_tokens")
    return " (Your reply was cut off at its limit of tokens; write less at a time.)" if limit else ""


def _shown(seen: Observation) -> str:
    return middle_out(seen.text, WHOLE) if seen.text.strip() else "(The command printed nothing.)"


def _after_command(seen: Observation, note: str, step: int) -> str:
    rest = counters(seen.model_copy(update={"steps_left": None}))
    if seen.text.endswith("bash-$"):  # the environment told the position
        return "\n".join(filter(None, (note, rest, _shown(seen))))
    left = seen.steps_left if seen.steps_left is not None else "unlimited"
    position = f"(Current Step: {step}, Remaining Steps: {left})"
    return "\n".join(filter(None, (_shown(seen), note, position, rest, "bash-$")))


def counters(seen: Observation) -> str:
    """What is left, in one line; empty where nothing is limited."""
    parts = [
        f"{seen.steps_left} steps" if seen.steps_left is not None else "",
        f"{seen.money_left:.3f} dollars" if seen.money_left is not None else "",
        f"{seen.seconds_left:.0f} seconds of commands" if seen.seconds_left is not None else "",
    ]
    told = ", ".join(filter(None, parts))
    return f"(Left: {told}.)" if told else ""


def shortened(messages: Sequence[Message], window: int) -> list[Message]:
    """The conversation with the middle of old observations left out.

    The window moves in jumps of its own length, so that the beginning stays the same for several calls, as caches of
    providers want it.
    """
    places = [place for place, message in enumerate(messages) if place > 1 and message.role in ("user", "tool")]
    jump = max(1, window)
    old = set(places[: max(0, (len(places) - window) // jump * jump)])
    return [
        message.model_copy(update={"content": middle_out(message.content, OLD)}) if place in old else message
        for place, message in enumerate(messages)
    ]


def middle_out(text: str, most: int) -> str:
    """The text with both ends kept and the middle left out, said, where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]}\n[… {len(text) - head - tail:,} characters left out …]\n{text[-tail:]}"
