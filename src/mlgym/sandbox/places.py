"""What of the host a sandbox shows: the system's programs, the base Python, and nothing that holds data or secrets."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

SYSTEM = ("/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/include", "/usr/local/bin", "/usr/local/lib")
LIBRARIES = ("lib", "lib32", "lib64", "libx32")
SHARED = (
    "zoneinfo",
    "ca-certificates",
    "terminfo",
    "perl",
    "perl5",
    "misc",
    "file",
    "git-core",
    "i18n",
    "mime",
    "locale",
)
CONFIGURED = ("alternatives", "ld.so.cache", "ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "localtime", "mime.types")
HIDDEN = ("R", "node_modules", "google-cloud-sdk", "postgresql")
PACKAGE = Path(__file__).resolve().parent.parent


class Places(NamedTuple):
    """`shown` read-only at their own paths, `links` (path, target), `hidden` folders covered with empty ones."""

    shown: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...]


def base() -> Path:
    """The base Python's program, all links followed: the same version as this one, with no packages."""
    return base_link().resolve()


@cache
def places() -> Places:
    """The places of this machine, looked up once per process."""
    shown, links = [], []
    for name in ("bin", "sbin", *LIBRARIES):
        top, inner = Path("/", name), Path("/usr", name)
        if inner.is_dir() and not inner.is_symlink():
            shown.append(str(inner))
        elif inner.is_symlink():
            links.append((str(inner), str(inner.readlink())))
        if top.is_symlink():
            links.append((str(top), str(top.readlink())))
        elif top.is_dir():
            shown.append(str(top))
    shown += [path for path in SYSTEM if Path(path).is_dir() and path not in shown]
    shown += [str(path) for name in SHARED if (path := Path("/usr/share", name)).exists()]
    shown += [str(path) for name in CONFIGURED if (path := Path("/etc", name)).exists()]
    for prefix in {Path(sys.base_prefix), base().parent.parent}:
        parts = [prefix / name for name in ("bin", "include", *LIBRARIES)]
        shown += [str(each) for each in parts if each.is_dir() and not within(each, shown)]
    links += [(str(path), str(path.readlink())) for path in chain(base_link()) if not within(path, shown)]
    hidden = {folder for path in shown for folder in packages(Path(path)) if within(folder, shown)}
    if within(PACKAGE, shown) and not within(PACKAGE, [str(folder) for folder in hidden]):
        hidden.add(PACKAGE)
    return Places(tuple(shown), tuple(links), tuple(sorted(map(str, hidden))))


def base_link() -> Path:
    """The base Python's program as environments name it, which may be a link."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable)


def chain(path: Path) -> Iterator[Path]:
    """The links from a path to the file that it means, the path first."""
    for _ in range(40):
        if not path.is_symlink():
            return
        yield path
        path = Path(os.path.normpath(path.parent / path.readlink()))


def within(path: Path, shown: list[str]) -> bool:
    """Whether the path lies in one of these folders."""
    return any(path == Path(place) or Path(place) in path.parents for place in shown)


def packages(folder: Path) -> Iterator[Path]:
    """The folders below a folder of programs or libraries that hold packages: of Python, R, node."""
    if folder.name.startswith("lib"):
        for name in HIDDEN:
            if (folder / name).is_dir():
                yield folder / name
        for python in folder.glob("python*"):
            for name in ("site-packages", "dist-packages"):
                if (python / name).is_dir():
                    yield (python / name).resolve()
