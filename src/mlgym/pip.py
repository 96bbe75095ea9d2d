"""The caller's pip, with the caller's configuration, and its failures as one sentence."""

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mlgym.cache import offline
from mlgym.errors import SourceError

UMASK = 0o022 if os.name == "posix" else -1  # what lands in the cache is readable by the sandbox's user
MANIFEST = "packages.json"  # in an environment's folder: the pins that it was made from


def pip(*args: str, what: str, python: Path | None = None) -> str:
    """Run pip for the interpreter `python` (default: the one that runs pip) and return its output.

    Raises SourceError with one sentence that begins with `what`, also when connections are forbidden.
    """
    if offline():
        raise SourceError(f"{what} is not in the cache and MLGYM_OFFLINE is set; run `mlgym prepare` once without it.")
    where = ["--python", str(python)] if python else []
    command = [*find_pip(), *where, *args, "--disable-pip-version-check", "--no-input"]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=_clean(), umask=UMASK
    )
    if ran.returncode:
        raise SourceError(f"{what} could not be had: {_reason(ran.stderr or ran.stdout)}.")
    return ran.stdout


@functools.cache
def find_pip() -> tuple[str, ...]:
    """The command of the first pip that can install into another environment; raises SourceError for none."""
    for command in _candidates():
        try:
            ran = subprocess.run([*command, "--version"], capture_output=True, text=True, env=_clean())
        except OSError:
            continue
        found = re.match(r"pip (\d+)\.(\d+)", ran.stdout)
        if ran.returncode == 0 and found and tuple(map(int, found.groups())) >= (22, 3):  # the first with --python
            return command
    raise SourceError(f"No pip (22.3 or newer) was found: install one, such as with `{sys.executable} -m ensurepip`.")


def _candidates() -> Iterator[tuple[str, ...]]:
    for python in (sys.executable, getattr(sys, "_base_executable", "")):
        if python:
            yield (python, "-m", "pip")
    for name in ("pip3", "pip"):
        if program := shutil.which(name):
            yield (program,)
    try:
        import ensurepip
    except ImportError:  # some distributions leave it out
        return
    for wheel in Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"):
        yield (sys.executable, f"{wheel}/pip")


def _clean() -> dict[str, str]:
    """The caller's variables without those that make packages elsewhere look installed."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def _reason(output: str) -> str:
    if re.search(r"Retrying \(|NewConnectionError|ConnectTimeout|Temporary failure in name", output):
        return "the package registry cannot be reached"
    errors = [line.removeprefix("ERROR:").strip() for line in output.splitlines() if line.startswith("ERROR:")]
    missing = [line for line in errors if line.startswith("No matching distribution found for ")]
    if missing:
        package = missing[0].split(" for ", 1)[1].split(" (")[0]
        return f"the registry has no wheel of {package} for this machine's Python {platform.python_version()}"
    return (errors or output.strip().splitlines() or ["pip failed"])[-1].rstrip(".")
