"""The backend `user`: root gives each sandbox a user of its own, Landlock where there is one, and limits."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from mlgym.errors import SandboxError
from mlgym.records import Isolation
from mlgym.sandbox import ENVIRONMENT, HOME, WORKSPACE, SandboxSpec, places, seccomp, variables, weak
from mlgym.sandbox.bubblewrap import free_uid, give
from mlgym.sandbox.cgroups import Group
from mlgym.sandbox.laid import laid, moved, open_folder, published, published_base, reachable, temporary
from mlgym.sandbox.meter import Meter, watch
from mlgym.sandbox.scratch import scratch
from mlgym.sandbox.uids import clear, sweep


class User:
    """Each sandbox's processes have a user number of their own, and folders that no other number may enter.

    Whatever is shown lies in a folder below the temporary one, as hard links where it is the same file system; the
    environment is laid there once for all. `spec.folder` is a link to the workspace while the sandbox is there.
    """

    name: ClassVar[str] = "user"
    isolation: ClassVar[Isolation] = "partial"
    system: ClassVar[Literal["host", "image"]] = "host"

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.handed: list[int] = []
        self.workspace = self.home = self.outputs = self.interpreter = ""
        self.passing: tuple[str, ...] = ()
        self.uids = (0, 0, 0)  # the sandbox's, the driver's, the undertaker's
        self._place = Path()
        self._shown: dict[str, Path] = {}
        self._moved: list[tuple[Path, Path]] = []
        self._open = contextlib.ExitStack()
        self._ended: list[int] = []
        self.group: Group | None = None

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
            self.passing = (self.home, str(self._place / "t"))
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
            filter=seccomp.program(timed=self.spec.timed, pinned=bool(self.spec.processors), shared=True),
            user=self.uids[0],
            keeper=self.uids[1],
            burier=self.uids[2],
        )
        order = weak.hand(about)
        self.handed += [order, its]
        self.group = Group.make(self.spec.limits)
        entry = self.group.entry() if self.group else []
        return [*entry, self.interpreter, "-I", "-S", "-c", weak.text(), str(order)]

    def meter(self, pid: int) -> Meter:
        """The watch over its processes, its home and its temporary files."""
        return watch(pid, self.spec, Path(self.home), self._place / "t", group=self.group)

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
        if self.group:
            self.group.close()
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
        for bind in self.spec.binds:
            target = bind.target.rstrip("/")
            if target.startswith(f"{WORKSPACE}/"):
                place = Path(self.workspace, target.removeprefix(f"{WORKSPACE}/"))
                place.parent.mkdir(parents=True, exist_ok=True)
            elif target == str(bind.source):
                place = bind.source
                if place in (self.spec.python, base[0]):
                    continue  # laid out elsewhere where it is closed
                if closed := reachable(place):
                    raise SandboxError(f"{closed} is closed to other users: make {place} reachable with chmod o+x.")
            else:
                place = self._shown[target] = shown / target.lstrip("/")
                open_folder(place.parent, shown)
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
