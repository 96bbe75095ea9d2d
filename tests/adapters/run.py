"""Try each adapter with the real library: an environment of its own, one real step, a line of a table.

    .venv/bin/python tests/adapters/run.py [NAME…] [--write]

An environment is made once, in the cache; it is marked when it is complete. What needs a Python that is not here is
skipped, and says so. `--write` keeps the table in benchmarks/adapters.md. Exits with 1 where something failed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mlgym.cache import MARKER, cache_dir

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from record import record  # noqa: E402 - not a package

TORCH = "torch==2.13.0"  # installed first: else another package asks for its newest, with gigabytes of CUDA
STEP_S, INSTALL_S = 900, 3600
NOTES = """Each library takes one real step with its adapter, in an environment of its own that the first run makes."""
VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Tried:
    """One library: mlgym's extra for it, exact versions (installed one after another), the program in this folder that
    takes a step with it, and the Pythons that the library fits. Without an extra mlgym is not installed beside it: the
    program calls it by MLGYM_PYTHON -m mlgym. It exits with 0 when all is well; its last line tells what was done.
    """

    name: str
    extra: str
    pins: tuple[str, ...]
    program: str
    pythons: tuple[str, ...] = ("3.11", "3.12")

    @property
    def shown(self) -> list[str]:
        """The packages whose versions are told."""
        return [pin.partition("==")[0].partition("[")[0] for pin in self.pins]


ALL = (
    Tried("TRL", "trl", (TORCH, "transformers==5.24.0", "trl==1.16.0"), "with_trl.py"),
    Tried("verifiers", "verifiers", ("verifiers==0.4.0",), "with_verifiers.py"),
    Tried("Harbor", "", ("harbor==0.25.0",), "with_harbor.py", ("3.12", "3.13")),
    Tried("TorchRL", "torchrl", (TORCH, "torchrl==0.14.1"), "with_torchrl.py"),
    Tried("exports", "data", (TORCH, "trl==1.16.0", "datasets==5.2.0"), "with_exports.py"),
    Tried("ATIF", "data", ("harbor==0.25.0",), "with_atif.py", ("3.12",)),
    Tried("OpenEnv", "openenv", ("openenv==0.10.0",), "with_openenv.py"),
)


def python(versions: tuple[str, ...]) -> str:
    """An interpreter of one of these versions, this one first; empty where none is here."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" in versions:
        return sys.executable
    for version in versions:
        places = [
            *Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"),  # its shims name what is not on
            shutil.which(f"python{version}"),
        ]
        if found := next(filter(None, places), None):
            return str(found)
    return ""


def environment(tried: Tried, base: str) -> Path:
    """The Python of the library's environment, made where it is not there yet; its folder names what is in it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], project["optional-dependencies"].get(tried.extra), tried.pins, base]
    key = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:12]
    folder = cache_dir() / "adapters" / f"{tried.program.removesuffix('.py')}-{key}"
    inside = folder / "bin" / "python"
    if not (folder / MARKER).exists():
        shutil.rmtree(folder, ignore_errors=True)
        call([base, "-m", "venv", str(folder)])
        for number in range(len(tried.pins)):  # each with all before it, so that none is replaced
            call([str(inside), "-m", "pip", "install", "--quiet", *tried.pins[: number + 1]])
        if tried.extra:
            call([str(inside), "-m", "pip", "install", "--quiet", "--editable", f"{ROOT}[{tried.extra}]", *tried.pins])
        (folder / MARKER).touch()
    return inside


def call(command: list[str], seconds: float = INSTALL_S) -> str:
    """What a command prints; raises RuntimeError with the end of what it said where it fails."""
    # The environment may have been made with another copy of this code: this one comes first.
    given = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MLGYM_PYTHON": sys.executable}
    try:
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, env=given
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"it took longer than {seconds:g} seconds") from error
    if ran.returncode:
        raise RuntimeError(ran.stdout.strip() or f"exit code {ran.returncode}")
    return ran.stdout


def attempt(tried: Tried) -> tuple[str, str]:
    """How it went, "ok", "failed" or "skipped", and what there is to say."""
    base = python(tried.pythons)
    if not base:
        return "skipped", f"needs Python {' or '.join(tried.pythons)}"
    try:
        inside = environment(tried, base)
        versions = json.loads(call([str(inside), "-c", VERSIONS, *tried.shown]))
        said = call([str(inside), str(HERE / tried.program)], STEP_S).strip().splitlines()
    except RuntimeError as error:
        return "failed", str(error)
    return "ok", f"{', '.join(f'{name} {number}' for name, number in versions.items())}: {said[-1] if said else ''}"


def main(names: list[str], write: bool) -> int:
    """Try those of the names, all without names; prints a line for each as it comes."""
    if unknown := set(names) - {tried.name for tried in ALL}:
        print(f"There is no {', '.join(sorted(unknown))} here; there are {', '.join(t.name for t in ALL)}.")
        return 2
    rows = []
    for tried in ALL:
        if names and tried.name not in names:
            continue
        began = time.monotonic()
        how, why = attempt(tried)
        took = f"{time.monotonic() - began:.0f}"
        print(f"{tried.name:<12} {how:<8} {took:>5} s  {why}", flush=True)
        versions, _, said = why.partition(": ") if how == "ok" else ("", "", why)
        rows.append((tried.name, how, took, versions, said))
    if write:
        head = ("library", "", "seconds", "versions", "what was done")
        record("adapters", head, rows, write, "bubblewrap", NOTES, "tests/adapters/run.py")
    failed = [name for name, how, *_ in rows if how == "failed"]
    print(f"failed: {', '.join(failed)}" if failed else "Every adapter that was tried works.")
    return bool(failed)


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main([name for name in given if name != "--write"], "--write" in given))
