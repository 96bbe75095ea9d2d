"""Steps as cards: what was thought, done and seen, and what it cost. Documents 5 and 6."""

from typing import Any

from mlgym.errors import UsageError
from mlgym.records import Action, Step
from mlgym.viewer import changes
from mlgym.viewer.acted import acted, arguments
from mlgym.viewer.brief import brief
from mlgym.viewer.folder import Folder
from mlgym.viewer.known import Known
from mlgym.viewer.seen import Scale, observation
from mlgym.viewer.shown import HEAD, WHOLE, text
from mlgym.viewer.visible import visible

MOST = 200  # cards of a document
PAGE = 100_000  # characters of a page of text
BACK, BACK_CHARACTERS = 100, 3_000_000  # steps, and of what they saw, that are read to know the files before a step
Card = dict[str, Any]


def cards(of: Folder, first: int = 1, count: int = 50) -> Card:
    """Document 5: the cards of so many steps from one on."""
    return {
        "version": version(of),
        "steps": _cards(of, max(1, first), max(0, min(count, MOST))),
        "total": len(of.facts),
    }


def card(of: Folder, n: int) -> Card:
    """Document 6: the card of one step with all that is in it, up to WHOLE characters of each text."""
    found = _cards(of, n, 1, whole=True) if n > 0 else []
    if not found:
        raise UsageError(f"There is no step {n}: the episode has {len(of.facts)}.")
    return found[0]


def page(of: Folder, n: int, field: str, start: int = 0, count: int = PAGE) -> Card:
    """A part of a long text of a step: its action, observation or thought, from a character on."""
    found = of.steps(n, 1) if n > 0 else []
    if not found:
        raise UsageError(f"There is no step {n}: the episode has {len(of.facts)}.")
    step = found[0]
    texts = {
        "action": said(step.action),
        "observation": step.observation.text,
        "thought": _thought(of, step.action.thought),
    }
    if field not in texts:
        raise UsageError(f"A step has the fields {', '.join(texts)}, not {field[:40]!a}.")
    whole = texts[field]
    return {"text": visible(whole[start : start + min(count, PAGE)]), "from": start, "size": len(whole)}


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


def said(action: Action) -> str:
    """An action as text: the command, the text that it writes, or its arguments."""
    texts = (action.args.get(name) for name in ("command", "content", "text"))
    return next((each for each in texts if isinstance(each, str)), arguments(action))


def _cards(of: Folder, first: int, count: int, *, whole: bool = False) -> list[Card]:
    start = _lookback(of, first)
    taken = of.steps(start, first - start + count)
    known = Known(of.starter if start == 1 else None)
    changed = changes.changed(of, first, first + count - 1) if count else {}
    out, calls = list[Card](), 0
    for step in taken:
        known.enter(step)
        if step.n >= first:
            out.append({**_card(of, step, known, calls, whole=whole), "changed": changed.get(step.n, [])})
        known.take(step)
        calls = step.calls
    return out


def _lookback(of: Folder, first: int) -> int:
    """The step from which on the steps before `first` are read to know the files."""
    left = BACK_CHARACTERS
    n = min(first, len(of.facts) + 1)
    while n > 1 and first - n < BACK and left > 0:
        n -= 1
        left -= of.facts[n - 1].size
    return n


def _card(of: Folder, step: Step, known: Known, before: int, *, whole: bool) -> Card:
    """One step's card; `before` model calls were made by the end of the step before it."""
    action, seen, most = step.action, step.observation, WHOLE if whole else HEAD
    return {
        "n": step.n,
        "call": visible(action.call),
        "tool": visible(action.tool),
        "status": seen.status,
        "hit": visible(seen.hit),
        "brief": brief(action.tool, action.args, known.open),
        "thought": text(_thought(of, action.thought), most),
        "action": acted(step, known, whole=whole),
        "observation": observation(step, scale(of), whole=whole),
        **{clock: getattr(step, clock) for clock in ("command_s", "model_s", "grader_s")},
        "attempt": step.attempt,
        "calls": [before + 1, step.calls] if step.calls > before else None,
        "marks": [visible(mark) for mark in step.marks],
    }


def _thought(of: Folder, thought: str) -> str:
    """A thought without the heading that the original had each begin with."""
    return thought.removeprefix("DISCUSSION\n").strip("\n") if of.spec.imported else thought


def scale(of: Folder) -> Scale:
    """By what the scores that the agent was shown are read."""
    split = of.result.feedback if of.result else of.spec.feedback
    return Scale(of.records.metric, of.records.direction, of.baseline(split))
