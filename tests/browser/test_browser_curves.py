"""The compare page's parts: curves and their values, files, the list to add from, keys."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.places import Place, at, ready
from tests.browser.stores import HOUSES, OTHER, STORY, TREE
from tests.browser.watching import Visit


@pytest.fixture
def page(visit: Visit, place: Place) -> Page:
    """Two episodes of a game beside each other."""
    return ready(visit(place.home, at("compare", e=[STORY, OTHER])))


def test_values_are_read_by_keys_and_stand_in_a_table(page: Page) -> None:
    plate = page.get_by_role("slider")
    plate.focus()
    plate.press("Home")
    expect(plate).to_have_attribute("aria-valuetext", "step 3: openai/some-model: nothing yet; tuner: 1.19")
    plate.press("ArrowRight")
    expect(page.locator(".readout")).to_contain_text("step 4")
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("table", name="Best score so far on test").get_by_role("row")).to_have_count(4)


def test_the_clock_stands_in_the_address(page: Page) -> None:
    page.get_by_role("button", name="by money").click()
    page.wait_for_function("location.hash.includes('x=money')")
    page.reload()
    expect(ready(page).get_by_role("button", name="by money")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".readout")).to_contain_text("$")


def test_the_files_that_they_handed_in(page: Page) -> None:
    page.get_by_text("What differs in the files").click()
    page.locator(".contrast details summary").click()
    expect(page.locator(".contrast .diff")).to_contain_text("history[-1][1]")


def test_an_episode_is_added_and_taken_out_again(page: Page) -> None:
    page.keyboard.press("a")
    page.keyboard.type("tree")
    page.keyboard.press("Enter")
    expect(page.locator(".contender")).to_have_count(3)
    ready(page).keyboard.press("1")
    expect(page.locator(".contender a.name").first).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator(".contender")).to_have_count(2)
    assert "tree" in page.url and "some-model" not in page.url


def test_a_step_is_unfolded_as_its_episode_shows_it(page: Page) -> None:
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".whole article")).to_have_count(2)
    page.keyboard.press("Enter")
    expect(page.locator(".whole").first).to_be_hidden()


def test_one_episode_asks_for_another(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("compare", e=[TREE])))
    expect(page.locator(".rival-list")).not_to_contain_text(HOUSES)
    page.locator(".rival-list a").first.click()
    expect(page.locator(".contender")).to_have_count(2)
