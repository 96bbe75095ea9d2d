"""Sandboxes: what one is told (`SandboxSpec`), what one can do (`Sandbox`), and how one is chosen and opened."""

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol, cast

from mlgym.names import resolve
from mlgym.records import Isolation
from mlgym.sandbox import nvidia
from mlgym.sandbox.meter import Meter
from mlgym.sandbox.scratch import scratch
from mlgym.sandbox.shell import PROXY, PROXY_PORT, Entry, Ran, Shell
from mlgym.sandbox.spawn import launch
from mlgym.sandbox.tar import SubmissionRefused

HOME = "/home/agent"  # inside
WORKSPACE = f"{HOME}/workspace"
ENVIRONMENT = "/opt/env"
BACKENDS = {
    "bubblewrap": "mlgym.sandbox.bubblewrap:Bubblewrap",
    "user": "mlgym.sandbox.user:User",
    "landlock": "mlgym.sandbox.landlock:Landlock",
    "docker": "mlgym.sandbox.container:Docker",
    "podman": "mlgym.sandbox.container:Podman",
    "local": "mlgym.sandbox.local:Local",
}

__all__ = [
    "BACKENDS",
    "ENVIRONMENT",
    "PROXY",
    "WORKSPACE",
    "Bind",
    "Entry",
    "Meter",
    "Ran",
    "Sandbox",
    "SandboxLimits",
    "SandboxSpec",
    "Shell",
    "SubmissionRefused",
    "choose",
    "launch",
    "open_files",
    "open_shell",
    "scratch",
    "variables",
]


@dataclass(frozen=True)
class Bind:
    """A file or folder of the host shown read-only at `target` inside; `live`: a folder that the host adds to later."""

    source: Path
    target: str
    live: bool = False


@dataclass(frozen=True)
class SandboxLimits:
    """Bounds of one sandbox: MB of memory of all its processes, MB on disk in all, processes, MB of a file, open files,
    bytes of a command's output that come back, and bytes at which it is stopped. `local` bounds the number of processes
    only where control groups can be made.
    """

    memory_mb: int = 8192
    disk_mb: int = 16384
    processes: int = 512
    file_mb: int = 4096
    open_files: int = 4096
    output_kept: int = 100_000
    output_max: int = 64_000_000


@dataclass(frozen=True)
class SandboxSpec:
    """What a sandbox is made of. `folder` is the host's folder that becomes the writable workspace.

    `python` is an environment folder (shown at /opt/env), `binds` are further read-only places, `variables` the whole
    environment beside PATH and HOME. Nothing else of the host is shown but the system's programs and the base Python.
    `timed`: no process inside can make its children vanish unwaited for, so that their processor time can be added up.
    `processors` are the numbers of those that it may run on (empty: all), `gpus` of the cards that it sees, `proxy` is
    the Unix socket of the host's proxy, its only way to a network. `layers` are read-only folders that lie under the
    workspace, the topmost first.
    """

    folder: Path
    python: Path | None = None
    binds: tuple[Bind, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    limits: SandboxLimits = SandboxLimits()
    timed: bool = False
    processors: tuple[int, ...] = ()
    gpus: tuple[int, ...] = ()
    proxy: Path | None = None
    layers: tuple[Path, ...] = ()


class Sandbox(Protocol):
    """Turns an argv for the inside into an argv for the host.

    `system` says whose programs are inside: this machine's, or an image's. `workspace`, `home` and `outputs` are
    folders as the inside sees them, `interpreter` a Python in there (this very version, but for an image), `handed` the
    descriptors that the process made of the last `wrap` must inherit. A backend may also have `overlays`, true where it
    mounts `layers`, and `passing`: folders of the sandbox's own that end with it, which snapshots then save.
    """

    name: ClassVar[str]
    isolation: ClassVar[Isolation]
    system: ClassVar[Literal["host", "image"]]
    spec: SandboxSpec
    workspace: str
    home: str
    outputs: str
    interpreter: str
    handed: list[int]

    def __init__(self, spec: SandboxSpec) -> None: ...

    def start(self) -> None:
        """Make what `wrap` needs; raises SandboxError."""

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The host's command line that runs `argv` inside."""

    def meter(self, pid: int) -> Meter:
        """The watch over what runs in the process `pid`, just made from `wrap`: it enforces the spec's limits."""

    def stop(self) -> None:
        """Take away what `start` made; safe to call twice."""

    def inside(self, path: str) -> str:
        """Where the commands see what the spec puts at `path` (itself, but for `local`)."""


def variables(spec: SandboxSpec, home: str, environment: str) -> dict[str, str]:
    """The whole environment of what runs inside; PATH starts with the task's own."""
    first = f"{environment}/bin:" if spec.python else ""
    base = {
        "PATH": f"{first}/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": home,
        "USER": "agent",
        "LOGNAME": "agent",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "PYTHONUNBUFFERED": "1",
    }
    return base | nvidia.variables(spec.gpus) | _threads(spec) | _network(spec) | dict(spec.variables)


def _threads(spec: SandboxSpec) -> dict[str, str]:
    """How many threads the libraries may use: as many as there are processors (torch goes by the first two)."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "NUMBA", "RAYON", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")
    if not spec.processors:
        return {}
    count = str(len(spec.processors))
    named = {f"{name}_THREADS" if name.startswith("TF") else f"{name}_NUM_THREADS": count for name in names}
    return named | {"NPROC": count, "LOKY_MAX_CPU_COUNT": count, "PYTHON_CPU_COUNT": count}  # XLA goes by NPROC


def _network(spec: SandboxSpec) -> dict[str, str]:
    """Where the proxy is, in the names that curl, Python, pip and others know."""
    if not spec.proxy:
        return {}
    names = {f"{name}_PROXY": f"http://127.0.0.1:{PROXY_PORT}" for name in ("HTTP", "HTTPS", "ALL")}
    names["NO_PROXY"] = "localhost,127.0.0.1"
    return names | {name.lower(): value for name, value in names.items()} | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def open_files() -> int:
    """The most files that a process of this user may be allowed to open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def choose(name: str = "auto") -> type[Sandbox]:
    """The backend of that name, nickname or `package.module:attribute`; `auto` is the first that really starts.

    Raises SandboxError where nothing isolates, UsageError for an unknown name.
    """
    if name == "auto":
        from mlgym.sandbox.probe import first

        return first()
    return cast(type[Sandbox], resolve(name, BACKENDS, "sandbox"))


def open_shell(backend: str | type[Sandbox], spec: SandboxSpec) -> Shell:
    """A shell in a new sandbox, not yet started: use it in a `with`, or call `start` and `stop`."""
    return Shell((choose(backend) if isinstance(backend, str) else backend)(spec))
