"""A browser's context that is watched: what must not happen on any page of the viewer is written down."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, WebError

Visit = Callable[..., Page]
HEIGHT = 900
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
TELL = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`violation: ${event.effectiveDirective} of ${event.blockedURI}`));
"""


@dataclass
class Watched:
    """A context, and the complaints about it: the console's errors, exceptions, what the policy refused, dialogs, and
    requests that failed or went to another place than those that begin with `home`.
    """

    context: BrowserContext
    home: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.add_init_script(TELL)
        self.context.on("console", self._console)
        self.context.on("weberror", self._error)
        self.context.on("request", self._request)
        self.context.on("requestfailed", self._failed)
        self.context.on("dialog", self._dialog)
        self.context.on("response", lambda got: got.status < 400 or self._say(f"{got.status} for {got.url}"))

    def _say(self, complaint: str) -> None:
        self.complaints.append(complaint[:400])

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._say(f"console: {message.text}")

    def _error(self, error: WebError) -> None:
        self._say(f"exception: {error.error}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.home, "data:", "blob:")):
            self._say(f"elsewhere: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by leaving the page
            self._say(f"failed: {request.url} ({request.failure})")

    def _dialog(self, dialog: Any) -> None:
        self._say(f"dialog: {dialog.message}")
        dialog.dismiss()


def chromium() -> str | None:
    """The system's Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def launched(driver: Playwright) -> Iterator[Browser]:
    """It, running."""
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = driver.chromium.launch(executable_path=chromium(), args=alone)
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def watched(
    browser: Browser, home: str, *, width: int = 1440, theme: Any = "light", still: bool = False, **more: Any
) -> Iterator[Watched]:
    """A context of that width and theme, watched; `still` asks for little motion. It is closed, the rest is yours."""
    motion: Any = "reduce" if still else "no-preference"
    size: Any = {"width": width, "height": HEIGHT}
    context = browser.new_context(viewport=size, color_scheme=theme, reduced_motion=motion, **more)
    context.set_default_timeout(10_000)
    try:
        yield Watched(context, home)
    finally:
        context.close()
