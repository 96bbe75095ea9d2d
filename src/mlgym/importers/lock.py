"""The protocol of imported episodes: RUN/protocol.lock, so that no table mixes them unmarked with episodes of ours."""

import hashlib
import json
from pathlib import Path
from typing import Any

from mlgym.disk import write_whole
from mlgym.errors import UsageError
from mlgym.importers.tasks import STEPS, TASKS, Theirs

LOCK = "protocol.lock"
ORIGINAL = "the original"


def lock(run: Path) -> None:
    """Write the lock of a run of imported episodes; raises UsageError where the run is one of ours."""
    path = run / LOCK
    entries = {theirs.ours: _hashed(_entry(theirs)) for theirs in TASKS.values()}
    methods: dict[str, Any] = {"imported": ORIGINAL, "methods": {}}
    whole = {
        "task_protocol": {"hash": _hash(entries), "imported": ORIGINAL, "tasks": entries},
        "method": {"hash": _hash(methods), **methods},
    }
    data = json.dumps(whole, indent=1, sort_keys=True).encode()
    if not path.exists():
        if any(run.glob("*/*/*/spec.json")) or (run / "run.json").exists():
            raise UsageError(f"{run} holds episodes that were run here: import into another folder with -o.")
        write_whole(path, data)
    elif path.read_bytes() != data:
        raise UsageError(f"{run} has the protocol of other episodes ({LOCK}): import into another folder with -o.")


def _entry(theirs: Theirs) -> dict[str, Any]:
    return {
        "version": 0,
        "imported": ORIGINAL,
        "feedback": "test",
        "isolation": "none",
        "network": True,
        "tools": {"set": "classic"},
        "limits": {"steps": STEPS, "command_s": theirs.command_s},
        "baseline": {"test": theirs.start[theirs.task.metric]},
        "metric": theirs.task.metric,
        "direction": theirs.task.direction,
        "scale": theirs.scale,
        "best": theirs.top,
    }


def _hashed(entry: dict[str, Any]) -> dict[str, Any]:
    return {"hash": _hash(entry), **entry}


def _hash(entry: Any) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
