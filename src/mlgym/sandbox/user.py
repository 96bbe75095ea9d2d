"""The backend `user`: root gives each sandbox an unprivileged user of its own, Landlock where there is one, and limits."""

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from mlgym.cache import made
from mlgym.errors import SandboxError
from mlgym.records import Isolation
from mlgym.sandbox import ENVIRONMENT, WORKSPACE, SandboxSpec, places, seccomp, variables, weak
from mlgym.sandbox.bubblewrap import free_uid, give
from mlgym.sandbox.meter import Meter, watch
from mlgym.sandbox.scratch import NAME, namespace, remove, scratch, started

HOME = "/home/agent"
OPEN_TO_ALL = ("/dev/shm", "/tmp", "/var/tmp")
CLEARING_S = 10.0


class User:
    """Each sandbox's processes have a user number of their own, and folders that no other number may enter.

    Whatever is shown lies in a folder below the temporary one, as hard links where it is the same file system; the
    environment is laid there once for all. `spec.folder` is a link to the workspace while the sandbox is there.
    """

    name: ClassVar[str] = "user"
    isolation: ClassVar[Isolation] = "partial"

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.handed: list[int] = []
        self.workspace = self.home = self.outputs = self.interpreter = ""
        self.uids = (0, 0, 0)  # the sandbox's, the driver's, the undertaker's
        self._place = Path()
        self._shown: dict[str, Path] = {}
        self._moved: list[tuple[Path, Path]] = []
        self._open = contextlib.ExitStack()
        self._ended: list[int] = []

    def start(self) -> None:
        """Lay out the folders; raises SandboxError."""
        weak.known()
        if os.geteuid() != 0:
            raise SandboxError("The sandbox 'user' needs root, who may become another user: take 'landlock'.")
        try:
            parent = temporary()
            sweep(parent)
            self.uids = (free_uid(), free_uid(), free_uid())
            self._place = self._open.enter_context(scratch(parent))
            self._place.chmod(0o711)
            base = published_base(parent)
            self.interpreter = str(moved(places.base(), base))
            home = self._place / "home"
            self.home, self.workspace, self.outputs = str(home), str(home / "workspace"), str(home / ".output")
            for name in ("home", "t"):
                (self._place / name).mkdir(0o700)
            self._move(self.spec.folder, home / "workspace")
            give(home, self.uids[0])
            give(self._place / "t", self.uids[0])
            self._show(parent, base)
        except OSError as error:
            raise SandboxError(f"The folders of a sandbox cannot be made: {error}.") from error

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The command line; its orders are handed over by a descriptor."""
        given = variables(self.spec, self.home, self.inside(ENVIRONMENT)) | {"TMPDIR": str(self._place / "t")}
        if self.interpreter != str(places.base()):  # a library that it needs is looked for where it was installed
            given["LD_LIBRARY_PATH"] = str(Path(self.interpreter).parent.parent / "lib")
        mine, its = os.pipe()
        self._ended.append(mine)
        about = weak.orders(
            self.spec,
            argv,
            given,
            self.workspace,
            {"NPROC": self.spec.limits.processes},
            umask=0o022,
            ended=its,
            domain=weak.domain(self._rules()) if weak.version() else (),
            filter=seccomp.program(timed=self.spec.timed, shared=True),
            user=self.uids[0],
            keeper=self.uids[1],
            burier=self.uids[2],
        )
        order = weak.hand(about)
        self.handed += [order, its]
        return [self.interpreter, "-I", "-S", "-c", weak.text(), str(order)]

    def meter(self, pid: int) -> Meter:
        """The watch over its processes, its home and its temporary files."""
        return watch(pid, self.spec, Path(self.home), self._place / "t")

    def stop(self) -> None:
        """End what is left of the sandbox's users, give the workspace back and take the folders away."""
        while self._ended:
            fd = self._ended.pop()
            weak.buried(fd)
            os.close(fd)
        if self.uids[0]:
            clear(self.uids)
        while self._moved:
            source, target = self._moved.pop()
            with contextlib.suppress(OSError):
                source.unlink()
                shutil.move(target, source)
        with contextlib.suppress(OSError):  # what is left is swept later
            self._open.close()

    def inside(self, path: str) -> str:
        """The host's path of what other backends show at `path`."""
        found = {WORKSPACE: self.workspace, HOME: self.home} | {key: str(value) for key, value in self._shown.items()}
        for place in sorted(found, key=len, reverse=True):
            if path == place or path.startswith(f"{place}/"):
                return found[place] + path[len(place) :]
        return path

    def _move(self, source: Path, target: Path) -> None:
        """Move a folder of the host's to where it is reached, and leave a link to it."""
        shutil.move(source, target)
        source.symlink_to(target)
        self._moved.append((source, target))

    def _show(self, parent: Path, base: tuple[Path, Path]) -> None:
        """Lay out what the spec shows, below a folder that only root and the sandbox's user may enter."""
        shown = self._place / "shown"
        shown.mkdir(0o750)
        os.chown(shown, 0, self.uids[0])
        if self.spec.python:
            self._shown[ENVIRONMENT] = published(parent, self.spec.python.resolve(), base)
        for number, bind in enumerate(self.spec.binds):
            target = bind.target.rstrip("/")
            if target.startswith(f"{WORKSPACE}/"):
                place = Path(self.workspace, target.removeprefix(f"{WORKSPACE}/"))
                place.parent.mkdir(parents=True, exist_ok=True)
            elif target == str(bind.source):
                place = bind.source
                if closed := weak.reachable(place):
                    raise SandboxError(f"{closed} is closed to other users: make {place} reachable with chmod o+x.")
            else:
                place = shown / str(number)
                self._shown[target] = place
            if bind.live:
                self._move(bind.source, place)
                place.chmod(0o755)
            elif place != bind.source:
                laid(bind.source, place)

    def _rules(self) -> Iterator[tuple[str, int]]:
        """The rules beside the system's."""
        targets = {bind.target.rstrip("/"): bind.source for bind in self.spec.binds}
        hidden = [Path(target) for target, source in targets.items() if target != str(source)]
        own = [source for target, source in targets.items() if target == str(source)]
        for source in (*own, *self._shown.values(), Path(self.interpreter).parent.parent):
            if not source.is_relative_to("/usr"):
                yield from weak.without(source, hidden)
        yield str(self._place / "shown"), weak.USE
        for path in (self.home, str(self._place / "t")):
            yield path, weak.ALL


