"""One browser for all tests of this folder, and pages in it that fail their test for anything that must not happen."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import stores, watching
from tests.browser.places import Place, bundle, served
from tests.browser.watching import Visit, launched, watched


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that starts a browser is slow."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium; skipped where there is none, but never in CI."""
    if watching.chromium() is None:
        assert "CI" not in os.environ, "no Chromium"
        pytest.skip("there is no Chromium (Debian's package is chromium)")
    with sync_playwright() as driver, launched(driver) as browser:
        yield browser


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """Opens an address under `home` as a page; whatever must not have happened there fails the test at its end."""
    complaints: list[list[str]] = []
    with ExitStack() as stack:

        def go(home: str, address: str = "", **context: Any) -> Page:
            seen = stack.enter_context(watched(chromium, home, **context))
            complaints.append(seen.complaints)
            page = seen.context.new_page()
            page.goto(home + address)
            return page

        yield go
    assert not any(complaints), [told for each in complaints for told in each]


@pytest.fixture(scope="package")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the viewer keeps its index."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="package")
def story_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of most tests."""
    return stores.store(tmp_path_factory.mktemp("store") / "runs")


@pytest.fixture(scope="package")
def served_story(cache: Path, story_store: Path) -> Iterator[Place]:
    """It at a server."""
    with served(cache, story_store) as place:
        yield place


@pytest.fixture(scope="package")
def bundled_story(cache: Path, story_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """It as one file."""
    return bundle(cache, tmp_path_factory.mktemp("page") / "story.html", story_store)


@pytest.fixture(params=["server", "disk"])
def place(request: pytest.FixtureRequest) -> Place:
    """Both."""
    return request.getfixturevalue("served_story" if request.param == "server" else "bundled_story")  # type: ignore[no-any-return]
