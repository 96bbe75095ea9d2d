"""The backend `landlock`: Landlock with its scopes, a filter of system calls and limits, for an ordinary user."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from mlgym.errors import SandboxError
from mlgym.records import Isolation
from mlgym.sandbox import ENVIRONMENT, HOME, WORKSPACE, SandboxSpec, places, seccomp, variables, weak
from mlgym.sandbox.cgroups import Group
from mlgym.sandbox.meter import Meter, watch
from mlgym.sandbox.scratch import NAME, scratch

SCOPES = 6  # the first version of Landlock that keeps signals and abstract sockets in
SOCKETS = ("/run", "/tmp", "/var/tmp", "/dev", "/mnt", "/home")


class Landlock:
    """Commands run as this user, who can use listed places only and reach none of the user's processes."""

    name: ClassVar[str] = "landlock"
    isolation: ClassVar[Isolation] = "partial"
    system: ClassVar[Literal["host", "image"]] = "host"

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.handed: list[int] = []
        self.workspace = str(spec.folder.resolve())
        self.home = self.outputs = self.temporary = ""
        self.passing: tuple[str, ...] = ()
        self.interpreter = str(places.base())
        self._open = contextlib.ExitStack()
        self._ended: list[int] = []
        self.group: Group | None = None

    def start(self) -> None:
        """Make a home and a folder for temporary files; raises SandboxError."""
        weak.known()
        if os.geteuid() == 0:
            raise SandboxError("The sandbox 'landlock' is for ordinary users: as root take 'user'.")
        if weak.version() < SCOPES:
            raise SandboxError(f"The kernel's Landlock has version {weak.version()}; {SCOPES} is needed (Linux 6.12).")
        try:
            place = self._open.enter_context(scratch(Path(tempfile.gettempdir()))).resolve()
            for name in ("home", "t"):
                (place / name).mkdir(0o700)
            self.home, self.temporary = str(place / "home"), str(place / "t")
            self.outputs = f"{self.home}/.output"
            self.passing = (self.home, self.temporary)
            for target, source in self._shown().items():
                link = Path(self.workspace, target.removeprefix(f"{WORKSPACE}/"))
                if target.startswith(f"{WORKSPACE}/") and not link.is_symlink():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(source)
        except OSError as error:
            raise SandboxError(f"The folders of a sandbox cannot be made: {error}.") from error

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The command line; its orders are handed over by a descriptor."""
        given = variables(self.spec, self.home, self.inside(ENVIRONMENT)) | {"TMPDIR": self.temporary}
        mine, its = os.pipe()
        self._ended.append(mine)
        deaf = any(sockets())
        about = weak.orders(
            self.spec,
            argv,
            given,
            self.workspace,
            {},
            umask=0o077,
            ended=its,
            domain=weak.domain(self._rules()),
            filter=seccomp.program(
                timed=self.spec.timed, pinned=bool(self.spec.processors), shared=True, same=True, deaf=deaf
            ),
        )
        order = weak.hand(about)
        self.handed += [order, its]
        self.group = Group.make(self.spec.limits)
        entry = self.group.entry() if self.group else []
        return [*entry, self.interpreter, "-I", "-S", "-c", weak.text(), str(order)]

    def meter(self, pid: int) -> Meter:
        """The watch over its processes, its home and its temporary files."""
        return watch(pid, self.spec, Path(self.home), Path(self.temporary), group=self.group)

    def stop(self) -> None:
        """Wait until nothing of the sandbox runs, and take its folders away."""
        while self._ended:
            fd = self._ended.pop()
            try:
                if not weak.buried(fd):
                    raise SandboxError("Processes of a sandbox are left: its undertaker does not answer.")
            finally:
                os.close(fd)
        if self.group:
            self.group.close()
        with contextlib.suppress(OSError):  # what is left is swept later
            self._open.close()

    def inside(self, path: str) -> str:
        """The host's path of what other backends show at `path`."""
        found = {WORKSPACE: self.workspace, HOME: self.home}
        shown = {target: str(source) for target, source in self._shown().items()}
        found |= {target: source for target, source in shown.items() if not target.startswith(f"{WORKSPACE}/")}
        for place in sorted(found, key=len, reverse=True):
            if path == place or path.startswith(f"{place}/"):
                return found[place] + path[len(place) :]
        return path

    def _shown(self) -> dict[str, Path]:
        """What the spec shows: target and source."""
        shown = {bind.target.rstrip("/"): bind.source.resolve() for bind in self.spec.binds}
        return shown | ({ENVIRONMENT: self.spec.python} if self.spec.python else {})

    def _rules(self) -> Iterator[tuple[str, int]]:
        """The rules beside the system's: what is shown in the place of something else hides that."""
        shown = self._shown()
        hidden = [Path(target) for target, source in shown.items() if target != str(source)]
        for source in shown.values():
            yield from weak.without(source, hidden)
        for path in (self.workspace, self.home, self.temporary):
            yield path, weak.ALL


def sockets() -> Iterator[str]:
    """Unix sockets of this user's, or open to it, that a sandbox could connect to by their paths.

    Landlock does not keep them apart (before its version 9), and through some of them a desktop or a container's engine
    runs any command: where there is one, connecting is refused altogether.
    """
    listed = [line.split()[-1] for line in _lines("/proc/net/unix")[1:] if "/" in line]
    mounted = [line.split()[4] for line in _lines("/proc/self/mountinfo")]
    folders = [*SOCKETS, os.environ.get("XDG_RUNTIME_DIR") or "/run"]
    beside = [str(path) for folder in folders for path in _files(Path(folder), 3)]
    for path in {*listed, *mounted, *beside}:
        with contextlib.suppress(OSError):
            if Path(path).is_socket() and os.access(path, os.W_OK) and not _own(path):
                yield path


def _own(path: str) -> bool:
    """Whether the path lies in a folder of a sandbox."""
    return any(NAME.fullmatch(part) for part in Path(path).parts)


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """What is no folder, so many levels down."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
        elif depth > 1:
            yield from _files(Path(entry.path), depth - 1)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
