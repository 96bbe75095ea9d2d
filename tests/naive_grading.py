"""Grading without defences, as evaluators commonly do it: one process, the submission first on its path, the last
line printed is the verdict. The hostile tests run here too, so that no defence seems to work because nothing attacks.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlgym.grading.prepare import KINDS

MAIN = """
import importlib, json, sys, types
from pathlib import Path
code, kinds, private, submission = map(Path, sys.argv[1:5])
for name in ("frames", "player_main"):
    module = sys.modules["mlgym.grading." + name] = types.ModuleType(name)
    exec((kinds.parent / (name + ".py")).read_text(), module.__dict__)
Array, each, player_main = sys.modules["mlgym.grading.frames"].Array, module.each, module
sys.path.insert(0, str(kinds.parent))
sys.path.insert(0, str(code.parent))
sys.path.insert(0, str(submission))

class Player:
    def __init__(self, module):
        self.module = importlib.import_module(module)
    def each(self, function, item, width=0):
        return each(getattr(self.module, function), Array(item.dtype.str, item.shape, item.tobytes()), width)
    def batch(self, function, arrays, expect):
        items = [Array(item.dtype.str, item.shape, item.tobytes()) for item in arrays]
        return player_main.batch(getattr(self.module, function), items)

class Submission:
    folder = submission
    def path(self, name):
        return submission / name
    def player(self, module, seed):
        import random
        random.seed(seed)
        return Player(module)

task = importlib.import_module("task")
try:
    scores = task.grade(Submission(), private, settings={}, split="validation", seed=0)
except Exception as error:
    print(json.dumps({"valid": False, "why": str(error), "scores": None}))
else:
    print(json.dumps({"valid": True, "why": "", "scores": scores}))
"""


def grade(code: Path, private: Path, submission: Path, timeout: float = 60, shell: bool = False) -> dict[str, Any]:
    """The last line that the naive evaluator prints; raises TimeoutExpired when it hangs, ValueError without a line."""
    argv = [sys.executable, "-c", MAIN, str(code), str(KINDS), str(private), str(submission)]
    if shell:  # with the evaluator's caller as the parent process of the submission
        argv = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *argv]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout, env=env, cwd=submission
    )
    lines = [line for line in ran.stdout.decode(errors="replace").splitlines() if line.strip()]
    if ran.returncode < 0 or not lines:
        raise ValueError(f"no verdict, code {ran.returncode}")
    verdict: dict[str, Any] = json.loads(lines[-1])
    return verdict
