"""The viewer, measured by a browser: python -m benchmarks.viewing [--write] [--episodes 5000] [--megabytes 50].

A store of so many made episodes and one of so many megabytes (benchmarks/viewing_store.py) is opened with an empty
cache, then looked at by Chromium: each figure is the time from what the reader does until its result is painted, by the
browser's own clock, the median of some tries. A search has in it the fifth of a second for which the page waits for
the next key. Last a page made of an episode of 50 steps is opened from disk. `--write`
records the table in benchmarks/viewing.md.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from record import record  # noqa: E402
from viewing_store import long, many  # noqa: E402

from tests.browser.places import Place, at, bundle, served  # noqa: E402
from tests.browser.watching import launched, watched  # noqa: E402

TRIES = 5
WAIT_S = 600.0
PAINTED = """globalThis.painted = (wanted) => new Promise((done, fail) => {
  const late = performance.now() + 30000;
  const after = () => {
    const paint = new MessageChannel();
    paint.port1.onmessage = () => done(performance.now());
    paint.port2.postMessage(null);
  };
  const look = () => {
    if (performance.now() > late) fail(new Error(`${location.href} did not come to ${wanted}`));
    else requestAnimationFrame(wanted() ? after : look);
  };
  look();
})"""
ROW, STEP, HIT = "[role=table] [data-key]", "#step-1 .step-body", "#view mark"
FILTERED = "() => / of /.test(document.querySelector('#view .shown').textContent)"
FILTER = """(words) => {
  const field = document.querySelector("#view [role=search] input");
  field.value = words;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}"""
UNFOLD = "() => document.querySelector('.unfold[aria-expanded=false]').click()"


def there(selector: str) -> str:
    """A test in the browser: whether something that a selector finds is on the page."""
    return f"() => document.querySelector({json.dumps(selector)}) !== null"


def opened(browser: Browser, home: str, address: str, wanted: str) -> float:
    """Seconds until an address shows what is wanted, in a fresh browser."""
    with watched(browser, home) as seen:
        seen.context.add_init_script(PAINTED)
        page = seen.context.new_page()
        page.goto(home + address, wait_until="commit")
        took = float(page.evaluate(f"painted({wanted})")) / 1000
        assert not seen.complaints, seen.complaints
    return took


def first(browser: Browser, home: str, address: str, wanted: str) -> float:
    """The median of opening an address."""
    return statistics.median(opened(browser, home, address, wanted) for _ in range(TRIES))


def then(browser: Browser, home: str, address: str, ready: str, act: str, wanted: str) -> float:
    """The median of what follows when the reader does something on a page that stands."""
    took = []
    for _ in range(TRIES):
        with watched(browser, home) as seen:
            seen.context.add_init_script(PAINTED)
            page = seen.context.new_page()
            page.goto(home + address)
            page.evaluate(f"painted({ready})")
            page.wait_for_timeout(300)
            took.append(
                page.evaluate(
                    f"(async () => {{ const began = performance.now(); ({act})(); "
                    f"return await painted({wanted}) - began; }})()"
                )
            )
            assert not seen.complaints, seen.complaints
    return statistics.median(took) / 1000


def asked(place: Place, path: str) -> dict[str, object]:
    """A document of the server."""
    with urllib.request.urlopen(f"{place.home}api/{path}") as answer:
        return dict(json.load(answer))


def indexed(place: Place, began: float) -> float:
    """Seconds until the index has read every episode."""
    while time.perf_counter() - began < WAIT_S:
        told = asked(place, "runs").get("indexing") or {"done": 0, "total": 0}
        assert isinstance(told, dict)
        if told["done"] == told["total"]:
            return time.perf_counter() - began
        time.sleep(0.2)
    raise TimeoutError("The index was not built in time.")


def memory(place: Place) -> float:
    """The server's megabytes, what it shares with others divided among them."""
    lines = Path(f"/proc/{place.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def rows(browser: Browser, folder: Path, episodes: int, megabytes: float) -> Iterator[tuple[str, str, str]]:
    """The rows of the table: what, how long or large, the budget."""
    many(folder / "runs", episodes)
    key = "/".join(long(folder / "runs", megabytes).parts[-4:])
    began = time.perf_counter()
    with served(folder / "cache", folder / "runs") as place:
        yield f"index of {episodes:,} episodes and {megabytes:g} MB built", f"{indexed(place, began):.1f} s", ""
    began = time.perf_counter()
    with served(folder / "cache", folder / "runs") as place:
        yield "started again, the index looked through", f"{indexed(place, began):.1f} s", ""
        home, listed, stands = place.home, there(ROW), there(STEP)
        yield "runs, first paint with content", f"{first(browser, home, at(''), there('#view tbody tr')):.2f} s", "1 s"
        yield "a run's overview, the same", f"{first(browser, home, at('run', 'run-00'), listed):.2f} s", "1 s"
        yield "all episodes, the same", f"{first(browser, home, at('all'), listed):.2f} s", "1 s"
        narrow = f"() => ({FILTER})('tuner')"
        yield "all episodes filtered", f"{then(browser, home, at('all'), listed, narrow, FILTERED):.2f} s", "0.2 s"
        look, box = f"() => ({FILTER})('gradient momentum')", there("#view [role=search] input")
        yield (
            "words searched in all steps",
            f"{then(browser, home, at('search'), box, look, there(HIT)):.2f} s",
            "0.3 s",
        )
        yield f"the episode of {megabytes:g} MB opened", f"{first(browser, home, at('e', key), stands):.2f} s", "1 s"
        middle = at("e", key, step=1400)
        yield "the same at step 1400", f"{first(browser, home, middle, there('#step-1400 .step-body')):.2f} s", "1 s"
        fold, whole = there(".unfold[aria-expanded=false]"), there(".refold")
        yield "a step unfolded", f"{then(browser, home, at('e', key), fold, UNFOLD, whole):.2f} s", "0.2 s"
        yield "the server's memory after all that", f"{memory(place):.0f} MB", "200 MB"
    small = long(folder / "small", 0.2, steps=50)
    page = bundle(folder / "cache", folder / "page.html", small)
    size = (folder / "page.html").stat().st_size / 1e6
    yield "a page of an episode of 50 steps", f"{size:.2f} MB", "1 MB"
    yield "the page opened from disk", f"{first(browser, page.home, '', there(STEP)):.2f} s", "1 s"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/viewing.md")
    parser.add_argument("--episodes", type=int, default=5000)
    parser.add_argument("--megabytes", type=float, default=50.0)
    asked_for = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        sync_playwright() as driver,
        launched(driver) as browser,
    ):
        table = list(rows(browser, Path(scratch), asked_for.episodes, asked_for.megabytes))
        told = f"Chromium {browser.version}"
    record("viewing", ("what", "measured", "budget"), table, asked_for.write, told)


if __name__ == "__main__":
    main()
