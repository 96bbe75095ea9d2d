"""The records of one episode as rows of columns: see `columns.COLUMNS` and `Run.columns`."""

import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic_core import from_json

from mlgym.columns import Row
from mlgym.metrics import progress


class Records:
    """The records of one episode, those of its steps read when they are asked for; `result` is {} before its end.

    Who has read `spec` and `result` already gives them.
    """

    def __init__(
        self,
        folder: str,
        run: str,
        anchors: Callable[[str, str, int], Row],
        *,
        spec: Row | None = None,
        result: Row | None = None,
    ) -> None:
        self.folder = folder
        self.spec: Row = from_json(_read(f"{folder}/spec.json")) if spec is None else spec
        text = _read(f"{folder}/result.json", missing=b"") if result is None else b""
        self.result: Row = result if result is not None else from_json(text) if text else {}
        name = self.spec["task"].rstrip("/").rpartition("/")[2]
        self.anchors = anchors(name, self.spec["task"], self.spec.get("version", 1))
        self.metric: str = self.result.get("metric") or self.anchors["metric"]
        self.direction = self.anchors["direction"] if self.metric == self.anchors["metric"] else ""
        baseline = self.result.get("baseline") or {}
        self.baseline = {split: self.score(baseline.get(split)) for split in ("validation", "test")}
        self.key: Row = {"run": run, "task": name, "method": label(self.spec), "seed": self.spec.get("seed", 0)}

    def score(self, scores: Row | None) -> float | None:
        """The metric's value among scores, None without."""
        return scores.get(self.metric) if scores else None

    def progress(self, score: float | None, split: str) -> float | None:
        """Progress of a score on `split`; None where there is no score or no scale."""
        base, test, best = self.baseline.get(split), self.baseline.get("test"), self.anchors["best"]
        if None in (score, base, test, best) or not self.direction:
            return None
        scale = self.anchors["scale"] or "identity"
        try:
            return progress(score, baseline=base, baseline_test=test, best=best, direction=self.direction, scale=scale)  # type: ignore[arg-type]
        except (ArithmeticError, ValueError):  # a scale without width, or a logarithm of what has none
            return None

    @functools.cached_property
    def attempts(self) -> list[Row]:
        """The attempts in order: those of the result, or those graded so far."""
        if self.result:
            return list(self.result.get("attempts") or ())
        folder = Path(self.folder) / "attempts"
        return [from_json(path.read_bytes()) for path in sorted(folder.glob("[0-9]*.json")) if path.is_file()]

    @functools.cached_property
    def steps(self) -> list[Row]:
        """The recorded steps in order; a torn last line is left out."""
        whole, _, _ = _read(f"{self.folder}/steps.jsonl", missing=b"").rpartition(b"\n")
        return list(from_json(b"[%b]" % whole.replace(b"\n", b",")))

    @functools.cached_property
    def spent(self) -> list[float]:
        """The dollars spent by the end of each step, from what was left of the limit or else from the calls."""
        steps = self.steps
        limit = (self.spec.get("limits") or {}).get("money")
        left = [(step.get("observation") or {}).get("money_left") for step in steps]
        if not self.spec.get("model"):
            return [0.0] * len(steps)
        if limit is not None and all(left):
            return [limit - one for one in left]
        calls = _read(f"{self.folder}/calls.jsonl", missing=b"").split(b"\n")[:-1]
        money = [from_json(call)["reply"].get("money", 0.0) for call in calls]
        total = np.cumsum([0.0, *(math.nan if one is None else one for one in money)])
        return [float(total[step["calls"]]) if step.get("calls", 0) < total.size else math.nan for step in steps]


def label(spec: Row) -> str:
    """What a method is called in tables: the agent, or the model where `react` drives it, with what was set."""
    agent, model, sampling = spec["agent"], spec.get("model") or "", spec.get("sampling") or {}
    source = [f"from {spec['source']}"] if spec.get("source") else []
    if model and agent == "react" and not sampling:
        return " ".join([model, *source])
    return " ".join(filter(None, [agent, model, *(f"{key}={sampling[key]}" for key in sorted(sampling)), *source]))


def _marks(result: Row) -> str:
    """What a reader of a table must know of a score that was not made in the usual way."""
    source = result.get("source") or ""
    marks = [
        result.get("data"),
        "imported" if result.get("backend") == "imported" else "",
        "oracle" if result.get("oracle") else "",
        "own python" if result.get("python") else "",
        "network" if result.get("network") is not None else "",
        f"from step {source.rpartition('@')[2]}" if source else "",
        "feedback=test" if result.get("feedback") == "test" else "",
    ]
    return ", ".join(filter(None, marks))


