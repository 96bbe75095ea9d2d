"""The keys of every page: the help lists them, each works, and the keyboard alone leads through everything."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.places import Place, at, ready
from tests.browser.stores import OTHER, STORY, TREE
from tests.browser.watching import Visit

CONTRACT = {
    "runs": (at(""), "j k Enter"),
    "run": (at("run", "first"), "j k Enter"),
    "search": (at("search", q="round"), "j k Enter"),
    "episode": (at("e", STORY), "j k n p e o f a c [ ] y"),
    "tree": (at("e", TREE), "j k n p e o f a c [ ] y"),
    "compare": (at("compare", e=[STORY, OTHER]), "j k d x"),
}
EVERYWHERE = "? / g r g s g h t"
SHOWN = {"←": "ArrowLeft", "→": "ArrowRight", "↑": "ArrowUp", "↓": "ArrowDown", "Esc": "Escape", "Space": " "}


def listed(page: Page) -> list[list[str]]:
    """The keys that the help tells, two for a sequence."""
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys = page.locator("dialog dt").evaluate_all(
        "all => all.map((one) => [...one.children].map((k) => k.textContent))"
    )
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    return [[SHOWN.get(key, key) for key in keys_] for keys_ in keys]


@pytest.mark.parametrize("name", CONTRACT)
def test_each_key_that_the_help_tells(visit: Visit, place: Place, name: str) -> None:
    """None of them does harm, from a fresh page; those that were promised are there."""
    address, promised = CONTRACT[name]
    page = ready(visit(place.home, address))
    told = listed(page)
    flat = [key for keys in told for key in keys]
    assert set(f"{promised} {EVERYWHERE}".split()) <= set(flat), told
    for keys in told:
        if not page.url.startswith(place.home + address.partition("?")[0]) or page.get_by_role("dialog").count():
            page.goto(f"{place.home}#/nowhere")
            page.goto(place.home + address)
            ready(page)
        for key in keys:
            page.keyboard.press(key)
        ready(page)


@pytest.mark.parametrize(("keys", "place_of"), [("gr", "#/"), ("gs", "#/search"), ("gh", "#/all"), ("/", "#/search")])
def test_the_ways_between_pages(visit: Visit, place: Place, keys: str, place_of: str) -> None:
    page = ready(visit(place.home, at("e", STORY)))
    for key in keys:
        page.keyboard.press(key)
    expect(page).to_have_url(re.compile(rf"{re.escape(place_of)}(\?|$)"))
    ready(page)


def test_the_theme_is_kept(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home))
    colour = "getComputedStyle(document.body).backgroundColor"
    colours = [page.evaluate(colour)]
    for _ in range(2):
        page.keyboard.press("t")
        colours.append(page.evaluate(colour))
    assert colours[0] == colours[1] != colours[2]  # as the system, light, dark
    page.reload()
    assert ready(page).evaluate(colour) == colours[2]


def test_no_key_is_taken_while_one_writes(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("search")))
    field = page.get_by_role("searchbox").first
    field.fill("")
    field.press_sequentially("gr?t/jk")
    expect(field).to_have_value("gr?t/jk")
    assert page.get_by_role("dialog").count() == 0


def test_the_main_path_without_a_mouse(visit: Visit, place: Place) -> None:
    """From the runs into a run, into an episode, to a step, to its files, and back."""
    page = ready(visit(place.home))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/run/"))
    ready(page)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/e/"))
    ready(page)
    page.keyboard.press("j")
    page.keyboard.press("f")
    expect(page.get_by_role("tab", selected=True)).to_contain_text("Files")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile("#/$"))


def test_everything_can_be_reached_by_tab(visit: Visit, place: Place) -> None:
    """The focus is always visible, and goes through the page without being caught."""
    page = ready(visit(place.home, at("e", STORY, tab="attempts")))
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName + document.activeElement.textContent.slice(0, 40)"))
        drawn = page.evaluate(
            "((s) => s.outlineStyle !== 'none' || s.boxShadow !== 'none')(getComputedStyle(document.activeElement))"
        )
        assert drawn or page.evaluate("document.activeElement === document.body"), seen
    assert len(seen) > 15, seen
