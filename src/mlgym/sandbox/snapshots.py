"""Snapshots of a running sandbox: its workspace, the folders that end with it, and the state of its shell.

Where the kernel lays folders over each other nothing is copied: the workspace becomes a layer that nobody writes to any
more, and the shell goes on in an empty folder on top of it. Elsewhere the program inside archives its own folders.
Either way what runs in the background ends; /dev/shm is not saved.
"""

import contextlib
import itertools
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlgym.errors import SandboxError
from mlgym.sandbox import ENVIRONMENT, WORKSPACE, SandboxSpec, layers
from mlgym.sandbox.scratch import remove, scratch
from mlgym.sandbox.shell import Shell

MB = 1_000_000
STATE_S, STATE_BYTES = 30.0, 10_000_000
# The shell as text that makes another one like it. What bash sets by itself is left out, `set` comes last (`-e`, `-u`
# and `-x` would meddle), functions before aliases (their text has none); the last command sets the exit status.
CAPTURE = r"""( __code=$?; \builtin set +o >|FILE.set; \builtin set +eux; {
builtin shopt -p; builtin declare -f; builtin declare -Fx; builtin compgen -v >|FILE.names
builtin mapfile -t __names <FILE.names
builtin printf '%s\n' 'for __name in $(compgen -e); do case $__name in PWD|SHLVL) ;; *) builtin unset -v "$__name"
esac; done; builtin unset -v __name'
builtin printf 'builtin cd -- %q || builtin cd -- %q\n' "$PWD" "$(builtin pwd -P)"
for __name in "${__names[@]}"; do case $__name in
BASH|BASHOPTS|BASHPID|BASH_A*|BASH_CMDS|BASH_COMMAND|BASH_EXECUTION_STRING|BASH_LINENO|BASH_REMATCH|BASH_SOURCE) ;;
BASH_SUBSHELL|BASH_VERS*|COMP_*|DIRSTACK|EPOCH*|EUID|FUNCNAME|GROUPS|HISTCMD|LINENO|PIPESTATUS|PPID|PWD|RANDOM) ;;
SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID|_|__code|__command|__name|__names) ;;
*) builtin declare -p -- "$__name";; esac; done
builtin umask -p; builtin alias -p; builtin trap -p; builtin printf '%s\n' "$(<FILE.set)"
builtin printf '%s\n' 'builtin echo whole' "case \$- in *e*) ;; *) (exit $__code);; esac"; } >|FILE 2>/dev/null )"""


@dataclass(frozen=True)
class Snapshot:
    """What a shell can go on from.

    `layers` hold the workspace (the topmost first), or `tree` is its archive; `passing` is the archive of the sandbox's
    other folders. `state` makes the shell, None where it could not be saved; `places` are where that shell saw what its
    sandbox shows.
    """

    layers: tuple[Path, ...]
    tree: Path | None
    passing: Path
    state: bytes | None
    places: tuple[str, ...]


class Shelf:
    """The folder in which an episode and its forks have their workspaces and snapshots, until the last lets go of it.

    `how` is "overlay" or "copy" to force one of them; by default it is the first that works.
    """

    def __init__(self, parent: Path, how: str = "") -> None:
        self._parent, self._how = parent, how
        self._open = contextlib.ExitStack()
        self._lock, self._holders, self._numbers = threading.Lock(), 0, itertools.count(1)
        self.folder = Path()

    @contextlib.contextmanager
    def held(self) -> Iterator[Path]:
        """The folder, which stays as long as anyone holds it."""
        with self._lock:
            if not self._holders:
                self.folder = self._open.enter_context(scratch(self._parent))
            self._holders += 1
        try:
            yield self.folder
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._open.close()

    def new(self) -> Path:
        """A fresh path in the folder; its name says nothing, because a sandbox may see it."""
        return self.folder / str(next(self._numbers))

    def snapshot(self, shell: Shell) -> Snapshot:
        """Save the shell's sandbox as it stands; what runs in the background ends. Raises SandboxError."""
        spec, state, passing = shell.sandbox.spec, capture(shell), self.new()
        try:
            if self._overlays(shell):
                archive(shell, passing, kept(shell))
                shell.stop()
                layer = self.new()
                spec.folder.rename(layer)
                saved = Snapshot((layer, *spec.layers), None, passing, state, places(shell))
                begin(shell, replace(spec, layers=saved.layers))
                resume(shell, saved)
            else:
                shell.renew()
                archive(shell, passing, kept(shell))
                tree = self.new()
                archive(shell, tree, [shell.workspace])
                saved = Snapshot((), tree, passing, state, places(shell))
                resume_state(shell, saved)
        except OSError as error:
            raise SandboxError(f"The sandbox cannot be saved: {error.strerror or error}.") from error
        return saved

    def restore(self, shell: Shell, saved: Snapshot) -> None:
        """Take the shell back to a snapshot; what it has done since is gone. Raises SandboxError."""
        spec = shell.sandbox.spec
        shell.stop()
        gone = self.new()
        try:
            with contextlib.suppress(FileNotFoundError):  # an earlier try got no further
                spec.folder.rename(gone)
            begin(shell, replace(spec, layers=saved.layers))
        except OSError as error:
            raise SandboxError(f"The sandbox cannot be taken back: {error.strerror or error}.") from error
        resume(shell, saved)
        with contextlib.suppress(OSError):  # what is left goes with the shelf
            remove(gone)

    def branch(self, shell: Shell, saved: Snapshot, proxy: Path | None = None) -> Shell:
        """Another shell, started at a snapshot, in a sandbox like the one of `shell` but for the way to a network.

        Raises SandboxError.
        """
        spec = replace(shell.sandbox.spec, folder=self.new(), layers=saved.layers, proxy=proxy)
        other = Shell(type(shell.sandbox)(spec))
        try:
            begin(other, spec)
            resume(other, saved)
        except OSError as error:
            self.discard(other)
            raise SandboxError(f"The snapshot cannot be forked: {error.strerror or error}.") from error
        except BaseException:
            self.discard(other)
            raise
        return other

    def forget(self, saved: Snapshot, others: set[Path]) -> None:
        """Remove the files of a snapshot but the layers of `others`; all layers stay while there are forks."""
        with contextlib.suppress(OSError):  # what is left goes with the shelf
            for path in filter(None, (saved.passing, saved.tree)):
                path.unlink(missing_ok=True)
            for layer in set(saved.layers) - others if self._holders == 1 else ():
                remove(layer)

    def discard(self, shell: Shell) -> None:
        """End a shell and remove its workspace."""
        shell.stop()
        for folder in (shell.sandbox.spec.folder, layers.work(shell.sandbox.spec.folder)):
            with contextlib.suppress(OSError):  # what is left goes with the shelf
                remove(folder)

    def _overlays(self, shell: Shell) -> bool:
        """Whether the workspace can become a layer."""
        able = getattr(shell.sandbox, "overlays", False) and len(shell.sandbox.spec.layers) < layers.MOST
        if self._how == "copy" or not able:
            return False
        return bool(layers.marks(self.folder))