def temporary() -> Path:
    """The folder for temporary files, which other users must be able to pass; raises SandboxError."""
    folders = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]
    for folder in folders:
        if folder.is_dir() and not any(not each.stat().st_mode & 0o001 for each in (folder, *folder.parents)):
            return folder
    raise SandboxError(f"{folders[0]} is closed to other users: set TMPDIR to a folder that all may pass.")


def common(parent: Path) -> Path:
    """Root's own folder for what all sandboxes share; one that somebody else has made is refused."""
    folder = parent / f"mlgym-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o711)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise SandboxError(f"{folder} is not root's alone: remove it.")
    folder.chmod(0o711)
    return folder


def published_base(parent: Path) -> tuple[Path, Path]:
    """The base Python's folder and where other users reach it: itself, or a copy without packages, made once."""
    base = places.base()
    prefix = base.parent.parent
    if not weak.reachable(base):
        return prefix, prefix
    hidden = {path for part in ("lib", "lib64") for path in places.packages(prefix / part)}

    def make(folder: Path) -> None:
        for part in ("bin", "include", *places.LIBRARIES):
            if (prefix / part).is_dir():
                laid(prefix / part, folder / part, without=hidden)

    name = hashlib.sha256(f"{prefix} {base.stat().st_mtime_ns}".encode()).hexdigest()[:16]
    return prefix, made(common(parent) / name, make, what="a Python that other users may use")


def published(parent: Path, environment: Path, base: tuple[Path, Path]) -> Path:
    """Where other users reach an environment: itself, or a copy made once that leads to the published base Python."""
    if base[0] == base[1] and not weak.reachable(environment):
        return environment

    def make(folder: Path) -> None:
        laid(environment, folder)
        for path in (folder / "bin").iterdir():
            if path.is_symlink() and base[0] in path.readlink().parents:
                link = moved(path.readlink(), base)
                path.unlink()
                path.symlink_to(link)
        if (config := folder / "pyvenv.cfg").is_file():
            text = config.read_text().replace(str(base[0]), str(base[1]))
            config.unlink()  # it may be the very file of the original
            config.write_text(text)
            config.chmod(0o644)

    about = environment.stat()
    name = hashlib.sha256(f"{environment} {about.st_ino} {about.st_mtime_ns} {base[1]}".encode()).hexdigest()[:16]
    return made(common(parent) / name, make, what="an environment that other users may use")


def moved(path: Path, base: tuple[Path, Path]) -> Path:
    """A path of the base Python's as it is at the other place."""
    return base[1] / path.relative_to(base[0])


def laid(source: Path, target: Path, without: frozenset[Path] | set[Path] = frozenset()) -> None:
    """Show a file or a tree at another place: hard links where they can be, else copies; links stay links."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(exist_ok=True)
        target.chmod(0o755)
        for child in source.iterdir():
            if child not in without:
                laid(child, target / child.name, without)
    elif stat.S_ISREG(mode := source.stat().st_mode):
        if mode & 0o004:
            with contextlib.suppress(OSError):
                os.link(source, target)
                return
        shutil.copyfile(source, target)
        target.chmod(0o755 if mode & 0o100 else 0o644)


def clear(uids: Sequence[int]) -> None:
    """End all processes of these users, and remove what they left where all may write; raises SandboxError."""
    end = time.monotonic() + CLEARING_S
    while left := list(owned(uids)):
        if time.monotonic() > end:
            raise SandboxError(f"{len(left)} processes of a sandbox cannot be ended.")
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        time.sleep(0.01)
    for folder in map(Path, OPEN_TO_ALL):
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                if entry.stat(follow_symlinks=False).st_uid in uids:
                    if entry.is_dir(follow_symlinks=False):
                        remove(Path(entry.path))
                    else:
                        Path(entry.path).unlink()


def owned(uids: Sequence[int]) -> Iterator[int]:
    """The living processes of these users."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{name}/status").read_text(errors="replace")
                fields = {line.split(":")[0]: line.split()[1:] for line in status.splitlines() if ":" in line}
                if fields["State"][0] not in "ZX" and {int(uid) for uid in fields["Uid"]} & set(uids):
                    yield int(name)


def sweep(parent: Path) -> None:
    """End what dead processes of this package have left running; their folders are removed by `scratch`."""
    for entry in parent.iterdir():
        match = NAME.fullmatch(entry.name)
        if match and int(match[3]) == namespace() and started(int(match[1])) != int(match[2]):
            with contextlib.suppress(OSError):
                uid = (entry / "home").lstat().st_uid
                if entry.lstat().st_uid == os.geteuid() and uid != os.geteuid():
                    clear([uid])
