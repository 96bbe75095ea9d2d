"""The harness itself: whatever must not happen on a page is noticed."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser

from tests.browser.watching import Visit, watched

POLICY = "default-src 'self'; script-src 'self' 'nonce-x'"
PAGES = {
    "fine": "<p>Fine.</p>",
    "console": "<script nonce=x>console.error('oh')</script>",
    "exception": "<script nonce=x>setTimeout(() => { throw new Error('oh'); })</script>",
    "console: violation": "<img src=x onerror=alert(1)>",
    "dialog": "<script nonce=x>alert(1)</script>",
    "elsewhere": "<script nonce=x>location = 'http://127.0.0.2:9/'</script>",
    "404 for": "<img src=missing>",
}


class Handler(BaseHTTPRequestHandler):
    """Serves PAGES under a strict policy."""

    def do_GET(self) -> None:
        text = PAGES.get(unquote(self.path.strip("/")), "")
        body = f"<!doctype html><link rel=icon href='data:,'>{text}".encode()
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Security-Policy", f"{POLICY}; img-src 'self' data:")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def home() -> Iterator[str]:
    """The address of a small server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_without_fault_passes(visit: Visit, home: str) -> None:
    assert visit(home, "fine").locator("p").inner_text() == "Fine."


@pytest.mark.parametrize("fault", [name for name in PAGES if name != "fine"])
def test_each_fault_is_noticed(chromium: Browser, home: str, fault: str) -> None:
    with watched(chromium, home) as seen:
        page = seen.context.new_page()
        page.goto(home + fault, wait_until="commit")
        page.wait_for_timeout(300)
        assert any(told.startswith(fault) for told in seen.complaints), seen.complaints
