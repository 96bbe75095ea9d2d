"""Pictures of the viewer for docs/, by the tests' browser: `python -m tests.browser.screenshots OUT [STORE KEY...]`.

Shown are the run of the first KEY, that episode at step 12, all KEYs compared, and a search; of wide and narrow, light
and dark those that docs/view.md has. Without a store it is that of the tests. Run it again where a page has changed.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser import stores
from tests.browser.places import Place, at, ready, served
from tests.browser.watching import launched, watched

SIZES = {"wide": 1440, "narrow": 390}
THEMES = ("light", "dark")
SHOWN = {
    "overview": ("wide-light",),
    "episode": ("wide-light", "narrow-dark"),
    "files": ("wide-dark",),
    "compare": ("wide-light", "narrow-light"),
    "search": ("wide-light",),
}
COLOURS = 128


def pages(keys: Sequence[str], words: str) -> dict[str, str]:
    """The addresses that are shown, by the names of their pictures."""
    return {
        "overview": at("run", keys[0].split("/")[0]),
        "episode": at("e", keys[0], step=12),
        "files": at("e", keys[0], step=12, tab="files", path="strategy.py", against="starter"),
        "compare": at("compare", e=list(keys)),
        "search": at("search", q=words),
    }


def take(place: Place, out: Path, addresses: dict[str, str]) -> None:
    """Lay the pictures of these addresses into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver, launched(driver) as browser:
        for size, width in SIZES.items():
            for theme in THEMES:
                with watched(browser, place.home, width=width, theme=theme, still=True) as seen:
                    for name in (each for each, looks in SHOWN.items() if f"{size}-{theme}" in looks):
                        page = seen.context.new_page()
                        page.goto(place.home + addresses[name])
                        ready(page)
                        page.wait_for_timeout(300)
                        small(page.screenshot(), out / f"view-{name}-{size}-{theme}.png")
                        page.close()
                assert not seen.complaints, seen.complaints


def small(picture: bytes, path: Path) -> None:
    """Write a picture with few colours: text needs no more."""
    path.write_bytes(picture)
    with Image.open(path) as full:
        few = full.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main(arguments: Sequence[str]) -> None:
    """Take all pictures."""
    out, *rest = arguments
    with tempfile.TemporaryDirectory() as scratch:
        made = rest or [str(stores.store(Path(scratch) / "runs")), stores.STORY, stores.OTHER, stores.TREE]
        words = "mean" if rest else stores.NEEDLE
        with served(Path(scratch) / "cache", Path(made[0])) as place:
            take(place, Path(out), pages(made[1:], words))


if __name__ == "__main__":
    main(sys.argv[1:])
