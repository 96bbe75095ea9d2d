"""Document 4: an episode from above, its attempts and its line of steps."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from mlgym.records import Result, Scores, Split
from mlgym.rows import label
from mlgym.viewer.brief import brief
from mlgym.viewer.folder import Folder
from mlgym.viewer.lines import Fact
from mlgym.viewer.shown import text
from mlgym.viewer.steps import version
from mlgym.viewer.tree import tree
from mlgym.viewer.values import finite, plain
from mlgym.viewer.visible import visible

Document = dict[str, Any]


def document(of: Folder) -> Document:
    """The episode. `problems` are sentences about what could not be read."""
    spec, result, task = of.spec, of.result, of.task
    records = of.records
    line = columns(of)
    state = of.state
    splits: tuple[Split, ...] = ("validation", "test")
    out = {
        "version": version(of),
        "key": of.key,
        "run": of.key.partition("/")[0],
        "task": visible(records.key["task"]),
        "title": visible(task.title) if task else "",
        "instruction": text(_instruction(of)),
        "method": visible(label(spec.model_dump())),
        "model": visible(spec.model),
        "seed": spec.seed,
        "state": state,
        "live": state == "running",
        "imported": visible(spec.imported),
        "spec": plain(spec.model_dump(mode="json")),
        "limits": {**plain(spec.limits.model_dump(mode="json")), "told": spec.limits.told},
        "metric": visible(records.metric),
        "direction": records.direction,
        "baseline": {split: finite(records.score(of.baseline(split))) for split in splits},
        "best_known": finite(records.anchors["best"]) if records.direction else None,
        "noise": finite(records.anchors["noise"]) if records.direction else None,
        "result": _result(result) if result else None,
        "attempts": _attempts(of),
        "provenance": next(
            (plain(one.provenance.model_dump(mode="json")) for one in reversed(of.attempts) if one.provenance), None
        ),
        "steps": len(line["n"]),
        "calls": len(of.call_facts),
        "tree": tree(of.facts, records.metric),
        "exact_files": (of.folder / "changes.jsonl").exists(),
        "line": line,
    }
    return {**out, "problems": of.problems}


def _instruction(of: Folder) -> str:
    """What the agent was told to do; of an imported episode and of an unknown task, the model's first message."""
    if of.task and not of.spec.imported:
        return of.task.instruction
    for call in of.calls(1, 1):
        messages = call.get("messages")
        for one in messages if isinstance(messages, list) else ():
            if isinstance(one, dict) and one.get("role") == "user":
                return str(one.get("content"))
    return of.task.instruction if of.task else ""


def columns(of: Folder) -> Document:
    """The line of steps: one element of each column a step."""
    facts, metric = of.facts, of.records.metric
    out: Document = {name: [getattr(one, name) for one in facts] for name in _KEPT}
    for name in ("tool", "status", "hit"):
        out[name] = [visible(value) for value in out[name]]
    out["status"] = ["error" if _broke(one) else out["status"][at] for at, one in enumerate(facts)]
    for name in ("command_s", "model_s", "grader_s"):
        out[name] = [finite(getattr(one, name)) for one in facts]
    clocks = (one.command_s + one.model_s + one.grader_s for one in facts)
    out["seconds"] = [finite(value) for value in itertools.accumulate(clocks)]
    out["validation"] = [_score(one.validation, metric) for one in facts]
    out["marks"] = [[visible(mark) for mark in one.marks] for one in facts]
    out["brief"] = _briefs(facts)
    out["money"] = _spent(of)
    return out


def _broke(one: Fact) -> bool:
    """Whether a step is the end of an episode by an error."""
    return one.tool == "end" and one.args.get("reason") == "error"


_KEPT = ("n", "tool", "status", "hit", "attempt", "deed")


def _briefs(facts: Sequence[Fact]) -> list[str]:
    """What each action did; the classic tools' open file is the one that was opened last."""
    out, opened = list[str](), ""
    for one in facts:
        if one.tool in ("open", "create") and one.status == "ok":
            opened = str(one.args.get("path", ""))
        out.append(brief(one.tool, one.args, opened))
    return out


def _score(scores: Any, metric: str) -> float | None:
    return finite(scores.get(metric)) if isinstance(scores, dict) else None


def _spent(of: Folder) -> list[float | None]:
    """The dollars spent by the end of each step, as `rows.Records.spent` has them."""
    limit, left = of.spec.limits.money, [one.money_left for one in of.facts]
    if not of.spec.model:
        return [0.0] * len(left)
    if limit is not None and all(isinstance(one, float | int) and one for one in left):
        return [limit - one for one in left if one is not None]
    money = (one.money if isinstance(one.money, float | int) else math.nan for one in of.call_facts)
    total = [0.0, *itertools.accumulate(money)]
    return [finite(total[one.calls]) if 0 <= one.calls < len(total) else None for one in of.facts]


def _result(result: Result) -> Document:
    return dict(plain(result.model_dump(mode="json", exclude={"attempts"})))


def _attempts(of: Folder) -> list[Document]:
    """The attempts, with marks on the best one and on the one that counts."""
    result, records = of.result, of.records
    valid = [one for one in of.attempts if one.valid and not one.fallback and one.test is not None]
    best = next((one.n for one in valid if result and one.test == result.best), None)
    counted = next((one.n for one in reversed(of.attempts) if result and one.kind != "validate"), None)
    return [
        {
            **{name: getattr(one, name) for name in ("n", "step", "kind", "valid", "fallback")},
            "why": visible(one.why),
            "validation": scores(one.validation),
            "test": scores(one.test),
            "progress": finite(records.progress(records.score(one.test), "test")),
            "files": [visible(name) for name in sorted({**one.code, **one.files})],
            "best": one.n == best,
            "counted": one.n == counted,
        }
        for one in of.attempts
    ]


def scores(found: Scores | None) -> Document | None:
    """Scores with names that can be shown."""
    return None if found is None else {visible(name): finite(value) for name, value in found.items()}
