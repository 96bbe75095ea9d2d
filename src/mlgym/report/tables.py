"""Tables as data, and how they are written: Markdown, LaTeX, HTML, CSV. A missing value is shown as missing."""

import csv
import html
import io
import math
import re
from dataclasses import dataclass
from typing import Any

from mlgym.report.console import safe

MISSING = "missing"
MARKS = "marks"  # the name of the column of what marks a method
NONE = "–"


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and the value behind it. `look` is "best", "missing", "quiet" or empty."""

    text: str
    value: Any = None
    look: str = ""


@dataclass(frozen=True)
class Table:
    """A titled table in blocks of a heading each; the first `words` columns hold words, the others figures."""

    key: str
    title: str
    columns: tuple[str, ...]
    blocks: tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]
    about: str = ""
    notes: tuple[str, ...] = ()
    words: int = 1

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """All rows, whatever block they stand in."""
        return [row for _, block in self.blocks for row in block]


def word(text: str, look: str = "") -> Cell:
    """A cell of text."""
    return Cell(safe(text), text, look)


def figure(value: float, digits: int = 4, look: str = "") -> Cell:
    """A number in significant digits; nan is a dash."""
    return Cell(short(value, digits), None if math.isnan(value) else float(value), look)


def fixed(value: float, places: int = 3, look: str = "") -> Cell:
    """A number with fixed decimals; nan is a dash."""
    return Cell(NONE if math.isnan(value) else minus(f"{value:.{places}f}"), None if math.isnan(value) else value, look)


def count(value: float) -> Cell:
    """A whole number, with thousands set apart."""
    return Cell(NONE if math.isnan(value) else f"{round(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}"), value)


def p_value(p: float) -> Cell:
    """A p value, small ones as a bound."""
    return Cell("< 0.001", p) if p < 0.001 else fixed(p, 3)


def missing() -> Cell:
    """A value that there is not, because the infrastructure failed or the episode has not ended."""
    return Cell(MISSING, None, "missing")


def short(value: float, digits: int = 4) -> str:
    """A number in significant digits, without trailing zeros beyond them; a dash for nan."""
    if math.isnan(value):
        return NONE
    if value and not 1e-3 <= abs(value) < 1e5:
        return minus(f"{value:.{digits - 1}e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e"))
    places = max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))
    return minus(f"{value:.{min(places, digits)}f}")


def between(low: float, high: float, places: int = 3) -> str:
    """An interval in brackets; empty where there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"[{minus(f'{low:.{places}f}')}, {minus(f'{high:.{places}f}')}]"


def minus(text: str) -> str:
    """With a true minus sign; no negative zero."""
    if re.fullmatch(r"-0(\.0*)?", text):
        text = text[1:]
    return text.replace("-", "\N{MINUS SIGN}")


def markdown(table: Table, level: int = 2) -> str:
    """The table in GitHub's Markdown, under a heading."""
    rule = [":--" if place < table.words else "--:" for place in range(len(table.columns))]
    rows = [list(table.columns), rule]
    for heading, block in table.blocks:
        if heading:
            rows.append([f"*{_md(heading)}*"] + [""] * (len(table.columns) - 1))
        rows += [[_md_cell(cell) for cell in row] for row in block]
    rows[0] = [_md(name) for name in rows[0]]
    lines = ["#" * level + " " + _md(table.title), ""]
    lines += [_md(table.about), ""] if table.about else []
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", *(f"- {_md(note)}" for note in table.notes)] if table.notes else []
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    return re.sub(r"([\\|*_`<#]|\[(?=[^\]]*\]\())", r"\\\1", " ".join(text.split()))


def _md_cell(cell: Cell) -> str:
    text = _md(cell.text)
    return f"**{text}**" if cell.look == "best" else f"*{text}*" if cell.look == "missing" else text


def latex(table: Table) -> str:
    """The table as a LaTeX float in the style of booktabs (`\\usepackage{booktabs}`)."""
    lines = [
        "\\begin{table}[t]",
        f"\\caption{{{_tex(' '.join(filter(None, (table.title + '.', table.about, *table.notes))))}}}",
        f"\\label{{tab:{table.key}}}",
        "\\centering\\small",
        f"\\begin{{tabular}}{{{'l' * table.words}{'r' * (len(table.columns) - table.words)}}}",
        "\\toprule",
        " & ".join(_tex(name) for name in table.columns) + " \\\\",
    ]
    for heading, block in table.blocks:
        lines.append("\\midrule")
        if heading:
            lines.append(f"\\multicolumn{{{len(table.columns)}}}{{l}}{{\\emph{{{_tex(heading)}}}}} \\\\")
        lines += [" & ".join(_tex_cell(cell) for cell in row) + " \\\\" for row in block]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}"]) + "\n"


