"""The model's calls: all of them in a list, and one with the very messages that the model was sent. Documents 9, 10.

A call is stored with only the messages that are new since the call before, after `keep` of those.
"""

import json
from bisect import bisect_left
from typing import Any

from mlgym.columns import Row
from mlgym.errors import UsageError
from mlgym.viewer.folder import Folder
from mlgym.viewer.shown import HEAD, text
from mlgym.viewer.steps import PAGE, version
from mlgym.viewer.values import finite
from mlgym.viewer.visible import visible

Document = dict[str, Any]
MESSAGES = 200  # of a document; the first of them and the last
OLD = 600  # characters of a message that the model had seen before


def listed(of: Folder) -> Document:
    """Document 9: what each call was, without its texts."""
    step_of = _steps(of)
    rows = [
        {
            "n": one.n,
            "step": step_of.get(one.n),
            **{name: getattr(one, name) for name in ("tokens_in", "tokens_out", "tokens_cached")},
            "money": finite(one.money),
            "seconds": finite(one.seconds),
            **{name: visible(getattr(one, name)) for name in ("stop", "model", "upstream")},
            "messages": one.keep + one.new,
            "new": one.new,
            "asked": one.asked,
            "tools": [visible(name) for name in one.tools],
        }
        for one in of.call_facts
    ]
    return {"version": version(of), "calls": rows}


def one(of: Folder, n: int, first: int | None = None) -> Document:
    """Document 10: one call with its messages, of very many the first and the last, or MESSAGES from `first` on."""
    if not 1 <= n <= len(of.call_facts):
        raise UsageError(f"There is no model call {n}: the episode has {len(of.call_facts)}.")
    record, fact = of.calls(n, 1)[0], of.call_facts[n - 1]
    total = fact.keep + fact.new
    wanted = _wanted(total, first)
    messages = _messages(of, n, wanted)
    return {
        "n": n,
        "total": total,
        "messages": [_message(messages.get(place), place, fact.keep) for place in wanted],
        "reply": _reply(_table(record.get("reply"))),
    }


def page(of: Folder, n: int, field: str, start: int = 0, count: int = PAGE) -> Document:
    """A part of a long text of a call: a message by its place, or the `reply` or its `reasoning`."""
    if not 1 <= n <= len(of.call_facts):
        raise UsageError(f"There is no model call {n}: the episode has {len(of.call_facts)}.")
    if field in ("reply", "reasoning"):
        whole = _text(_table(of.calls(n, 1)[0].get("reply")).get("text" if field == "reply" else "reasoning"))
    else:
        found = _messages(of, n, [int(field)]).get(int(field)) if field.isdecimal() and len(field) < 9 else None
        if found is None:
            raise UsageError(f"Call {n} has no message {field[:40]!a}.")
        whole = _text(found.get("content"))
    return {"text": visible(whole[start : start + min(count, PAGE)]), "from": start, "size": len(whole)}


def _steps(of: Folder) -> dict[int, int]:
    """Call -> the step that its reply led to."""
    found: dict[int, int] = {}
    before = 0
    for step in of.facts:
        found |= dict.fromkeys(range(before + 1, min(step.calls, len(of.call_facts)) + 1), step.n)
        before = max(before, step.calls)
    return found


def _wanted(total: int, first: int | None) -> list[int]:
    """The places of the messages that a document holds."""
    if first is not None:
        return list(range(max(0, first), min(total, first + MESSAGES)))
    if total <= MESSAGES:
        return list(range(total))
    return [0, 1, *range(total - MESSAGES + 2, total)]


def _messages(of: Folder, n: int, wanted: list[int]) -> dict[int, Row]:
    """The messages at these places of what call `n` sent, found by going back through the calls that added them."""
    found: dict[int, Row] = {}
    facts = of.call_facts
    end = facts[n - 1].keep + facts[n - 1].new
    left = sorted(wanted)
    for call in range(n, 0, -1):
        keep = min(max(facts[call - 1].keep, 0), end)
        here = [place for place in left[bisect_left(left, keep) :] if place < end]
        if here:
            new = of.calls(call, 1)[0].get("messages")
            added = new if isinstance(new, list) else []
            found |= {place: _table(added[place - keep]) for place in here if place - keep < len(added)}
        left, end = left[: bisect_left(left, keep)], keep
        if not left:
            break
    return found


def _message(message: Row | None, place: int, keep: int) -> Document:
    if message is None:
        return {"place": place, "role": "missing", "text": text(""), "calls": [], "new": place >= keep}
    new = place >= keep
    return {
        "place": place,
        "role": visible(_text(message.get("role"))),
        "text": text(_text(message.get("content")), HEAD if new else OLD),
        "calls": _calls(message.get("calls"), HEAD if new else OLD),
        "new": new,
    }


def _calls(found: Any, most: int = HEAD) -> list[Document]:
    """The tool calls of a message or a reply, as the model wrote them."""
    tables = [_table(each) for each in found] if isinstance(found, list) else []
    return [
        {
            "name": visible(_text(each.get("name"))),
            "arguments": text(_text(each.get("arguments")), most),
        }
        for each in tables
    ]


def _reply(reply: Row) -> Document:
    return {
        "text": text(_text(reply.get("text"))),
        "reasoning": text(_text(reply.get("reasoning"))),
        "calls": _calls(reply.get("calls")),
    }


def _table(value: Any) -> Row:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
