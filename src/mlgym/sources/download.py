"""One file from an address: resumed where it was interrupted, with progress, and the checksum that its server tells."""

import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from mlgym.cache import Say, cache_dir, offline
from mlgym.errors import SourceError

CHUNK = 1 << 20
TIMEOUT_S = 30.0
TRIES = 5  # in a row without a single new byte
PAUSE_S = 1.0  # before the second try, doubled for each further one
TELL_S = 10.0
LINKED = "X-Linked-ETag"  # the hub's sha256 of a large file, told before it sends one elsewhere


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows, and keeps the checksum that was told on the way."""

    linked = ""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        self.linked = self.linked or str(headers.get(LINKED, ""))
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def get(url: str, path: Path, *, what: str, size_mb: float | None, say: Say) -> str:
    """Fetch `url` into `path`; returns the sha256 that the server promised, empty where it promised none.

    What was had before an interruption stays in the cache and is gone on with. Raises SourceError.
    """
    if offline():
        raise SourceError(f"{what} is not in the cache and MLGYM_OFFLINE is set; run `mlgym prepare` once without it.")
    folder = cache_dir() / "downloads"
    folder.mkdir(exist_ok=True)
    part = folder / f"{sha256(url.encode()).hexdigest()[:16]}.part"
    say(f"Fetching {path.name}{f', {size_mb:,.0f} MB' if size_mb else ''}, from {_host(url)}.")
    failures = 0
    while True:
        before = _size(part)
        try:
            promised = _go_on(url, part, path.name, say)
            break
        except (OSError, HTTPException) as error:
            failures = 0 if _size(part) > before else failures + 1
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)
            if failures == TRIES or refused:
                had = f" after {before / 1e6:,.0f} MB; the same command goes on from there" if before else ""
                raise SourceError(f"{what} could not be had ({_reason(error)}){had}.") from error
            time.sleep(PAUSE_S * 2**failures)
    part.rename(path) if part.stat().st_dev == path.parent.stat().st_dev else shutil.move(part, path)
    return promised


def _go_on(url: str, part: Path, name: str, say: Say) -> str:
    """Append to `part` what is missing, from the start where the server's file has changed or it cannot go on."""
    tag = part.with_suffix(".etag")
    had = _size(part)
    request = urllib.request.Request(url)
    if had:
        request.add_header("Range", f"bytes={had}-")
        if tag.exists() and (seen := tag.read_text()):
            request.add_header("If-Range", seen)
    redirects = _Redirects()
    try:
        response = urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:  # "range not satisfiable": nothing was missing, or the file has changed
            raise
        part.unlink()
        raise OSError("the server has another file now") from error
    with response:
        total = _total(response.headers, had if response.status == 206 else 0)
        _room(part.parent, total - _size(part))
        tag.write_text(response.headers.get("ETag", ""))
        with part.open("ab" if response.status == 206 else "wb") as out:
            _copy(response, out, total, name, say)
        if total and _size(part) < total:
            raise OSError("the connection was lost")
        linked = redirects.linked or response.headers.get(LINKED, "")
    found = re.search(r"[0-9a-f]{64}", linked)
    return found[0] if found else ""


def _copy(response: Any, out: IO[bytes], total: int, name: str, say: Say) -> None:
    told = time.monotonic()
    while data := response.read(CHUNK):
        out.write(data)
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            say(f"{name}: {out.tell() / 1e6:,.0f}{f' of {total / 1e6:,.0f}' if total else ''} MB")


def _total(headers: Mapping[str, str], had: int) -> int:
    """The size of the whole file in bytes, 0 where it is not told."""
    length = headers.get("Content-Length", "")
    return int(length) + had if length.isdigit() else 0


def _room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SourceError(
            f"The cache in {folder.parent} has {free / 1e6:,.0f} MB of room, but {needed / 1e6:,.0f} MB are to come: "
            "make room, or set MLGYM_CACHE to a larger disk."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    return urllib.request.Request(url).host or "this machine"


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", None) or error
    return str(getattr(cause, "strerror", None) or cause).rstrip(".") or type(error).__name__