_TEX = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\N{MINUS SIGN}": "$-$", "–": "--", "↑": "$\\uparrow$",
    "↓": "$\\downarrow$", "·": "$\\cdot$", "…": "\\ldots{}", "Δ": "$\\Delta$", "±": "$\\pm$", "×": "$\\times$",
    "≥": "$\\geq$", "τ": "$\\tau$", "<": "$<$", ">": "$>$", "|": "$|$", "“": "``", "”": "''",
    "\N{NARROW NO-BREAK SPACE}": "\\,", "[": "{[}", "]": "{]}",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in re.sub(r"\s*\n\s*", " ", text))


def _tex_cell(cell: Cell) -> str:
    text = _tex(cell.text)
    return f"\\textbf{{{text}}}" if cell.look == "best" else f"\\emph{{{text}}}" if cell.look == "missing" else text


def as_html(table: Table) -> str:
    """The table as HTML, with its caption for those who cannot see it; it scrolls by itself where it is too wide.

    The last column, where it is `marks`, goes under the name in the first.
    """
    marked = table.columns[-1] == MARKS
    columns = table.columns[:-1] if marked else table.columns
    sort = ' data-sort="1"' if len(table.rows) > 2 else ""
    heads = "".join(
        f'<th scope="col"{sort}{"" if place < table.words else " class=n"}>{_html_head(name)}</th>'
        for place, name in enumerate(columns)
    )
    body = "".join(_html_block(table, len(columns), heading, block) for heading, block in table.blocks)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    return (
        f'<div class="table" role="region" tabindex="0" aria-label="{html.escape(table.title)}">'
        f'<table id="{table.key}"><caption>{html.escape(table.title)}</caption><thead><tr>{heads}</tr></thead>{body}'
        f"</table></div>" + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def _html_head(name: str) -> str:
    """A column's name; what stands in brackets, such as a metric, on a line of its own."""
    first, bracket, rest = html.escape(name).partition(" (")
    return f'{first}<span class="ci">{rest.removesuffix(")")}</span>' if bracket else _breakable(first)


def _html_block(table: Table, columns: int, heading: str, block: tuple[tuple[Cell, ...], ...]) -> str:
    head = f'<tr class="block"><th colspan="{columns}" scope="rowgroup">{html.escape(heading)}</th></tr>'
    rows = "".join(_html_row(table, row[:columns], row[columns:]) for row in block)
    return f"<tbody>{head if heading else ''}{rows}</tbody>"


def _html_row(table: Table, cells: tuple[Cell, ...], marks: tuple[Cell, ...]) -> str:
    under = "".join(
        f' <span class="ci">{html.escape(cell.text)}</span>' for cell in marks if cell.text not in ("", cells[0].text)
    )
    return "<tr>" + "".join(_html_cell(table, *cell, under) for cell in enumerate(cells)) + "</tr>"


def _html_cell(table: Table, place: int, cell: Cell, under: str) -> str:
    classes = " ".join(filter(None, (cell.look, "" if place < table.words else "n")))
    named = f' class="{classes}"' if classes else ""
    text = html.escape(cell.text)
    if place == 0:
        return f'<th scope="row"{named}>{_breakable(text)}{under}</th>'
    if " [" in text and place >= table.words:  # an interval goes under its number
        text = text.replace(" [", ' <span class="ci">[', 1) + "</span>"
    key = f' data-v="{cell.value:.12g}"' if isinstance(cell.value, int | float) else ""
    return f"<td{named}{key}>{text if place >= table.words else _breakable(text)}</td>"


def _breakable(text: str) -> str:
    """A name that a line may end in: after its slashes, colons and the like."""
    text = text.replace(" · ", "\N{NO-BREAK SPACE}·\N{NO-BREAK SPACE}")
    return re.sub(r"([/:?=,_]|&amp;|\.(?=\D))", r"\1<wbr>", text)


def as_csv(table: Table) -> str:
    """The values behind the table, at full precision; what is missing stays empty."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(table.columns)
    rows.writerows(["" if cell.value is None else cell.value for cell in row] for row in table.rows)
    return out.getvalue()
