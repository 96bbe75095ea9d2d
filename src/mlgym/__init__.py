"""mlgym: an environment, a benchmark and a toolkit for language-model agents that do machine-learning research.

The public names load what they need when they are first used; importing this module does nothing else, but for
telling Gymnasium of the environments where Gymnasium is already imported.
"""

import importlib
import sys
from typing import Any

_WHERE = {
    "Action": "mlgym.records",
    "Attempt": "mlgym.records",
    "Branch": "mlgym.records",
    "Branches": "mlgym.records",
    "Brief": "mlgym.records",
    "Checkpoint": "mlgym.records",
    "EpisodeSpec": "mlgym.records",
    "Limits": "mlgym.records",
    "Message": "mlgym.records",
    "MlgymError": "mlgym.errors",
    "Observation": "mlgym.records",
    "ResearchEnv": "mlgym.env",
    "Restore": "mlgym.records",
    "Result": "mlgym.records",
    "Step": "mlgym.records",
    "agree": "mlgym.protocol",
    "check_sandbox": "mlgym.sandbox.examiner",
    "check_task": "mlgym.check",
    "expand": "mlgym.grid",
    "load_task": "mlgym.task",
    "open_run": "mlgym.runs",
    "read_grid": "mlgym.grid",
    "run_episode": "mlgym.episode",
    "run_grid": "mlgym.bench",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'mlgym' has no attribute '{name}'")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


if "gymnasium" in sys.modules and "mlgym.env" not in sys.modules:
    importlib.import_module("mlgym.env")
