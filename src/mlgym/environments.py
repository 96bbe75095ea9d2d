"""The Python environments of tasks: a folder in the cache for each set of pins, fit to be mounted anywhere."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mlgym.cache import SAY, Say, cache_dir, made
from mlgym.errors import SourceError
from mlgym.pip import MANIFEST, UMASK, pip

MOUNTED = "/opt/env"
# pip tells no sizes before it fetches: what is known to be large, roughly, in 10^6 bytes.
LARGE_MB = {
    "torch": 900,
    "tensorflow": 600,
    "nvidia-cudnn-cu12": 650,
    "nvidia-cublas-cu12": 550,
    "nvidia-nccl-cu12": 300,
}
# The builds of torch for GPUs bring these, each pinned by torch itself; those for the CPU do not.
COMPANIONS = ("nvidia-", "cuda-", "triton", "pytorch-triton")
# `#!` takes no relative path: the shell, which comes first, starts the Python that lies beside the script.
SHEBANG = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")/python" "$0" "$@"
' '''
"""


def environment(packages: Sequence[str], *, whole: bool = True, say: Say = SAY) -> Path:
    """An environment with exactly these pinned packages, made the first time from wheels with the caller's pip; where
    they are not the `whole`, with the newest of what they need too.

    Raises SourceError when packages cannot be had, or when whole pins leave out something that they need.
    """
    pins, base, folder = sorted(set(packages)), _base(), place(packages, whole)
    what = f"Python environment with {len(pins)} package{'s' * (len(pins) != 1)}"
    made(folder, lambda part: _fill(part, pins, base, what, whole, say), what=f"the {what}", say=say)
    if not (folder / MANIFEST).exists():  # an environment of an older version, perhaps another user's
        with suppress(OSError):
            _write_manifest(folder, pins)
    return folder


def place(packages: Sequence[str], whole: bool = True) -> Path:
    """Where the environment with these packages lies, once it is made."""
    about = json.dumps([sorted(set(packages)), sys.version, _base(), platform.machine(), *([] if whole else ["loose"])])
    return cache_dir() / "environments" / hashlib.sha256(about.encode()).hexdigest()[:16]


def _base() -> str:
    return str(getattr(sys, "_base_executable", sys.executable))


def _fill(folder: Path, pins: list[str], base: str, what: str, whole: bool, say: Say) -> None:
    venv = [base, "-I", "-m", "venv", "--without-pip", str(folder)]
    ran = subprocess.run(venv, capture_output=True, text=True, umask=UMASK)
    if ran.returncode:
        raise SourceError(f"{base} could not make a virtual environment: {(ran.stderr or ran.stdout).strip()[-200:]}.")
    python = folder / ("bin" if os.name == "posix" else "Scripts") / "python"
    if pins:
        pins = _install(folder, python, pins, what, whole, say)
    _relocate(folder, python.parent)
    _write_manifest(folder, pins)


def _write_manifest(folder: Path, pins: list[str]) -> None:
    """Say in the folder what it was made from: containers install the same for a Python of their own."""
    part = folder / f"{MANIFEST}.{os.getpid()}"
    part.write_text(json.dumps(pins))
    part.chmod(0o644)
    part.replace(folder / MANIFEST)


def _install(folder: Path, python: Path, pins: list[str], what: str, whole: bool, say: Say) -> list[str]:
    """Install the pins; returns all that the environment is made of."""
    large = {name: LARGE_MB[name] for name in map(_name, pins) if name in LARGE_MB}
    size = f", some {sum(large.values())} MB or more to fetch ({', '.join(large)})" if large else ""
    say(f"Making the {what}, once{size}.")
    report = folder / "report.json"
    install = ["install", "--quiet", "--only-binary", ":all:", "--no-compile", "--report", str(report)]
    pip(*install, *pins, python=python, what=f"The {what}")
    installed = [item["metadata"] for item in json.loads(report.read_bytes())["install"]]
    report.unlink()
    named = {_name(pin) for pin in pins}
    found = {_name(item["name"]): f"{item['name']}=={item['version']}" for item in installed}
    extra = [pin for name, pin in found.items() if name not in named and not name.startswith(COMPANIONS)]
    if extra and whole:
        raise SourceError(f"The packages of a task must pin all that they need: add {', '.join(sorted(extra))}.")
    # unchecked: the folder is never changed again; what tests there are is left to compile itself
    compile_all = ["compileall", "-qq", "-j", "0", "-x", r"[\\/]tests?[\\/]", "--invalidation-mode", "unchecked-hash"]
    strip = ["-s", str(folder), "-p", MOUNTED, str(folder)]
    subprocess.run([str(python), "-I", "-m", *compile_all, *strip], capture_output=True, umask=UMASK)
    return pins if whole else sorted(found.values())


def _relocate(folder: Path, scripts: Path) -> None:
    """Take this folder's path out of the scripts and the settings."""
    config = folder / "pyvenv.cfg"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith("command")))
    for script in scripts.iterdir():
        if script.name.lower().startswith("activate"):
            script.unlink()
        elif script.is_file() and not script.is_symlink():  # compiled scripts have a folder
            head = script.read_bytes().split(b"\n", 3)
            if head[0].startswith(b"#!") and b"python" in head[0]:
                script.write_bytes(SHEBANG + b"\n".join(head[1:]))
            elif head[0] == b"#!/bin/sh" and head[1].startswith(b"'''exec'"):  # pip's way where the path is long
                script.write_bytes(SHEBANG + head[3])


def _name(pin: str) -> str:
    """The package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s=<>!~;\[@]", pin, maxsplit=1)[0]).lower()
