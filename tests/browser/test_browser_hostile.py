"""Whatever a store holds is shown as text: no element of it comes to be, nothing of it runs, nothing is fetched."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import hostile
from tests.browser.places import Place, at, bundle, ready, served
from tests.browser.watching import Visit, watched

METHOD = "/".join([hostile.PLAIN] * 3)
OURS = (
    "html head meta title link script noscript body header nav main footer section article aside h1 h2 h3 h4 h5 h6 p "
    "div span a button ul ol li dl dt dd table caption colgroup col thead tbody tr th td pre code details summary "
    "input label select option optgroup dialog kbd ins del mark em strong small b i time abbr figure figcaption form "
    "fieldset legend output hr br wbr svg g path rect circle line text tspan polyline polygon use defs desc"
)
LOOK = """(ours) => {
  const found = [];
  const unseen = /[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff]/;
  for (const node of document.querySelectorAll("*")) {
    const tag = node.tagName.toLowerCase();
    if (!ours.includes(tag)) found.push(`<${tag}>`);
    for (const { name, value } of node.attributes) {
      if (name.startsWith("on") || name === "data-owned") found.push(`${tag} ${name}`);
      if (/^(href|src|action|formaction|xlink:href)$/.test(name) && /^\\s*(javascript|data:text|http)/i.test(value)) {
        found.push(`${tag} ${name}=${value}`);
      }
      if (/^(title|placeholder|aria-.*)$/.test(name) && unseen.test(value)) found.push(`unseen in ${tag} ${name}`);
    }
  }
  if (document.querySelector("meta[http-equiv=refresh], base")) found.push("meta or base");
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    if (/\\[native code|\\[object/.test(words.currentNode.data)) found.push(words.currentNode.data);
    if (unseen.test(words.currentNode.data)) found.push(`unseen in ${words.currentNode.parentNode.tagName}`);
  }
  if (unseen.test(document.title)) found.push("unseen in the title");
  if ({}.owned !== undefined) found.push("every object has it");
  return [...new Set(found)].slice(0, 20);
}"""
HTML = """(node, ...all) => all.forEach((one) =>
  typeof one === "string" ? node.insertAdjacentHTML("beforeend", one) : node.append(one))"""
OPEN = """() => {
  document.querySelectorAll("details").forEach((node) => { node.open = true; });
  document.querySelectorAll("#view button[aria-expanded=false]").forEach((node) => node.click());
}"""


FIELDS = (  # of the first episode: each is shown somewhere
    *(
        "observation",
        "thought",
        "tool",
        "arg.command",
        "note",
        "result.why",
        "attempt.why",
        "reply.text",
        "call.arguments",
    ),
    *(
        "reply.reasoning",
        "system",
        "spec.model",
        "spec.agent",
        "task.title",
        "user",
        "file's name",
        "starter",
    ),
)

LATE = {"call": "[system]", "file": "[starter]"}  # what comes after the rest


def pages(which: str) -> dict[str, str]:
    """The pages over all episodes, or those of one."""
    if which == "lists":
        name = hostile.PLAIN
        return {"runs": at(""), "run": at("run", name), "all": at("all"), "search": at("search", q="alert")}
    key, rival = f"{METHOD}/{which}", f"{METHOD}/{0 if which == '1' else 1}"
    told: dict[str, dict[str, Any]] = {"": {}, "step": {"step": 9}, "files": {"step": 9, "tab": "files"}}
    told |= {tab: {"tab": tab} for tab in ("attempts", "calls", "tree", "about")}
    told |= {"call": {"tab": "calls", "call": 1}}
    if which == "0":
        told["file"] = {"tab": "files", "step": 1, "path": "strategy.py"}
    return {**{name: at("e", key, **query) for name, query in told.items()}, "compare": at("compare", e=[key, rival])}


@pytest.fixture(scope="module")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store."""
    return hostile.store(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def hostile_served(cache: Path, hostile_store: Path) -> Any:
    """It at a server."""
    with served(cache, hostile_store) as place:
        yield place


@pytest.fixture(scope="module")
def hostile_bundled(cache: Path, hostile_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """It as one file."""
    return bundle(cache, tmp_path_factory.mktemp("page") / "hostile.html", hostile_store)


@pytest.fixture(params=["server", "disk"])
def hostile_place(request: pytest.FixtureRequest) -> Place:
    """Both."""
    return request.getfixturevalue("hostile_served" if request.param == "server" else "hostile_bundled")  # type: ignore[no-any-return]


@pytest.mark.parametrize("which", ["lists", "0", "1", hostile.WILD, hostile.BROKEN])
def test_hostile_text_is_text(visit: Visit, hostile_place: Place, which: str) -> None:
    page, read = visit(hostile_place.home), ""
    for name, address in pages(which).items():
        page.goto(hostile_place.home + address)
        assert intruders(ready(page)) == [], name
        if which == "0" and not (name == "file" and hostile_place.bundled):  # the task's own files are in no page
            expect(page.locator("#view")).to_contain_text(LATE.get(name, ""))
        read += page.evaluate("document.body.textContent")
        page.evaluate(OPEN)
        assert intruders(ready(page)) == [], name
        assert page.url.startswith(hostile_place.home)
        read += page.evaluate("document.body.textContent")
    unread = [field for field in FIELDS if f"[{field}] \"'><img src=x onerror=alert(1) data-owned>" not in read]
    assert which != "0" or set(unread) <= ({"task.title", "starter"} if hostile_place.bundled else set()), unread


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
def test_it_would_be_noticed(chromium: Browser, hostile_served: Place, policy: bool) -> None:
    """Where texts are taken for HTML, in a copy of dom.js made in the browser, the checks above fail."""
    with watched(chromium, hostile_served.home, bypass_csp=not policy) as seen:
        seen.context.route("**/dom.js", _unsafe)
        seen.context.route("http://127.0.0.2:9/**", lambda route: route.abort("aborted"))  # and the page stays
        page = seen.context.new_page()
        page.goto(hostile_served.home + pages("0")["step"])
        wanted, left = "console: violation" if policy else "dialog", 100
        while (left := left - 1) and not any(told.startswith(wanted) for told in seen.complaints):
            page.wait_for_timeout(100)
        assert left, seen.complaints
        assert not policy or "<img>" in intruders(page)  # without it a dialog may hold the page up


def intruders(page: Page) -> list[str]:
    """What is on the page and not ours."""
    inside = ["style"] if page.url.startswith("file") else []
    return list(page.evaluate(LOOK, [*OURS.split(), *inside]))


def _unsafe(route: Route) -> None:
    answer = route.fetch()
    text = answer.text()
    assert text.count("  node.append(...") == 1 and text.count("node.textContent = ") == 1
    text = text.replace("  node.append(...", f"  ({HTML})(node, ...").replace(
        "node.textContent = ", "node.innerHTML = "
    )
    route.fulfill(response=answer, body=text)
