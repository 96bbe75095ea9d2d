"""Tiny wheels and tasks for tests that need no registry."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def wheel(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    *,
    version: str = "1.0",
    needs: Sequence[str] = (),
    scripts: str = "",
) -> Path:
    """A wheel that any pip installs from a folder; `scripts` are lines such as `tool = module:function`."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {n}\n" for n in needs
    )
    parts = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        parts[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n"
    record = "".join(f"{path},,\n" for path in [*parts, f"{info}/RECORD"])
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**parts, f"{info}/RECORD": record}.items():
            archive.writestr(member, text)
    return path


TOML = """
version = 1
title = "A tiny task"
kind = "table"
canary = "mlgym canary of a tiny task in the tests"
metric = "accuracy"
direction = "maximize"
instruction = "Write answers.csv."
packages = []

[submission]
paths = ["answers.csv"]
"""

CODE = """
def prepare(public, private, *, settings, seed):
    (public / "visible.txt").write_text("visible")
    (private / "answers.txt").write_text("hidden")

def grade(submission, private, *, settings, split, seed):
    return {"accuracy": 1.0}
"""


def tiny_task(folder: Path, toml: str = TOML, code: str = CODE) -> Path:
    """A task folder without packages."""
    (folder / "workspace").mkdir(parents=True)
    (folder / "workspace" / "start.py").write_text("print('start')\n")
    (folder / "task.toml").write_text(toml)
    (folder / "task.py").write_text(code)
    return folder
