"""`mlgym view`: look at runs in a browser, while they run and afterwards, or make a page of them."""

import contextlib
import getpass
import os
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlgym.cache import cache_dir
from mlgym.cli.app import Debug, app, tell
from mlgym.cli.look import last
from mlgym.errors import SourceError, UsageError

if TYPE_CHECKING:
    from mlgym.viewer.app import Server
    from mlgym.viewer.store import Store

PORTS = range(8460, 8480)  # the first that is free, where none is asked for


@app.command()
def view(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Runs, episodes, folders of runs, or 'last'; else ./runs."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help=f"0: any that is free; else {PORTS[0]} or the next."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    names: Annotated[
        list[str] | None, typer.Option("--name", metavar="HOST", help="A further host name of this server.")
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option("--tokens", metavar="FILE", help="Tokens that let readers in, one a line; else one is drawn."),
    ] = None,
    browse: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Whether to open a browser; else on a desktop only.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="OUT", help="Make a page to send instead: one file if OUT ends in .html, else a folder."
        ),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="With --bundle: cut no long texts.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --bundle: replace what is there.")] = False,
    debug: Debug = False,
) -> None:
    """Look at runs in a browser: what agents did, while they do it and afterwards. Ctrl-C ends it.

    It only reads, and loads nothing from elsewhere. Where there is no desktop it prints how to get at the page.
    """
    folders = _folders(paths)
    if bundle:
        return _bundled(folders, bundle, whole, force)
    try:
        from mlgym.guard import is_local, read_tokens
        from mlgym.viewer.app import Server
        from mlgym.viewer.store import Store
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install 'mlgym-env[viewer]'.") from error

    store = _filled(Store(folders, _cache()), folders)
    given = read_tokens(tokens) if tokens else ()
    server = _listening(port, lambda number: Server(store, host=host, port=number, tokens=given, names=names or ()))
    browse = _desktop() if browse is None else browse
    shown = server.address.replace(server.tokens[0], "TOKEN") if given else server.address
    print(f"Viewing at {shown} (Ctrl-C ends it)", flush=True)
    if not is_local(host):
        print(f"What goes to {host} is not encrypted, the token neither: better go through ssh -L.", file=sys.stderr)
    elif not browse:
        print(f"From another machine, type this there and open the same address:\n  {_tunnel(server)}", flush=True)
    if browse:  # in a thread, as some browsers hold their caller; it is answered as soon as the server runs
        threading.Thread(target=webbrowser.open, args=(server.once,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):  # the signal that stopped it, once more
        server.run()


def _bundled(folders: list[Path], out: Path, whole: bool, force: bool) -> None:
    """Make a page of a copy that is scrubbed as `mlgym pack` does it, since a page is sent to others."""
    from collections import Counter

    from mlgym import pack
    from mlgym.disk import guarded
    from mlgym.viewer.bundle import FILE, bundle, counted, free
    from mlgym.viewer.store import Store

    free(out, force)  # before the work
    with tempfile.TemporaryDirectory(prefix="mlgym-page-") as scratch, guarded(Path(scratch)):
        copies, replaced, notes = list[Path](), Counter[str](), dict[str, None]()
        for n, folder in enumerate(_filled(Store(folders), folders).sources):
            (into := Path(scratch) / str(n)).mkdir()
            packed = pack.copied(folder, into, largest=FILE)
            copies.append(packed.file)
            replaced.update(packed.replaced)
            notes |= dict.fromkeys(packed.notes)
        made = bundle(Store(copies), out, whole=whole, force=force)
    for kind, count in sorted(replaced.items()):
        print(f"Replaced: {kind}, {counted(count, 'time')}.")
    for note in notes:
        tell(f"Note: {note}.", sys.stdout)
    if made.cut:
        print(f"Cut: {counted(made.cut, 'long text')}; --whole keeps all.")
    held = f"{counted(made.episodes, 'episode')} with {counted(made.steps, 'step')}, {made.bytes / 1e6:.2f} MB"
    print(f"{made.page}: {held}. It opens from a disk in any browser; look through it before you send it.")


def _cache() -> Path | None:
    """Where the index is kept; None where nothing can be."""
    try:
        return cache_dir() / "viewer"
    except SourceError:
        return None


def _filled(store: "Store", folders: list[Path]) -> "Store":
    """The store, unless there is nothing in it."""
    if not store.keys:
        raise UsageError(f"There is no episode in {', '.join(map(str, folders))}; 'mlgym run TASK' makes one.")
    return store


def _folders(paths: list[Path] | None) -> list[Path]:
    """What is to be looked at; raises UsageError where a folder is not there."""
    found = [last() if path == Path("last") else path for path in paths or [Path("runs")]]
    for path in found:
        if not path.is_dir():
            raise UsageError(f"There is no folder {path}: give a run's folder, or make one with 'mlgym run TASK'.")
    return found


def _listening(port: int | None, start: "Callable[[int], Server]") -> "Server":
    """The server at the port that was asked for, else at the first that is free."""
    for number in PORTS if port is None else ():
        with contextlib.suppress(UsageError):
            return start(number)
    return start(port or 0)


def _desktop() -> bool:
    """Whether a browser can show itself to who types here."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _tunnel(server: "Server") -> str:
    """The command that makes this machine's port one of another machine."""
    asked = os.environ.get("SSH_CONNECTION", "").split()
    host = asked[2] if len(asked) == 4 else socket.gethostname()
    with contextlib.suppress(KeyError, OSError):  # a user without a name, as in containers
        host = f"{getpass.getuser()}@{host}"
    here = server.socket.getsockname()[0]
    return f"ssh -L {server.port}:{f'[{here}]' if ':' in here else here}:{server.port} {host}"
