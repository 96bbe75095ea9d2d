"""Where a store is looked at: at the server of `mlgym view`, or in the page that it wrote."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from playwright.sync_api import Page, expect

VIEW = [sys.executable, "-m", "mlgym", "view"]
STARTED_S = 30.0


@dataclass(frozen=True)
class Place:
    """All addresses of a store begin with `home`; `bundled` where it is a file. `pid` is the server's."""

    home: str
    bundled: bool = False
    pid: int = 0


@contextmanager
def served(cache: Path, *paths: Path) -> Iterator[Place]:
    """A server of these paths; it must have nothing to complain of, and end at a signal."""
    with tempfile.TemporaryFile("w+") as complaints:
        command = [*VIEW, "--no-open", "--port", "0", *map(str, paths)]
        pipes = {"stdout": subprocess.PIPE, "stderr": complaints}
        with subprocess.Popen(command, text=True, env=_environment(cache), **pipes) as server:  # type: ignore[call-overload]
            try:
                said = next((line for line in server.stdout if "http://" in line), "")
                address = re.search(r"http://127\.0\.0\.1:\d+/[^/\s]+/", said)
                if address:
                    yield Place(address[0], pid=server.pid)
            finally:
                server.send_signal(signal.SIGINT)
                server.communicate(timeout=STARTED_S)
        complaints.seek(0)
        told = complaints.read()
        assert address and server.returncode == 0 and not told, (said, server.returncode, told)


def bundle(cache: Path, out: Path, *paths: Path) -> Place:
    """A page of these paths, opened from disk."""
    command = [*VIEW, "--bundle", str(out), *map(str, paths)]
    subprocess.run(command, check=True, capture_output=True, env=_environment(cache), timeout=60)
    return Place(out.as_uri(), bundled=True)


def _environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "MLGYM_CACHE": str(cache)}


def at(view: str, key: str = "", **query: object) -> str:
    """An address of the front end; the parts of `key` are quoted, its slashes stay."""
    path = "/".join([view, *(quote(part, safe="") for part in key.split("/") if part)]).rstrip("/")
    return f"#/{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")


def ready(page: Page) -> Page:
    """Wait until the page shows what it has to show."""
    page.wait_for_selector("#view h1")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    return settled(page)


def settled(page: Page) -> Page:
    """Wait for what follows from a change of size or theme."""
    page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))"
    )
    return page


def sideways(page: Page) -> int:
    """How many pixels the page as a whole can be scrolled to the side."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
