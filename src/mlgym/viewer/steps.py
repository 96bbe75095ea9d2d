"""Steps as cards: what was thought, done and seen, and what it cost. Documents 5 and 6."""

import json
from typing import Any

from mlgym.records import Action, Step
from mlgym.viewer.brief import brief
from mlgym.viewer.folder import Folder
from mlgym.viewer.visible import visible

HEAD = 4_000  # characters of a text that a card holds
MOST = 200  # cards of a document
WHOLE = 200_000
Card = dict[str, Any]


def text(value: str, most: int = HEAD) -> Card:
    """A text that may be long: its head, and how much there is."""
    return {"text": visible(value[:most]), "size": len(value), "lines": value.count("\n") + 1 if value else 0}


def cards(of: Folder, first: int = 1, count: int = 50) -> Card:
    """Document 5: the cards of so many steps from one on."""
    found = of.steps(max(1, first), max(0, min(count, MOST)))
    before = of.steps(first - 1, 1)[0].calls if first > 1 and found else 0
    out = []
    for step in found:
        out.append(card(step, before))
        before = step.calls
    total = of.count("steps.jsonl")
    return {"version": version(of), "steps": out, "total": total}


def version(of: Folder) -> str:
    """Changes when a document of the episode may have changed."""
    told = []
    for name in ("steps.jsonl", "calls.jsonl", "result.json", "attempts", "failed.jsonl", "cancelled.json"):
        try:
            about = (of.folder / name).stat()
            told.append(f"{about.st_size:x}.{about.st_mtime_ns:x}")
        except OSError:
            told.append("")
    return "-".join(told)


def card(step: Step, before: int = 0, most: int = HEAD) -> Card:
    """One step's card; `before` model calls were made by the end of the step before it."""
    action, seen = step.action, step.observation
    return {
        "n": step.n,
        "call": action.call,
        "tool": visible(action.tool),
        "status": seen.status,
        "hit": seen.hit,
        "brief": brief(action),
        "thought": text(action.thought, most),
        "action": shown("command" if action.tool == "bash" else action.tool or "text", said(action), most),
        "observation": shown("text", seen.text, most),
        **{clock: getattr(step, clock) for clock in ("command_s", "model_s", "grader_s")},
        "reward": step.reward,
        "attempt": step.attempt,
        "calls": [before + 1, step.calls] if step.calls > before else None,
        "marks": [visible(mark) for mark in step.marks],
        "steps_left": seen.steps_left,
        "money_left": seen.money_left,
        "changed": [],
    }


def said(action: Action) -> str:
    """An action as text: the command, or its arguments."""
    args = action.args
    if isinstance(found := args.get("command", args.get("text")), str) and len(args) == 1:
        return found
    return json.dumps(args, indent=1, ensure_ascii=False) if args else ""


def shown(kind: str, body: str, most: int = HEAD) -> Card:
    """A Shown without anything recognised in it."""
    whole = text(body, most)
    return {
        "kind": kind,
        "language": "",
        "title": "",
        "spans": None,
        "hunks": None,
        "text": whole,
        "size": whole["size"],
        "lines": whole["lines"],
        "quiet": False,
        "folded": len(body) > most,
    }
