"""Trees of the host laid out where other users reach them, below the temporary folder."""

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlgym.cache import made
from mlgym.errors import SandboxError
from mlgym.sandbox import places


def temporary() -> Path:
    """The folder for temporary files, which other users must be able to pass; raises SandboxError."""
    folders = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]
    for folder in folders:
        if folder.is_dir() and not any(not each.stat().st_mode & 0o001 for each in (folder, *folder.parents)):
            return folder
    raise SandboxError(f"{folders[0]} is closed to other users: set TMPDIR to a folder that all may pass.")


def reachable(path: Path) -> Path | None:
    """What on the way to a place, or it itself, is closed to other users; None where nothing is."""
    for each in reversed((path, *path.parents)):
        mode = each.stat().st_mode
        needed = 0o005 if each == path and stat.S_ISDIR(mode) else 0o001 if stat.S_ISDIR(mode) else 0o004
        if mode & needed != needed:
            return each
    return None


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
    if not reachable(base):
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
    if base[0] == base[1] and not reachable(environment):
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


def laid(source: Path, target: Path, without: Iterable[Path] = ()) -> None:
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


def open_folder(folder: Path, top: Path) -> None:
    """Make a folder below `top` that all who may enter `top` can enter, whatever this process's umask."""
    for each in reversed((folder, *folder.parents)):
        if top in each.parents and not each.exists():
            each.mkdir()
            each.chmod(0o755)
