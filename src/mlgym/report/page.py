"""The report as one HTML page: no network, no other file; light and dark, wide and narrow; a table by each figure."""

import html
from dataclasses import dataclass
from importlib.resources import files

from mlgym.report import ink
from mlgym.report.figures import Picture
from mlgym.report.tables import Table, as_html

SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", sans-serif'


LONG = 24  # rows
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Drawn:
    """A picture and its two drawings as SVG for a page."""

    picture: Picture
    wide: str
    narrow: str


@dataclass(frozen=True)
class Chapter:
    """What one protocol's pool comes to: a heading (empty where there is one pool), tables and figures."""

    heading: str
    about: str
    tables: tuple[Table, ...]
    figures: tuple[Drawn, ...]


# A section of a chapter: its title, the figures and the tables that stand open in it.
SECTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Overview", ("progress",), ("methods", "controls")),
    ("Scores", (), ("best-attempt", "best-submission", "mean", "progress-by-task")),
    ("Profiles and AUP", ("profiles", "aup"), ("aup",)),
    ("Cost", ("money",), ("cost",)),
    ("Over an episode", ("progress-over", "scores-over"), ()),
    ("What agents do", ("actions", "actions-steps", "ended"), ()),
    ("Failures and gaps", ("failures",), ("failures", "failures-by-task", "missing")),
    ("Comparisons", (), ("pairs",)),
    ("Protocol", (), ("protocol",)),
)


def page(title: str, lead: str, facts: list[tuple[str, str]], warnings: list[str], chapters: list[Chapter]) -> str:
    """The whole page. `facts` are shown as figures with a word each, `warnings` in a box of their own."""
    parts, contents = [], []
    for number, chapter in enumerate(chapters):
        body, links = _chapter(chapter, f"-{number}" if len(chapters) > 1 else "")
        parts.append(body)
        contents += links
    light = "".join(f"{name}:{value};" for name, value, _ in ink.variables())
    dark = "".join(f"{name}:{value};" for name, _, value in ink.variables())
    boxed = "".join(f"<p>{html.escape(line)}</p>" for line in warnings)
    numbers = "".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in facts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(title)}</title>
<style>:root{{--sans:{SANS};{light}}}
@media (prefers-color-scheme: dark) {{:root{{{dark}}}}}
{_file("page.css")}</style>
</head>
<body>
<a class="skip" href="#main">To the results</a>
<div class="sheet">
<nav aria-label="Contents"><p>Contents</p><ol>{"".join(contents)}</ol></nav>
<header><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p><dl class="facts">{numbers}</dl>
{f'<div class="warn" role="note">{boxed}</div>' if boxed else ""}</header>
<main id="main">
{"".join(parts)}
</main>
<footer><p>Made by <code>mlgym report</code>. Every table lies beside this page as CSV, Markdown and LaTeX, and all
episodes, attempts and steps as data. Click a column's name to sort by it.</p></footer>
</div>
<script>{_file("page.js")}</script>
</body>
</html>
"""


def _file(name: str) -> str:
    return files("mlgym.report").joinpath(name).read_text("utf-8")


def _chapter(chapter: Chapter, suffix: str) -> tuple[str, list[str]]:
    """A chapter, and its lines of the contents."""
    tables = {table.key: table for table in chapter.tables}
    figures = {drawn.picture.key: drawn for drawn in chapter.figures}
    parts, links = [], []
    if chapter.heading:
        parts.append(f'<h2 class="chapter" id="chapter{suffix}">{html.escape(chapter.heading)}</h2>')
        parts.append(f'<p class="about">{html.escape(chapter.about)}</p>')
        links.append(f'<li class="group"><a href="#chapter{suffix}">{html.escape(chapter.heading)}</a></li>')
    for place, (title, pictures, open_tables) in enumerate(SECTIONS):
        shown = [_figure(figures[key], tables, open_tables, suffix) for key in pictures if key in figures]
        shown += [_table(tables[key], suffix) for key in open_tables if key in tables]
        if not shown:
            continue
        anchor = f"s{place}{suffix}"
        parts.append(f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{title}</h2>{"".join(shown)}</section>')
        links.append(f'<li><a href="#{anchor}">{title}</a></li>')
    return "\n".join(parts), links


def _figure(drawn: Drawn, tables: dict[str, Table], open_tables: tuple[str, ...], suffix: str) -> str:
    """A figure with its caption, and the numbers behind it where they do not stand beside it anyway."""
    picture = drawn.picture
    numbers = where = ""
    if picture.table in tables and picture.table not in open_tables:
        table = tables[picture.table]
        if table.key in _OPEN:
            where = f' The numbers: <a href="#{table.key}{suffix}">{html.escape(table.title)}</a>.'
        else:
            numbers = f"<details><summary>The numbers</summary>{_html(table, suffix)}</details>"
    return (
        f"<h3>{html.escape(picture.title)}</h3><figure>{drawn.wide}{drawn.narrow}"
        f"<figcaption>{html.escape(picture.caption)}{where}</figcaption></figure>{numbers}"
    )


_OPEN = {key for _, _, keys in SECTIONS for key in keys}


def _table(table: Table, suffix: str) -> str:
    about = f'<p class="about">{html.escape(table.about)}</p>' if table.about else ""
    shown = _html(table, suffix)
    if len(table.rows) > LONG and table.key in ("pairs", "missing", "protocol"):
        shown = f"<details><summary>{len(table.rows)} rows</summary>{shown}</details>"
    return f"<h3>{html.escape(table.title)}</h3>{about}{shown}"


def _html(table: Table, suffix: str) -> str:
    return as_html(table).replace(f'<table id="{table.key}">', f'<table id="{table.key}{suffix}">', 1)
