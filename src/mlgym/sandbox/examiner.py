"""The examiner of sandboxes: what every backend must do, case by case, tried on a real sandbox.

`check_sandbox("bubblewrap")` runs all; `python -m mlgym.sandbox.examiner [backend]` prints a table and exits 1 when a
case fails. A case that could hurt the host runs only where a harmless try has first shown that the limit it leans on
holds; otherwise it is skipped and says why.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlgym.errors import SandboxError
from mlgym.sandbox import Ran, Sandbox, SandboxLimits, SandboxSpec, Shell, choose, scratch


class Skipped(Exception):
    """A case that does not apply here; the text says why."""


class Failed(Exception):
    """What a sandbox did that it must not do."""


@dataclass(frozen=True)
class Case:
    """One thing that a sandbox must do; `full` cases need isolation full, `walled` ones full or partial."""

    name: str
    examine: "Callable[[Place], None]"
    full: bool = False
    walled: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a case went: `why` tells of a failure or a skip."""

    case: str
    outcome: Literal["passed", "failed", "skipped"]
    why: str
    seconds: float


class Place:
    """Where a case is tried: it opens shells in sandboxes of the backend, each with a workspace of its own."""

    def __init__(self, backend: type[Sandbox], folder: Path) -> None:
        self.backend, self.folder, self.count = backend, folder, 0

    @contextlib.contextmanager
    def shell(self, variables: dict[str, str] | None = None, **limits: int) -> Iterator[Shell]:
        """A started shell under these limits."""
        self.count += 1
        workspace = self.folder / f"{self.count}" / "workspace"
        workspace.mkdir(parents=True)
        spec = SandboxSpec(workspace, variables=variables or {}, limits=SandboxLimits(**limits))
        with Shell(self.backend(spec)) as shell:
            yield shell


def says(shell: Shell, command: str, output: str | None = None, *, timeout: float = 20, **wanted: Any) -> Ran:
    """Run a command and compare its output and whatever else of `Ran` is wanted."""
    ran = shell.run(command, timeout)
    wanted = {"status": "ok", **({} if output is None else {"output": output}), **wanted}
    for key, value in wanted.items():
        if getattr(ran, key) != value:
            raise Failed(f"{command[:60]!r}: {key} is {getattr(ran, key)!r:.300}, not {value!r:.300}")
    return ran


def must(truth: object, why: str) -> None:
    """Fail the case unless the truth holds."""
    if not truth:
        raise Failed(why)


def python(shell: Shell, code: str, timeout: float = 20) -> str:
    """What a Python program prints inside, both streams; run beside the shell."""
    return shell.exec([shell.sandbox.interpreter, "-I", "-c", code], timeout=timeout).output


def cases() -> tuple[Case, ...]:
    """All cases, in order: the shell, its files, the walls, other users' processes, the machine, limits."""
    from mlgym.sandbox.examiner_apart import APART
    from mlgym.sandbox.examiner_files import FILES
    from mlgym.sandbox.examiner_limits import LIMITS
    from mlgym.sandbox.examiner_machine import MACHINE
    from mlgym.sandbox.examiner_shell import SHELL
    from mlgym.sandbox.examiner_walls import WALLS

    return (*SHELL, *FILES, *WALLS, *APART, *MACHINE, *LIMITS)


def examine(case: Case, backend: type[Sandbox]) -> Outcome:
    """Try one case."""
    started = time.monotonic()
    outcome: Literal["passed", "failed", "skipped"] = "passed"
    why = ""
    try:
        if (case.full and backend.isolation != "full") or (case.walled and backend.isolation == "none"):
            raise Skipped(f"isolation is {backend.isolation}")
        with scratch(Path(tempfile.gettempdir())) as folder:
            case.examine(Place(backend, folder))
    except Skipped as skip:
        outcome, why = "skipped", str(skip)
    except (Failed, SandboxError, OSError, ValueError) as failure:
        outcome, why = "failed", str(failure) or type(failure).__name__
    return Outcome(case.name, outcome, why, time.monotonic() - started)


def check_sandbox(backend: str | type[Sandbox] = "auto", say: Callable[[str], object] = print) -> list[Outcome]:
    """Try all cases on a backend; `say` gets a line for each as it ends. Raises SandboxError where none starts."""
    chosen = choose(backend) if isinstance(backend, str) else backend
    outcomes = []
    for case in cases():
        outcome = examine(case, chosen)
        outcomes.append(outcome)
        say(f"{outcome.outcome:8}{outcome.seconds:6.2f} s  {case.name}{': ' + outcome.why if outcome.why else ''}")
    return outcomes


def main(arguments: list[str]) -> int:
    """Print the table for a backend; 1 when a case fails, 2 when the backend does not start."""
    name = arguments[0] if arguments else "auto"
    try:
        outcomes = check_sandbox(name)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 2
    failed = sum(outcome.outcome == "failed" for outcome in outcomes)
    skipped = sum(outcome.outcome == "skipped" for outcome in outcomes)
    print(f"{name}: {len(outcomes)} cases, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    from mlgym.sandbox import examiner  # the cases raise the exceptions of this module by its proper name

    sys.exit(examiner.main(sys.argv[1:]))
