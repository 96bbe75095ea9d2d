"""What a model's reply asks for: tool calls, or the command of a text; and what to say where it asks for nothing."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlgym.agents.commands import tool_names
from mlgym.agents.fences import NotSpoken, spoken
from mlgym.agents.prompts import Prompts, middle_out
from mlgym.agents.written import alone, calls, thinking
from mlgym.records import Action, Brief, Message, Reply, ToolCall

CUT = ("length", "max_tokens", "model_context_window_exceeded")  # the stop reasons of a reply that is not whole
WHOLE = ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "tool_calls", "tool_use")
WITHHELD = ("content_filter", "refusal", "safety", "SAFETY")
STOPS = {**dict.fromkeys(CUT, "cut_short"), **dict.fromkeys(WITHHELD, "withheld"), "pause_turn": "paused"}
WRONG = 1_000  # characters that are kept of a reply without an action


class Want(NamedTuple):
    """One thing that a reply asks for, to be answered in this order: an action with a note on it, or no action and what
    was wrong. `id` is that of the native call, None where the answer is ordinary text.
    """

    action: Action | None
    note: str = ""
    id: str | None = None


def wants(reply: Reply, brief: Brief, words: Prompts, *, native: bool, strict: bool = False) -> list[Want]:
    """What a reply asks for, at least one thing. Calls that stand in its text are taken too, unless `strict`."""
    thought = text = thinking(reply.text)[1]
    if reply.calls:
        return _called(reply.calls, text, reply, brief, words)
    asked: Sequence[ToolCall] = () if strict else calls(text)
    complaint = words("no_call", tools=", ".join(tool_names(brief)))
    if not native:
        try:
            thought, command, note = spoken(text, strict, reply.stop in WHOLE)
        except NotSpoken as error:
            complaint = words("no_command", why=error)
        else:
            asked = () if strict else alone(command)
            if not asked:
                return [Want(Action(tool="", args={"text": command}, thought=thought), note)]
    if asked:
        return [want._replace(id=None) for want in _called(asked, thought, reply, brief, words)]
    return [Want(None, with_stop(complaint, reply, words))]


def said(reply: Reply, wrong: bool = False) -> Message:
    """The reply as a message without its thinking, and only the ends of one that was `wrong`, which is no example to
    follow. An empty one stays, since roles must alternate for some servers.
    """
    text = thinking(reply.text)[1] or ("" if reply.calls else "(an empty reply)")
    text = middle_out(text, WRONG) if wrong else text
    return Message(role="assistant", content=text, calls=reply.calls, extra=reply.extra)


def _called(asked: Sequence[ToolCall], text: str, reply: Reply, brief: Brief, words: Prompts) -> list[Want]:
    """The calls of a reply; the last one of a reply that was cut off may be half of what was meant: not run."""
    found = []
    for place, call in enumerate(asked):
        args, complaint = _arguments(call, brief)
        if not complaint and reply.stop in CUT and place == len(asked) - 1:
            complaint = f"Your reply ended in this call of '{call.name}', so nothing was done. Send it again."
        if complaint:
            found.append(Want(None, with_stop(complaint, reply, words), call.id))
        else:
            thought = text if place == 0 else ""
            found.append(Want(Action(tool=call.name, args=args, thought=thought, id=call.id), "", call.id))
    return found


def _arguments(call: ToolCall, brief: Brief) -> tuple[dict[str, Any], str]:
    """The arguments of a call, or what is wrong with it."""
    known = tool_names(brief)
    if call.name not in known:
        return {}, f"There is no tool '{call.name[:60]}', so nothing was done. The tools are: {', '.join(known)}."
    try:
        args = json.loads(call.arguments or "{}", strict=False)
    except (ValueError, RecursionError) as error:
        return {}, f"The arguments of '{call.name}' are not JSON ({error}), so nothing was done. Send them again."
    if not isinstance(args, dict):
        return {}, f"The arguments of '{call.name}' must be a JSON object, so nothing was done. Send them again."
    return args, ""


def with_stop(complaint: str, reply: Reply, words: Prompts) -> str:
    """The complaint with what the provider's stop reason explains."""
    return f"{complaint} {words(STOPS[reply.stop])}" if reply.stop in STOPS else complaint
