"""Every page opens at every size and in every theme without a fault, stays within the screen, and can be read aloud."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.places import Place, at, ready, settled, sideways
from tests.browser.stores import HOUSES, OTHER, STORY, TREE
from tests.browser.watching import Visit

PAGES = {
    "runs": at(""),
    "run": at("run", "first"),
    "all": at("all"),
    "search": at("search", q="zebra"),
    "nothing found": at("search", q="no such words"),
    "episode": at("e", STORY),
    "step": at("e", STORY, step=12),
    "files": at("e", STORY, step=12, tab="files"),
    "file": at("e", STORY, step=12, tab="files", path="strategy.py"),
    "attempts": at("e", STORY, tab="attempts"),
    "calls": at("e", STORY, tab="calls"),
    "call": at("e", STORY, tab="calls", call=3),
    "tree": at("e", TREE, tab="tree"),
    "failed": at("e", f"first/{HOUSES}/tree/1"),
    "compare": at("compare", e=[STORY, OTHER]),
    "compare at a step": at("compare", e=[STORY, OTHER, TREE], step=3),
    "nowhere": at("nowhere"),
}
SIZES = (1440, 390)
COLOURS: dict[str, Any] = {"runOnly": ["color-contrast"]}
LOOKS: list[tuple[int, Any, dict[str, Any]]] = [
    (1440, "light", {}),
    (1440, "dark", COLOURS),  # what else is there does not hang on the theme
    (390, "dark", {}),
    (390, "light", COLOURS),
]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens(visit: Visit, place: Place, name: str) -> None:
    """At every size, and back, it stays within the screen; and it is in order for those who have it read to them."""
    page = ready(visit(place.home, PAGES[name]))
    in_order(page)
    assert page.title() != "mlgym" or name == "runs"
    for width in (*SIZES, 320, SIZES[0]):
        page.set_viewport_size({"width": width, "height": 800})
        settled(page)
        assert sideways(page) <= 0, (width, widest(page))


def in_order(page: Page) -> None:
    """One main part, one first heading that comes first, and no level of headings left out."""
    levels = page.eval_on_selector_all("h1, h2, h3, h4, h5, h6", "nodes => nodes.map((n) => Number(n.tagName[1]))")
    assert levels.count(1) == 1 and levels[0] == 1, levels
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    assert page.locator("main").count() == 1 and page.locator("body > header nav").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("step", "compare at a step", "nothing found")])
def test_a_page_has_no_finding_of_axe(visit: Visit, place: Place, name: str) -> None:
    """At both sizes in both themes; the policy is off, since axe puts itself into the page."""
    page = ready(visit(place.home, PAGES[name], bypass_csp=True))
    found: dict[str, str] = {}
    for width, theme, rules in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        settled(page)
        for finding in Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]:
            where = [" ".join(map(str, node["target"])) for node in finding["nodes"][:3]]
            found[f"{finding['impact']} {finding['id']} ({width}, {theme})"] = f"{finding['help']}: {where}"
    assert not found, found


@pytest.mark.parametrize("words", ["nvidia-smi", "zebra .", '"1:zebra crossing"'])
def test_words_with_signs_are_found(visit: Visit, place: Place, words: str) -> None:
    page = ready(visit(place.home, at("search", q=words)))
    assert page.locator("a.hit").count() >= 1, page.locator("main").inner_text()


def test_the_page_of_a_short_episode_is_small(story_store: Path, bundled_story: Place) -> None:
    assert Path(bundled_story.home.removeprefix("file://")).stat().st_size < 1_000_000


def widest(page: Page) -> list[str]:
    """What reaches over the right edge, for the message."""
    return list(
        page.evaluate(
            "[...document.querySelectorAll('body *')].filter((n) => n.getBoundingClientRect().right > innerWidth + 1)"
            ".slice(0, 8).map((n) => n.tagName + '.' + n.getAttribute('class'))"
        )
    )
