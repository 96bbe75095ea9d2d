"""The starter of a task at work: its baseline, or its hidden solution, run in an agent's sandbox; what it submits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlgym.errors import GradingError
from mlgym.grading.prepare import Prepared
from mlgym.grading.submission import collect
from mlgym.sandbox import WORKSPACE, Bind, Sandbox, SandboxLimits, SandboxSpec, open_shell
from mlgym.sandbox.shell import Shell
from mlgym.sandbox.tar import write_tar

# Runs a command line and says, last, the most memory that one of its processes took, in kB.
MEASURE = (
    "import resource, subprocess, sys; code = subprocess.call(['bash', '-c', sys.argv[1]]);"
    " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)"
)


@dataclass(frozen=True)
class Trial:
    """What a starter submitted (`files`, frozen), in how many `seconds`, with how many MB in its largest process."""

    files: Path
    seconds: float
    mb: float


@contextmanager
def workspace(
    prepared: Prepared,
    backend: type[Sandbox],
    folder: Path,
    *,
    whole: bool = False,
    more: tuple[Bind, ...] = (),
    limits: SandboxLimits | None = None,
) -> Iterator[Shell]:
    """A sandbox as an agent finds it at first; `whole`: with the files that the agent does not get, and `more`."""
    folder.mkdir()
    task = prepared.task
    limits = limits or SandboxLimits(memory_mb=task.limits.memory_mb)
    data = (Bind(prepared.public, f"{WORKSPACE}/data"),) if any(prepared.public.iterdir()) else ()
    with open_shell(backend, SandboxSpec(folder, prepared.env, (*data, *prepared.shown, *more), {}, limits)) as shell:
        shell.unpack(write_tar(task.workspace, () if whole else task.without), shell.workspace)
        yield shell


def freeze(shell: Shell, prepared: Prepared, into: Path) -> dict[str, str]:
    """The submission's files out of the workspace; raises SubmissionRefused."""
    limits = prepared.task.submission
    return collect(shell, limits.paths, into, limits.max_mb * 1_000_000, limits.max_files)


def run_starter(
    prepared: Prepared, backend: type[Sandbox], place: Path, *, seed: int = 0, solution: bool | Path = False
) -> Trial:
    """Run the baseline's command, with `solution` after the hidden solution (or that folder) was laid over the starter.

    `place` is a new folder; the command finds `seed` in the variable SEED. Raises GradingError when it fails, or
    SubmissionRefused.
    """
    task = prepared.task
    place.mkdir()
    with workspace(prepared, backend, place / "workspace", whole=True) as shell:
        if solution:
            folder = task.solution if solution is True else solution
            if not folder:
                raise GradingError(f"{task.name} has no folder solution.")
            shell.unpack(write_tar(folder), shell.workspace)
        seconds, mb = 0.0, 0.0
        if task.baseline.command:
            command = f"export SEED={seed}; {task.baseline.command}"
            ran = shell.exec([shell.sandbox.interpreter, "-c", MEASURE, command], timeout=task.limits.command_s)
            *said, peak = ran.output.strip().splitlines() or [""]
            if ran.code != 0:
                which = "solution" if solution else "baseline"
                raise GradingError(f"The {which} of {task.name} does not run: {(said or [ran.status])[-1]}.")
            seconds, mb = ran.seconds, int(peak) / 1000
        freeze(shell, prepared, place / "files")
    return Trial(place / "files", seconds, mb)
