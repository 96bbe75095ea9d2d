"""An episode's page: steps by keys and by address, what folds, files, attempts, calls, tree; and how it grows."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import stores
from tests.browser.places import Place, at, ready, served
from tests.browser.stores import GAME, HOUSES, STORY, TREE
from tests.browser.watching import Visit

OTHER_SEED = STORY.removesuffix("0") + "1"


def at_step(page: Page, n: int) -> None:
    """The reader is at that step, in view, and it stands in the address."""
    expect(page.locator("[aria-current=step]")).to_have_attribute("data-step", str(n))
    expect(page.locator(f"#step-{n}")).to_be_in_viewport()
    expect(page).to_have_url(re.compile(rf"[?&]step={n}(&|$)"))


def in_tab(page: Page, name: str) -> None:
    """That part of the episode is open, and only it."""
    expect(page.get_by_role("tab", selected=True)).to_contain_text(name)
    expect(page.get_by_role("tabpanel")).to_have_count(1)


def test_steps_by_keys(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("e", STORY)))
    for key, n in [("j", 1), ("j", 2), ("j", 3), ("k", 2), ("n", 5), ("n", 13), ("p", 5), ("e", 8), ("e", 9), ("E", 8)]:
        page.keyboard.press(key)
        at_step(page, n)


def test_parts_by_keys_and_back(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("e", STORY, step=12)))
    for key, name in [("f", "Files"), ("a", "Attempts"), ("c", "Calls"), ("i", "About"), ("s", "Conversation")]:
        page.keyboard.press(key)
        in_tab(page, name)
    at_step(page, 12)
    page.go_back()
    in_tab(page, "About")
    page.reload()
    in_tab(ready(page), "About")


def test_episodes_by_keys(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("e", STORY)))
    expect(page.get_by_role("navigation", name="Other episodes")).to_contain_text("seed 1")
    page.keyboard.press("]")
    expect(page).to_have_url(re.compile("/1$"))
    ready(page)
    page.keyboard.press("[")
    expect(page).to_have_url(place.home + at("e", STORY))


def test_a_link_to_a_step(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("e", STORY, step=20)))
    at_step(page, 20)
    page.keyboard.press("y")
    expect(page.locator("#said")).to_contain_text("step 20")
    page.reload()
    at_step(ready(page), 20)


def test_what_is_long_is_folded(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("e", STORY, step=3)))
    article = page.locator("#step-3")
    expect(article).not_to_contain_text("epoch 250:")
    page.keyboard.press("o")
    expect(article).to_contain_text("epoch 250:")
    expect(article).to_contain_text("epoch 500:")
    page.keyboard.press("o")
    expect(article).not_to_contain_text("epoch 250:")
    page.keyboard.press("O")
    expect(article).to_contain_text("epoch 250:")


def test_steps_as_people_read_them(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("e", STORY)))
    expect(page.locator("#step-12 ins")).to_contain_text(["return history"])
    expect(page.locator("#step-12 del")).to_contain_text(["return 1"])
    expect(page.locator("#step-12")).to_contain_text("Follow the other player.")
    expect(page.locator("#step-8")).to_contain_text("NameError: boom")
    expect(page.locator("#step-9")).to_contain_text("timed out")
    expect(page.locator("#step-13")).to_contain_text("1.25")
    expect(page.locator("#step-14 details")).not_to_have_attribute("open", "")  # a window dump is quiet
    expect(page.locator("#step-2 .diff .k").filter(has_text="def").first).to_be_visible()
    expect(page.get_by_role("slider", name="Steps of the episode")).to_have_attribute("aria-valuemax", "24")


def test_files_at_a_step(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("e", STORY, step=12, tab="files", path="strategy.py")))
    panel = page.get_by_role("tabpanel")
    expect(panel).to_contain_text("return history[-1][1]")
    page.get_by_role("button", name="What this step did").click()
    expect(panel.locator("del")).to_contain_text(["return 1"])
    page.get_by_role("button", name="one step back").click()
    expect(panel.locator("output")).to_contain_text("step 11")
    page.get_by_role("button", name="Content", exact=True).click()
    expect(panel).to_contain_text("return 1")
    expect(panel).not_to_contain_text("return history")


def test_attempts_calls_and_tree(visit: Visit, place: Place) -> None:
    page = ready(visit(place.home, at("e", STORY, tab="attempts")))
    panel = page.get_by_role("tabpanel")
    expect(panel.get_by_role("row")).to_have_count(4)
    expect(panel).to_contain_text("1.24")
    page.keyboard.press("c")
    expect(panel).to_contain_text("somebody")
    panel.get_by_role("button", name="7", exact=True).click()
    expect(panel).to_contain_text("grep -rn zebra")
    page.reload()
    expect(panel).to_contain_text("grep -rn zebra")
    page.goto(place.home + at("e", TREE, tab="tree"))
    tree = page.get_by_role("tree")
    expect(tree.get_by_role("treeitem")).not_to_have_count(0)
    tree.get_by_role("treeitem").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    in_tab(page, "Conversation")
    expect(page.get_by_role("status").filter(has_text="The path to")).to_be_visible()


def test_it_grows_while_it_is_read(visit: Visit, cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "growing"
    with stores.running(run, 12) as go_on, served(cache, run) as place:
        key = f"growing/{HOUSES}/{STORY.split('/')[2]}/0"
        page = ready(visit(place.home, at("e", key, step=4)))
        at_step(page, 4)
        expect(page.locator("h1 + p, .by").first).to_contain_text("running")
        before = page.locator("#step-4").bounding_box()
        for _ in range(3):
            n = go_on()
            expect(page.locator(f"#step-{n}")).to_contain_text(f"grown {n}")
        assert page.locator("#step-4").bounding_box() == before
        page.keyboard.press("F")
        n = go_on()
        expect(page.locator(f"#step-{n}")).to_be_in_viewport()


def test_the_lists_move_too(visit: Visit, cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "growing"
    with stores.running(run, 3), served(cache, run) as place:
        page = ready(visit(place.home, at("run", "growing")))
        expect(page.locator("#view")).to_contain_text("running")
        stores.episode(run, GAME, list(stores.plain(1.2)))
        expect(page.locator("#view")).to_contain_text(GAME)
