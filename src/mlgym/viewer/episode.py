"""Document 4: an episode from above, its attempts and its line of steps."""

import math
from typing import Any

from mlgym.records import Attempt, Result, Scores
from mlgym.rows import Records, label
from mlgym.viewer.brief import brief
from mlgym.viewer.folder import Folder
from mlgym.viewer.lines import deed
from mlgym.viewer.steps import text, version
from mlgym.viewer.visible import visible

Document = dict[str, Any]


def document(of: Folder, state: str = "") -> Document:
    """The episode; `state` is what its store says of it, found from its records alone where it is empty."""
    spec, result, task = of.spec, of.result, of.task
    records = of.records
    line = columns(of)
    state = state or _state(of, len(line["n"]))
    anchors = task.anchors if task and task.version == spec.version else None
    baseline = {
        split: records.baseline[split] if result else anchors.baseline.get(split) if anchors else None
        for split in ("validation", "test")
    }
    out = {
        "version": version(of),
        "key": of.key,
        "run": of.key.partition("/")[0],
        "task": visible(records.key["task"]),
        "title": visible(task.title) if task else "",
        "instruction": text(task.instruction if task else ""),
        "method": visible(label(spec.model_dump())),
        "agent": visible(spec.agent),
        "model": visible(spec.model),
        "seed": spec.seed,
        "state": state,
        "live": state == "running",
        "imported": visible(spec.imported),
        "spec": plain(spec.model_dump(mode="json")),
        "limits": {**plain(spec.limits.model_dump(mode="json")), "told": spec.limits.told},
        "metric": visible(records.metric),
        "direction": records.direction,
        "baseline": {split: finite(value) for split, value in baseline.items()},
        "best_known": finite(records.anchors["best"]) if records.direction else None,
        "noise": finite(records.anchors["noise"]) if records.direction else None,
        "result": _result(result) if result else None,
        "attempts": [_attempt(one, of, records) for one in of.attempts],
        "steps": len(line["n"]),
        "calls": of.count("calls.jsonl"),
        "tree": None,
        "exact_files": (of.folder / "files.jsonl").exists(),
        "line": line,
    }
    return {**out, "problems": of.problems}


def columns(of: Folder) -> Document:
    """The line of steps: one element of each column a step."""
    steps = of.steps(1, of.count("steps.jsonl"))
    metric = of.records.metric
    seconds = 0.0
    out: Document = {name: [] for name in _COLUMNS}
    for step in steps:
        seen = step.observation
        seconds += step.command_s + step.model_s + step.grader_s
        row = {
            **{name: getattr(step, name) for name in ("n", "command_s", "model_s", "grader_s", "attempt")},
            "tool": visible(step.action.tool),
            "status": seen.status,
            "hit": seen.hit,
            "seconds": seconds,
            "validation": (seen.validation or {}).get(metric),
            "marks": [visible(mark) for mark in step.marks],
            "thought": bool(step.action.thought),
            "size": len(seen.text),
            "brief": brief(step.action),
            "deed": deed(step.action.tool, step.action.args),
        }
        for name, value in row.items():
            out[name].append(finite(value) if isinstance(value, float) else value)
    out["money"] = [finite(value) for value in of.records.spent] if steps else []
    out["tokens"] = [None] * len(steps)
    return out


_COLUMNS = (
    *("n", "tool", "status", "hit", "command_s", "model_s", "grader_s", "money", "tokens", "seconds"),
    *("validation", "attempt", "marks", "thought", "size", "brief", "deed"),
)


def _state(of: Folder, steps: int) -> str:
    result = of.result
    if result and result.scored:
        return "done" if result.boundary in ("", "budget") else "failed"
    return "missing" if result else "stopped" if steps else "waiting"


def _result(result: Result) -> Document:
    told = plain(result.model_dump(mode="json", exclude={"attempts"}))
    return dict(told)


def _attempt(one: Attempt, of: Folder, records: Records) -> Document:
    result = of.result
    best = bool(result and one.valid and not one.fallback and one.test is not None and one.test == result.best)
    return {
        **{name: getattr(one, name) for name in ("n", "step", "kind", "valid", "stage", "fallback")},
        "why": visible(one.why),
        "validation": scores(one.validation),
        "test": scores(one.test),
        "progress": finite(records.progress(records.score(one.test), "test")),
        "files": [visible(name) for name in sorted({**one.code, **one.files})],
        "best": best,
        "counted": bool(result) and one.kind != "validate",
    }


def scores(found: Scores | None) -> Document | None:
    """Scores with names that can be shown."""
    return None if found is None else {visible(name): finite(value) for name, value in found.items()}


def finite(value: float | None) -> float | None:
    """A number that JSON can hold, None for any other."""
    return value if value is not None and math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Data that JSON can hold, its texts made visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {visible(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
