"""Episodes side by side: aligned by step, where they part, who won."""

import re

from playwright.sync_api import expect

from tests.browser.places import Place, at, ready
from tests.browser.stores import HOUSES, OTHER, STORY, TREE
from tests.browser.watching import Visit


def test_side_by_side(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("compare", e=[STORY, OTHER])))
    table = page.get_by_role("table", name="Steps side by side")
    expect(table.get_by_role("columnheader")).to_have_count(3)
    row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name="step 1", exact=True))
    expect(row).to_contain_text("ls -la")
    expect(page.locator("#view")).to_contain_text("They part at their first step")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("step=2$"))
    page.reload()
    expect(ready(page).locator(".row.here")).to_contain_text("2")


def test_the_first_difference(visit: Visit, place: Place) -> None:
    """Two episodes of one method do the same until they part; `d` leads there."""
    same = f"first/{HOUSES}/tuner"
    page = ready(visit(place.home, at("compare", e=[f"{same}/0", f"{same}/1"])))
    expect(page.locator("#view")).to_contain_text("they part at step 2")
    page.keyboard.press("d")
    expect(page).to_have_url(re.compile("step=2$"))
    expect(page.locator(".row.here")).to_contain_text("0.87")


def test_who_won_and_three_at_once(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("compare", e=[STORY, OTHER, TREE])))
    expect(page.get_by_role("table", name="Steps side by side").get_by_role("columnheader")).to_have_count(4)
    expect(page.locator(".verdict")).to_contain_text("tree")
    assert page.locator("svg").count() >= 1


def test_episodes_of_several_tasks_are_not_compared(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("compare", e=[STORY, f"first/{HOUSES}/tuner/0"])))
    expect(page.get_by_role("heading", level=1)).to_contain_text("different tasks")
