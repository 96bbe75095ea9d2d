"""The backend `local`: no isolation at all, for who asks for it by name."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from mlgym.errors import SandboxError
from mlgym.records import Isolation
from mlgym.sandbox import ENVIRONMENT, HOME, WORKSPACE, SandboxSpec, open_files, scratch, variables
from mlgym.sandbox.cgroups import Group
from mlgym.sandbox.meter import Meter, watch

# The number of processes is not limited: it would count all that this user runs.
PRELUDE = 'ulimit -c 0 -d "$1" -f "$2" -n "$3";cd "$4";shift 4;exec "$@"'


class Local:
    """Runs commands as this user on this machine, with an environment of their own and nothing else between."""

    name: ClassVar[str] = "local"
    isolation: ClassVar[Isolation] = "none"
    system: ClassVar[Literal["host", "image"]] = "host"
    warning: ClassVar[str] = (
        "The sandbox 'local' isolates nothing: the agent can read your files and your keys, and use your network."
    )

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.handed: list[int] = []
        self.workspace = str(spec.folder.resolve())
        self.home = str(spec.folder.resolve().parent)
        self.interpreter = str(Path(sys.executable).resolve())
        self.outputs = ""
        self.group: Group | None = None
        self._folders = contextlib.ExitStack()

    def start(self) -> None:
        """Make the folder for temporary files and outputs, copy what belongs into the workspace; raises SandboxError.

        A copy, since nothing would keep the agent from changing the source through a link.
        """
        try:
            self.outputs = str(self._folders.enter_context(scratch(Path(tempfile.gettempdir()))))
            for bind in self.spec.binds:
                if bind.target.startswith(f"{WORKSPACE}/"):
                    copy(bind.source, self.spec.folder / bind.target.removeprefix(f"{WORKSPACE}/"))
        except OSError as error:
            raise SandboxError(f"No temporary folder or no copy of the data can be made: {error}.") from error

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The same argv in an environment of its own."""
        given = variables(self.spec, self.home, self.inside(ENVIRONMENT))
        given["TMPDIR"] = self.outputs
        limits = self.spec.limits
        numbers = [limits.memory_mb * 1024, limits.file_mb * 1024, min(limits.open_files, open_files())]
        prelude = ["/bin/bash", "-c", PRELUDE, "start", *map(str, numbers), self.workspace]
        self.group = Group.make(limits)
        entry = self.group.entry() if self.group else []
        return [*entry, "/usr/bin/env", "-i", *(f"{key}={value}" for key, value in given.items()), *prelude, *argv]

    def meter(self, pid: int) -> Meter:
        """The watch over its processes."""
        return watch(pid, self.spec, Path(self.outputs), group=self.group)

    def stop(self) -> None:
        """Take the temporary folder and the control group away."""
        if self.group:
            self.group.close()
        with contextlib.suppress(OSError):  # what is left is swept later
            self._folders.close()

    def inside(self, path: str) -> str:
        """The host's path of what other backends show at `path`."""
        places = {WORKSPACE: self.workspace, HOME: self.home}
        outside = (bind for bind in self.spec.binds if not bind.target.startswith(f"{WORKSPACE}/"))
        places |= {bind.target.rstrip("/"): str(bind.source) for bind in outside}
        if self.spec.python:
            places[ENVIRONMENT] = str(self.spec.python)
        for place in sorted(places, key=len, reverse=True):
            if path == place or path.startswith(place + "/"):
                return places[place] + path[len(place) :]
        return path


def copy(source: Path, target: Path) -> None:
    """A file or folder copied; what was there is replaced, file by file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
