"""Harbor: a task as a folder that its trainers and runners read (schema 1.4), graded in a container of its own.

The agent's image gets the workspace and the public data. The answers and what grades, a copy of the few files of mlgym
that need nothing else, lie in `tests/`, which becomes the verifier's image (`grading.bundled`): mlgym is not installed
there.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

from mlgym.errors import UsageError
from mlgym.grading.prepare import GENERATED, KINDS, Prepared, prepare
from mlgym.sandbox import WORKSPACE
from mlgym.task import Task

IMAGE = "python:3.12-slim"
PACKAGE = Path(__file__).parent.parent
BUNDLE = (
    "errors.py",
    "metrics/progress.py",
    *(f"grading/{name}.py" for name in ("bundled", "cpu", "exchange", "frames", "pipes", "grader_main", "player_main")),
)
ENVIRONMENT = """FROM {image}
COPY requirements.txt /opt/requirements.txt
RUN test -x /opt/env/bin/python || \\
    (python3 -m venv /opt/env && /opt/env/bin/pip install --no-cache-dir --requirement /opt/requirements.txt)
ENV PATH=/opt/env/bin:$PATH
"""
TEST = """#!/bin/bash
cd /tests && exec /opt/env/bin/python -s -B -m mlgym.grading.bundled /tests /logs/verifier/reward.json
"""
HERE = """
The workspace is {workspace}{data}. {paths} there are graded when you are done, on hidden test data. There are no tools
`validate` and `submit` here: test your work yourself.{baseline}
"""


def export(task: Task, into: Path, *, image: str = IMAGE) -> Path:
    """Write the task's folder into the folder `into`; returns it.

    `image` is what both images are made from: one with Python, or one that has the task's packages at /opt/env.
    Raises UsageError where the folder is there already, and for a task without a best known score, which has no reward.
    """
    prepared = prepare(task)
    anchors = task.anchors
    if anchors is None or anchors.best is None or prepared.data == GENERATED:
        raise UsageError(f"The task '{task.name}' has no best known score for its data, so it has no reward to export.")
    folder = into / task.name
    if folder.exists():
        raise UsageError(f"{folder} is there already: choose another folder, or remove it.")
    for part, (inner, pins) in {
        "environment": ("workspace", task.packages),
        "tests": ("private", dict.fromkeys((*task.packages, *task.grader_packages))),
    }.items():
        (folder / part / inner).mkdir(parents=True)
        (folder / part / "requirements.txt").write_text("".join(f"{pin}\n" for pin in pins))
    _environment(folder / "environment", prepared, image)
    _tests(folder / "tests", prepared, image)
    if task.solution:
        _solution(folder / "solution", task)
    (folder / "instruction.md").write_text(_instruction(prepared), encoding="utf-8")
    (folder / "task.toml").write_text(_config(task), encoding="utf-8")
    return folder


def _environment(folder: Path, prepared: Prepared, image: str) -> None:
    task, text = prepared.task, ENVIRONMENT.format(image=image)
    shutil.copytree(task.workspace, folder / "workspace", dirs_exist_ok=True)
    for name in task.without:
        (folder / "workspace" / name).unlink(missing_ok=True)
    text += f"COPY workspace/ {WORKSPACE}/\n"
    if any(prepared.public.iterdir()):
        shutil.copytree(prepared.public, folder / "data")
        text += f"COPY data/ {WORKSPACE}/data/\n"
    (folder / "Dockerfile").write_text(f"{text}WORKDIR {WORKSPACE}\n")


def _tests(folder: Path, prepared: Prepared, image: str) -> None:
    task, anchors = prepared.task, prepared.task.anchors
    assert anchors is not None
    shutil.copytree(prepared.private, folder / "private", dirs_exist_ok=True)
    shutil.copytree(KINDS, folder / "kinds", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(task.code, folder / "task.py")
    for name in BUNDLE:
        target = folder / "mlgym" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, target)
        for package in (target.parent, folder / "mlgym"):
            (package / "__init__.py").touch()
    about = {
        "workspace": WORKSPACE,
        "submission": task.submission.model_dump(),
        "settings": task.settings,
        "metric": task.metric,
        "scale": {
            "baseline": anchors.baseline["test"],
            "baseline_test": anchors.baseline["test"],
            "best": anchors.best,
            "direction": task.direction,
            "scale": anchors.scale,
        },
        "seed": 0,
        **{name: getattr(task.limits, name) for name in ("grade_s", "call_s", "memory_mb")},
    }
    (folder / "task.json").write_text(json.dumps(about, indent=1, ensure_ascii=False, default=str), encoding="utf-8")
    (folder / "test.sh").write_text(TEST)
    (folder / "test.sh").chmod(0o755)
    (folder / "Dockerfile").write_text(
        f"{ENVIRONMENT.format(image=image)}COPY . /tests/\nRUN chmod 700 /tests\nWORKDIR /\n"
    )


def _solution(folder: Path, task: Task) -> None:
    assert task.solution is not None
    shutil.copytree(task.workspace, folder / "files")
    shutil.copytree(task.solution, folder / "files", dirs_exist_ok=True)
    command = task.baseline.command or ":"
    (folder / "solve.sh").write_text(
        f"#!/bin/bash\nset -e\ncd {WORKSPACE}\ncp -r /solution/files/. .\nexport SEED=0\n{command}\n"
    )


def _instruction(prepared: Prepared) -> str:
    task = prepared.task
    data = ", with the data in its folder data/" if any(prepared.public.iterdir()) else ""
    baseline = f" `{task.baseline.command}` makes the baseline." if task.baseline.command and not task.without else ""
    said = HERE.format(workspace=WORKSPACE, data=data, paths=", ".join(task.submission.paths), baseline=baseline)
    return f"<!-- {task.canary} -->\n\n{task.told}\n{said}"


def _config(task: Task) -> str:
    """task.toml: a JSON text is a text of TOML too."""
    limits = task.limits
    machine = {"cpus": math.ceil(limits.processors), "memory_mb": limits.memory_mb, "gpus": limits.gpus}
    tables: dict[str, dict[str, Any]] = {
        "task": {"name": f"mlgym/{task.name}", "version": str(task.version), "description": task.title},
        "metadata": {"kind": task.kind, "metric": task.metric, "direction": task.direction, "canary": task.canary},
        "agent": {"timeout_sec": limits.seconds or max(600.0, limits.steps * 60.0)},
        "verifier": {"environment_mode": "separate", "timeout_sec": limits.grade_s + 120.0, "user": "root"},
        "verifier.environment": {**machine, "network_mode": "no-network"},
        "environment": {**machine, "network_mode": "no-network", "workdir": WORKSPACE},
    }
    if task.network:
        tables["environment"] |= {"network_mode": "allowlist", "allowed_hosts": list(task.network)}
    lines = [f"# {task.canary}", 'schema_version = "1.4"', f"artifacts = {_value(_artifacts(task))}"]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join([*lines, ""])


def _artifacts(task: Task) -> list[str]:
    """What goes from the agent's container to the verifier's: the paths, of a glob the folder before it."""
    found = []
    for path in task.submission.paths:
        parts = path.split("/")
        plain = next((number for number, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
        found.append("/".join([WORKSPACE, *parts[:plain]]))
    return list(dict.fromkeys(found))


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
