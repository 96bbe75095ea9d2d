"""The backends `docker` and `podman`: a container each, by the engine's command line.

Its first process is the driver, spoken to through the standard input and output of `docker run`. It sees an image with
the task's packages, and of this machine only the workspace and what else the specification names.
"""

import base64
import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from mlgym.errors import SandboxError
from mlgym.records import Isolation
from mlgym.sandbox import (
    ENVIRONMENT,
    HOME,
    PROXY,
    WORKSPACE,
    SandboxSpec,
    images,
    open_files,
    scratch,
    seccomp,
    variables,
)
from mlgym.sandbox.bubblewrap import HOME_MB, SHARED_MB, TEMPORARY_MB, free_uid, give, readable
from mlgym.sandbox.container_meter import ContainerMeter
from mlgym.sandbox.engine import Engine, call, command, engine, removed
from mlgym.sandbox.meter import Meter
from mlgym.sandbox.scratch import namespace, started

# A container's name tells the pid, the start and the pid namespace of the process that it belongs to.
LABEL, NAME = "mlgym-sandbox", re.compile(r"mlgym-(\d+)-(\d+)-(\d+)-[0-9a-f]+")
PRELUDE = (
    'echo 1000 >/proc/self/oom_score_adj;ulimit -c 0 -d "$1" -f "$2" -n "$3";[ "$4" = 0 ] || ulimit -u "$4";'
    'cd "$5";shift 5;exec "$@"'
)
# Docker's own filter of system calls stays, ours comes on top: the process that becomes the driver asks for it.
CONFINE = """import base64,ctypes,os,sys
code=base64.b64decode(sys.argv[1])
class Filter(ctypes.Structure):_fields_=[('count',ctypes.c_ushort),('code',ctypes.c_char_p)]
libc=ctypes.CDLL(None,use_errno=True)
if libc.prctl(22,2,ctypes.byref(Filter(len(code)//8,code)),0,0):raise OSError(ctypes.get_errno(),'no filter of calls')
os.execvp(sys.argv[2],sys.argv[2:])"""