def kept(shell: Shell) -> tuple[str, ...]:
    """The folders beside the workspace that are a sandbox's own and end with it."""
    return getattr(shell.sandbox, "passing", ())


def places(shell: Shell) -> tuple[str, ...]:
    """Where the shell sees what its sandbox puts somewhere: no two sandboxes of some backends do so alike."""
    spec, sandbox = shell.sandbox.spec, shell.sandbox
    shown = map(shell.inside, (WORKSPACE, ENVIRONMENT, *(bind.target for bind in spec.binds)))
    return (*shown, sandbox.outputs, *kept(shell))


def here(saved: Snapshot, shell: Shell, text: str) -> str:
    """The text with the places of a snapshot's sandbox replaced by those of another one's."""
    for old, new in sorted(zip(saved.places, places(shell), strict=True), key=lambda pair: -len(pair[0])):
        text = text.replace(old, new) if old else text
    return text


def begin(shell: Shell, spec: SandboxSpec) -> None:
    """Start the shell anew, in a fresh sandbox of its kind with an empty workspace."""
    empty(spec)
    shell.sandbox = type(shell.sandbox)(spec)
    shell.start()


def empty(spec: SandboxSpec) -> None:
    """Make the workspace's folder, as open as the layer below it."""
    spec.folder.mkdir()
    if spec.layers:
        spec.folder.chmod(spec.layers[0].stat().st_mode & 0o7777)


def capture(shell: Shell) -> bytes | None:
    """The state of the shell as a script, None where the shell cannot tell it."""
    path = f"{shell.sandbox.outputs}/state"
    with contextlib.suppress(OSError):
        shell.write(path, b"")
        ran = shell.run(CAPTURE.replace("FILE", shlex.quote(path)), STATE_S)
        state = shell.read(path, STATE_BYTES)
        if ran.status == "ok" and b"builtin echo whole\ncase" in state:
            return state
    return None


def resume(shell: Shell, saved: Snapshot) -> None:
    """Bring a shell that has just started to a snapshot whose layers it has; raises SandboxError."""
    try:
        for path, roots in ((saved.passing, kept(shell)), (saved.tree, [shell.workspace])):
            if path:
                with path.open("rb") as source:
                    shell.load(roots, source)
    except OSError as error:
        raise SandboxError(f"The snapshot cannot be laid out: {error.strerror or error}.") from error
    resume_state(shell, saved)


def resume_state(shell: Shell, saved: Snapshot) -> None:
    """Give a new shell the folder, variables, functions and options that the saved one had, as far as it takes them."""
    path = f"{shell.sandbox.outputs}/state"
    if saved.state is not None:
        state = here(saved, shell, saved.state.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        with contextlib.suppress(OSError):
            shell.write(path, state)
            shell.run(f"builtin . {shlex.quote(path)} 2>/dev/null", STATE_S)


def archive(shell: Shell, path: Path, roots: Sequence[str]) -> None:
    """Have the program inside save folders to a file of the host; what the spec puts into them is left out."""
    spec = shell.sandbox.spec
    without = [WORKSPACE, shell.sandbox.outputs, *(bind.target for bind in spec.binds)]
    with path.open("xb") as out:
        shell.save(roots, [shell.inside(place) for place in without], out, spec.limits.disk_mb * MB)
