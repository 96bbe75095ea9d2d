"""The runs, the overview of one and the search: the grid, the filters in the address, and what runs meanwhile."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser import stores
from tests.browser.places import Place, at, ready, served
from tests.browser.stores import GAME, HOUSES, NEEDLE, OTHER, STORY
from tests.browser.watching import Visit

LIST = "[role=table][aria-label=Episodes]"
ALL = 8  # episodes of the store's run


def listed(page: Page) -> list[str]:
    """The keys of the rows, from above."""
    return page.locator(f"{LIST} [data-key]").evaluate_all("rows => rows.map((row) => row.dataset.key)")


def hash_of(page: Page) -> str:
    return page.url.partition("#")[2]


def test_the_grid_by_keys(visit: Visit, place: Place) -> None:
    """Arrows move in it, Enter filters the list, Tab leads to the seeds; the back button undoes a filter."""
    page = ready(visit(place.home, at("run", "first")))
    page.keyboard.press("m")
    grid = page.get_by_role("grid", name="Progress by task and method")
    expect(page.locator(":focus")).to_have_attribute("role", "gridcell")
    assert grid.locator("[tabindex='0']:not(a)").count() == 1
    while "battle-of-sexes, tuner" not in (page.locator(":focus").get_attribute("aria-label") or ""):
        before = page.locator(":focus").get_attribute("aria-label")
        page.keyboard.press("ArrowRight")
        if page.locator(":focus").get_attribute("aria-label") == before:
            page.keyboard.press("ArrowDown")
            page.keyboard.press("Home")
            page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert sorted(listed(page)) == [OTHER, OTHER[:-1] + "1"]
    expect(grid.locator("[aria-selected=true]")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_accessible_name("Seed 0: done, progress +0.70")
    page.go_back()
    expect(page.locator(f"{LIST} [data-key]")).to_have_count(ALL)
    expect(grid.locator("[aria-selected=true]")).to_have_count(0)


def test_what_is_missing_says_why(visit: Visit, served_story: Place) -> None:
    page = ready(visit(served_story.home, at("run", "first")))
    cell = page.get_by_role("gridcell", name=f"{HOUSES}, tree")
    expect(cell).to_have_accessible_name(
        f"{HOUSES}, tree: missing. 0 of 1 episode ended. 1 missing. The provider answered 503."
    )
    troubles = page.get_by_role("region", name="What went wrong").get_by_role("listitem")
    expect(troubles.filter(has_text="The provider answered 503.")).to_contain_text("1 missing")
    expect(troubles.filter(has_text="The agent raised NameError.")).to_contain_text(f"{GAME}, tuner, seed 1")


def test_filters_live_in_the_address(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("run", "first")))
    page.get_by_role("combobox", name="Task").select_option(GAME)
    page.keyboard.press("f")
    page.keyboard.type("tuner")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Progress", exact=True).click()
    assert hash_of(page) == f"/run/first?q=tuner&sort=-progress&task={GAME}"
    assert [key[-1] for key in listed(page)] == ["0", "1"]
    expect(page.locator("[data-column=progress]")).to_have_attribute("aria-sort", "descending")
    page.reload()
    assert [key[-1] for key in listed(ready(page))] == ["0", "1"]
    page.get_by_role("button", name="Without Text: tuner").click()
    expect(page.locator(f"{LIST} [data-key]")).to_have_count(5)
    page.get_by_role("button", name="Clear all").or_(page.get_by_role("button", name=f"Without Task: {GAME}")).click()
    expect(page.locator(f"{LIST} [data-key]")).to_have_count(ALL)
    page.goto(place.home + at("all", progress="0.5..", state="done"))
    assert {OTHER} <= set(listed(ready(page))) and len(listed(page)) == 3


def test_nothing_passes_the_filters(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("run", "first", q="no such words")))
    expect(page.get_by_text("No episode passes the filters.")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator(f"{LIST} [data-key]")).to_have_count(ALL)


def test_selecting_and_comparing(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("run", "first", task=GAME, sort="-progress")))
    keys = listed(page)
    tray = page.get_by_role("region", name="Selected episodes")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(tray).to_contain_text("1 selected")
    expect(tray.get_by_role("button", name="Compare")).to_be_disabled()
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("c")
    page.wait_for_url(re.compile("#/compare"))
    assert hash_of(page) == at("compare", e=keys[:2]).removeprefix("#")


def test_best_attempts_instead_of_last_submissions(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("run", "first")))
    page.keyboard.press("b")
    expect(page.get_by_role("button", name="best attempt")).to_have_attribute("aria-pressed", "true")
    assert hash_of(page) == "/run/first?of=best"


def test_searching_by_keys(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("run", "first")))
    page.keyboard.press("/")
    page.wait_for_url(re.compile(r"#/search\?run=first$"))
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type(f'"{NEEDLE}"')
    expect(page.locator("mark").first).to_have_text(NEEDLE)
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_contain_text("step 7")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"#/e/first/.*\?step=7"))
    page.go_back()
    expect(page.locator("mark").first).to_have_text(NEEDLE)


def test_only_one_run_is_shown_at_once(visit: Visit, cache: Path, story_store: Path) -> None:
    """And of a run of one episode that episode."""
    with served(cache, story_store / "first") as place:
        page = ready(visit(place.home))
        page.wait_for_url(re.compile("#/run/first$"))
        page.close()
    with served(cache, story_store / STORY) as place:
        page = visit(place.home)
        page.wait_for_url(re.compile("#/e/"))
        ready(page).close()


def test_what_runs_stays_where_it_is(visit: Visit, cache: Path, tmp_path: Path) -> None:
    """Rows change in place: neither the focus nor the scroll moves, and the title tells how far it is."""
    run = tmp_path / "runs" / "growing"
    stores.episode(run, GAME, list(stores.plain(1.1)))
    stores.episode(run, GAME, list(stores.plain(1.2)), seed=1)
    with stores.running(run, 3) as go_on, served(cache, run) as place:
        page = ready(visit(place.home, at("run", "growing")))
        assert page.title() == "2 of 3 · growing · mlgym"
        page.keyboard.press("j")
        page.keyboard.press("j")
        before = page.evaluate("[scrollY, document.activeElement.href]")
        row = page.locator(f"{LIST} [data-state=running]")
        expect(row.locator(".c-steps")).to_have_text("3")
        go_on()
        expect(row.locator(".c-steps")).to_have_text("4")
        assert page.evaluate("[scrollY, document.activeElement.href]") == before
        page.close()


def test_a_server_that_is_gone(chromium: Browser, cache: Path, story_store: Path) -> None:
    """What is shown stays, and a sentence says that it may be old; what was not read yet says what to do."""
    with chromium.new_context() as context, context.new_page() as page:
        with served(cache, story_store) as place:
            page.goto(place.home + at("run", "first"))
            ready(page)
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        expect(page.locator(f"{LIST} [data-key]")).to_have_count(ALL)
        page.keyboard.press("g")
        page.keyboard.press("h")
        expect(page.get_by_role("heading", level=1)).to_have_text("This cannot be shown")
        expect(page.locator("#view")).to_contain_text("Start `mlgym view` again")
