"""The page stands alone: no network, no other file, figures with names and numbers, ids once, links that lead."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mlgym.records import Cost
from mlgym.report import ink
from mlgym.report.estimates import estimates
from mlgym.report.figures import money_picture, profile_picture
from mlgym.report.folder import report
from mlgym.report.pool import load, pools
from mlgym.report.study import Study
from tests.recorded import at, episode, lock

VOID = {"meta", "br", "wbr", "link", "img"}


class Reader(HTMLParser):
    """The tags of a page with their attributes; what was closed wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.wrong.append(f"</{tag}> at {self.getpos()}")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a small run of two protocols, one of them with figures of everything."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("one", "two"):
        lock(folder / name, ["blotto"], name)
        for seed in range(2):
            episode(folder / name, "blotto", "react", seed, [None, at("blotto", 0.5 + seed / 9)], model="openai/x")
        episode(folder / name, "blotto", "nop", 0, [None], ended="gave_up")
    return report([folder / "one", folder / "two"], folder / "out", formats=("svg",)).page.read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_it_is_well_formed(page: Reader) -> None:
    assert not page.wrong and not page.open


def test_it_needs_nothing_else(text: str, page: Reader) -> None:
    assert {found for found in re.findall(r"https?://[^\"'\s<]+", text)} == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not [tag for tag, attrs in page.tags if attrs.get("src") or tag in ("link", "img", "iframe", "object")]
    assert "default-src 'none'" in text


def test_ids_are_there_once_and_links_lead_to_them(text: str, page: Reader) -> None:
    ids = Counter(attrs["id"] for _, attrs in page.tags if attrs.get("id"))
    assert [name for name, times in ids.items() if times > 1] == []
    wanted = {
        (attrs.get("href") or attrs.get("xlink:href") or "")[1:] for tag, attrs in page.tags if tag in ("a", "use")
    }
    wanted |= set(re.findall(r"url\(#([^)]+)\)", text))
    wanted |= {name for _, attrs in page.tags for name in (attrs.get("aria-labelledby") or "").split()}
    assert not wanted - set(ids)


def test_every_figure_can_be_heard(text: str, page: Reader) -> None:
    drawings = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert drawings and all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in drawings)
    assert text.count("<desc") == len(drawings) == 2 * text.count("<figure>")


def test_figures_follow_the_theme_and_their_text_is_text(text: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r"href=\"#\w+\"|url\(#\w+\)", "", drawings))
    assert "<text" in drawings and "DejaVu" not in drawings and "openai/x" in drawings
    used = set(re.findall(r"var\((--\w+)\)", drawings)) - {"--sans"}
    assert used <= {name for name, _, _ in ink.variables()}
    assert all(f"{name}:" in text for name in used)


def test_every_table_has_heads_and_a_caption(page: Reader) -> None:
    tables = [attrs for tag, attrs in page.tags if tag == "table"]
    assert len(tables) == sum(tag == "caption" for tag, _ in page.tags) > 10
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_lines_stand_out_in_both_themes() -> None:
    both = {name: (light, dark) for name, light, dark in ink.variables()}
    for theme in (0, 1):
        paper = both["--paper"][theme]
        assert contrast(both["--ink"][theme], paper) > 12
        assert contrast(both["--muted"][theme], paper) > 4.5
        assert min(contrast(values[theme], paper) for name, values in both.items() if name.startswith("--hue")) > 4.5


def test_methods_are_told_apart() -> None:
    looks = ink.line_looks(["model"] * 12 + ["control"] * 4)
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == 16


def test_many_names_fit(tmp_path: Path) -> None:
    run = tmp_path / "run"
    lock(run, ["blotto"], "one")
    for number in range(14):
        episode(run, "blotto", "react", 0, [at("blotto", number / 14)], model=f"openai/{'long-' * 9}{number}")
    page = report([run], tmp_path / "out", formats=()).page.read_text()
    assert "<wbr>" in page and page.count("<details>") >= 1


def test_a_name_with_dollars_is_no_formula(tmp_path: Path) -> None:
    run = tmp_path / "run"
    lock(run, ["blotto"], "one")
    for number, name in enumerate(("openai/$^$", "openai/a$x$\x1b[31m\n\n猫")):
        for seed in range(2):
            costs = {"cost": Cost(money=10.0**number, command_s=1.0)}
            episode(run, "blotto", "react", seed, [at("blotto", 0.1)], model=name, **costs)
    [pool] = pools(load([run]))
    study = Study(pool)
    found = estimates(study)
    with ink.drawing():
        for make in (money_picture, profile_picture):
            picture = make(study, found)
            assert picture is not None
            text = ink.svg(picture.draw(False), "key")
            assert ">openai/$^$</text>" in text and "mathdefault" not in text and "\x1b" not in text
    report([run], tmp_path / "out", formats=())
    texts = [(tmp_path / "out" / name).read_text() for name in ("report.md", "report.tex")]
    assert not [text for text in texts if "\x1b" in text or "\n\n猫" in text]