def _episode(of: Records) -> tuple[int, Row]:
    spec, result, cost = of.spec, of.result, of.result.get("cost") or {}
    scored = bool(result) and bool(result.get("scored", True))
    best, final, selected = (of.score(result.get(name)) if scored else None for name in ("best", "final", "selected"))
    best_progress = -1.0 if of.anchors["best"] is not None and best is None else of.progress(best, "test")
    return 1, {
        **of.key,
        **{name: spec.get(name) or "" for name in ("agent", "model")},
        **{name: result.get(name) or "" for name in ("ended", "isolation", "backend")},
        **{name: (result or _last_try(of.folder)).get(name) or "" for name in ("boundary", "why")},
        **{name: cost.get(name, math.nan) for name in ("money", "command_s", "model_s", "grader_s", "cpu_s")},
        **{name: cost.get(name, 0) for name in ("tokens_in", "tokens_out", "calls")},
        "scored": scored,
        "metric": of.metric,
        "direction": of.direction,
        "scale": of.anchors["scale"],
        "baseline_validation": of.baseline["validation"],
        "baseline_test": of.baseline["test"],
        "noise": of.anchors["noise"] if of.direction else None,
        "best_known": of.anchors["best"] if of.direction else None,
        "best_attempt": best,
        "best_submission": final,
        "selected": selected,
        "progress": result.get("progress") if scored else None,
        "best_progress": best_progress if scored else None,
        "steps": result["steps"] if "steps" in result else _begun(of.folder),
        "attempts": len(of.attempts),
        "feedback": result.get("feedback") or spec.get("feedback") or "validation",
        "protocol": of.anchors["hash"],
        "folder": of.folder,
        "marks": _marks(result),
    }


def _attempts(of: Records) -> tuple[int, Row]:
    attempts = of.attempts
    steps = of.steps if attempts else []
    seconds = [0.0, *itertools.accumulate(_seconds(step) for step in steps)]
    machine = [0.0, *itertools.accumulate(_seconds(step) - float(step.get("model_s", 0)) for step in steps)]
    spent = [0.0, *of.spent] if attempts else []
    at = [one["step"] for one in attempts]
    scores = {split: [of.score(one.get(split)) for one in attempts] for split in ("validation", "test")}
    return len(attempts), {
        **of.key,
        **scores,
        **{name: [one[name] for one in attempts] for name in ("n", "step", "kind", "valid")},
        "progress": [of.progress(score, "test") for score in scores["test"]],
        "validation_progress": [of.progress(score, "validation") for score in scores["validation"]],
        "money": [spent[n] if n < len(spent) else None for n in at],
        "seconds": [seconds[n] if n < len(seconds) else None for n in at],
        "experiment_s": [machine[n] if n < len(machine) else None for n in at],
        "fallback": [one.get("fallback", False) for one in attempts],
    }


def _steps(of: Records) -> tuple[int, Row]:
    steps = of.steps
    seen = [step.get("observation") or {} for step in steps]
    return len(steps), {
        **of.key,
        **{name: [step.get(name, 0.0) for step in steps] for name in ("command_s", "model_s", "grader_s", "reward")},
        "n": [step["n"] for step in steps],
        "tool": [step["action"]["tool"] for step in steps],
        "status": [one.get("status") or "ok" for one in seen],
        "hit": [one.get("hit") or "" for one in seen],
        "validation": [of.score(one.get("validation")) for one in seen],
        "money": of.spent,
    }


ROWS = {"episodes": _episode, "attempts": _attempts, "steps": _steps}


def _seconds(step: Row) -> float:
    return float(step.get("command_s", 0) + step.get("model_s", 0) + step.get("grader_s", 0))


def _last_try(folder: str) -> Row:
    """The last try that the infrastructure lost, of an episode that has no result."""
    last = _read(f"{folder}/failed.jsonl", missing=b"").rpartition(b"\n")[0].rpartition(b"\n")[2]
    return dict(from_json(last)) if last else {}


def _begun(folder: str) -> int:
    """How many steps an episode has that did not end."""
    return _read(f"{folder}/steps.jsonl", missing=b"").count(b"\n")


def _read(path: str, missing: bytes | None = None) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return file.read()
    except FileNotFoundError:
        if missing is None:
            raise
        return missing