class Docker:
    """Each sandbox is a container of Docker: no network, no capabilities, a read-only root, its own user number."""

    name: ClassVar[str] = "docker"
    isolation: ClassVar[Isolation] = "full"
    system: ClassVar[Literal["host", "image"]] = "image"
    without_sys: ClassVar[tuple[str, str]] = ("--tmpfs", "/sys:ro,size=4k,mode=755")
    workspace, home, outputs, interpreter = WORKSPACE, HOME, f"{HOME}/.output", images.PYTHON
    passing: ClassVar[tuple[str, ...]] = (HOME, "/tmp")  # folders of its own that end with it

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.handed: list[int] = []
        self.image = self.container = ""
        self.user, self.engine = (1000, 1000), Engine("", False)
        self._folders = contextlib.ExitStack()
        self._texts = Path()

    def start(self) -> None:
        """Find the image or build it, give the workspace to the sandbox's own user; raises SandboxError."""
        self.engine = engine(self.name)
        if not seccomp.program(self.engine.machine):
            raise SandboxError(f"No filter of system calls is known for {self.engine.machine}: choose another sandbox.")
        self.image = images.image(self.name, self.spec.python)
        sweep(self.name)
        self._own()
        pid = os.getpid()
        self.container = f"mlgym-{pid}-{started(pid)}-{namespace()}-{secrets.token_hex(6)}"
        self._texts = self._folders.enter_context(scratch(Path(tempfile.gettempdir())))
        self._texts.chmod(0o755)
        for name, text in self._files().items():
            (self._texts / name).write_text(text)
            (self._texts / name).chmod(0o444)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The command line of `docker run`, which speaks for the container's first process."""
        limits = self.spec.limits
        # Without root the engine may have no control groups to count processes by, but a namespace of users of its own.
        counted = limits.processes * self.engine.rootless
        numbers = [limits.memory_mb * 1024, limits.file_mb * 1024, min(limits.open_files, open_files())]
        prelude = ["/bin/bash", "-c", PRELUDE, "start", *map(str, numbers), str(counted), WORKSPACE]
        pinned = bool(self.spec.processors)
        code = base64.b64encode(seccomp.program(self.engine.machine, self.spec.timed, pinned=pinned)).decode()
        confine = [self.interpreter, "-I", "-S", "-c", CONFINE, code]
        given = [f"{key}={value}" for key, value in variables(self.spec, HOME, ENVIRONMENT).items()]
        options = [*self.options(), "--entrypoint", "/usr/bin/env", self.image, "-i", *given]
        return [*command(self.name, "run", *options), *prelude, *confine, *argv]

    def meter(self, pid: int) -> Meter:
        """The watch over the container; `pid` is only the engine's program that speaks for it."""
        return ContainerMeter(self.name, self.container, self.spec, pid)

    def stop(self) -> None:
        """End the container, whatever became of the process that `wrap` describes."""
        if self.container:
            removed(self.name, [self.container])
        self.container = ""
        with contextlib.suppress(OSError):  # what is left is swept later
            self._folders.close()

    def inside(self, path: str) -> str:
        """The path itself."""
        return path

    def options(self) -> Iterator[str]:
        """The options of `run`."""
        limits = self.spec.limits
        yield from ("--rm", "--interactive", "--name", self.container, "--label", LABEL)
        yield from ("--pull", "never", "--log-driver", "none", "--hostname", "sandbox", "--network", "none")
        yield from ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
        yield from ("--user", f"{self.user[0]}:{self.user[1]}", "--pids-limit", str(limits.processes))
        yield from ("--memory", f"{limits.memory_mb}m", "--memory-swap", f"{limits.memory_mb}m")
        if self.spec.processors:
            yield from ("--cpuset-cpus", ",".join(map(str, self.spec.processors)))
        yield from self.cards()
        if not self.spec.gpus:  # their drivers look into /sys
            yield from self.without_sys
        # They count as the container's memory: all full, they leave an eighth of it, or it would be killed as a whole.
        for size, part, folder in ((SHARED_MB, 2, "/dev/shm"), (TEMPORARY_MB, 4, "/tmp"), (HOME_MB, 8, HOME)):
            size = min(size, limits.memory_mb // part)
            yield from ("--tmpfs", f"{folder}:rw,exec,nosuid,nodev,size={size}m,mode=1777")
        yield from ("--mount", f"type=bind,source={self.spec.folder},target={WORKSPACE}")
        for name in self._files():
            yield from ("--mount", f"type=bind,source={self._texts / name},target=/etc/{name},readonly")
        for bind in self.spec.binds:
            yield from ("--mount", f"type=bind,source={bind.source},target={bind.target},readonly")
        if self.spec.proxy:
            yield from ("--mount", f"type=bind,source={self.spec.proxy},target={PROXY},readonly")

    def cards(self) -> Iterator[str]:
        """The options that show the specification's GPUs."""
        if self.spec.gpus:
            yield from ("--gpus", f'"device={",".join(map(str, self.spec.gpus))}"')

    def _own(self) -> None:
        """Choose the user inside, such that the host can clear away what it leaves in the workspace."""
        if self.engine.rootless:
            self.user = self.mapped()
        elif os.geteuid() == 0:
            uid = free_uid()
            self.user = (uid, uid)
            give(self.spec.folder, uid)
            for bind in self.spec.binds:
                readable(bind.source)
        else:
            self.user = (os.geteuid(), os.getegid())
        for bind in self.spec.binds:
            _place(self.spec.folder, bind.target, bind.source.is_dir())

    def mapped(self) -> tuple[int, int]:
        """The user and the group inside that are this process's own outside, where the engine runs without root."""
        return 0, 0

    def _files(self) -> dict[str, str]:
        """Files of /etc that would otherwise tell of the image, or of this machine."""
        user, group = self.user
        return {
            "passwd": f"root:x:0:0::/root:/bin/sh\nagent:x:{user}:{group}::{HOME}:/bin/bash\n",
            "group": f"root:x:0:\nagent:x:{group}:\n",
            "resolv.conf": "",
            "hostname": "",
        }


class Podman(Docker):
    """The same by Podman, which needs no daemon; without root it maps this user to one of its own inside."""

    name: ClassVar[str] = "podman"
    without_sys: ClassVar[tuple[str, str]] = ("--security-opt", "mask=/sys")

    def options(self) -> Iterator[str]:
        """The options of `run`: no tmpfs beside ours, and no key presses that end the connection."""
        yield from super().options()
        yield from ("--read-only-tmpfs=false", "--detach-keys=")
        if self.engine.rootless:
            yield "--userns=keep-id:uid=1000,gid=1000"

    def cards(self) -> Iterator[str]:
        """The options that show the specification's GPUs, by the names of the Container Device Interface."""
        for gpu in self.spec.gpus:
            yield from ("--device", f"nvidia.com/gpu={gpu}")

    def mapped(self) -> tuple[int, int]:
        """As `--userns` says."""
        return 1000, 1000


def sweep(program: str) -> None:
    """End the containers whose owners are dead, as far as this process can know them."""
    names = call(program, "ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}").split()
    owners = [(name, [int(part) for part in match.groups()]) for name in names if (match := NAME.fullmatch(name))]
    dead = [name for name, (pid, began, space) in owners if space == namespace() and started(pid) != began]
    removed(program, dead)


def _place(folder: Path, target: str, is_folder: bool) -> None:
    """Make the place of a bind in the workspace, which the engine would make as root; no link is followed."""
    if not target.startswith(f"{WORKSPACE}/"):
        return
    *parents, name = PurePosixPath(target).relative_to(WORKSPACE).parts
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in [*parents, *([name] if is_folder else [])]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        if not is_folder:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644, dir_fd=here))
    except OSError as error:
        raise SandboxError(f"{target} cannot be shown: the workspace has something else there ({error}).") from error
    finally:
        os.close(here)
