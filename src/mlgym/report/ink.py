"""What figures are drawn with: colours that the colour-blind can tell apart, and SVG that follows a page's theme.

Figures are drawn in the colours for white paper. On the page each colour becomes a CSS variable, so that one drawing
serves the light and the dark theme, and its text stays text in the page's own font.
"""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlgym.report.console import safe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1b2026", "#5d6875", "#e2e6eb", "#fffffe"
# Eight hues after Okabe and Ito (2008), darkened until lines of them can be read on white; (light, dark).
HUES = (
    ("#0068b3", "#62b5f5"), ("#c9500a", "#ff9357"), ("#00805c", "#3ecfa0"), ("#a83b80", "#ee98cc"),
    ("#9a6d00", "#efc04a"), ("#5546c2", "#aca1ff"), ("#7d4c2c", "#d3a27c"), ("#087f93", "#52d0e4"),
)  # fmt: skip
GREYS = (
    ("#3b434b", "#d3dae1"), ("#5c6670", "#aab4be"), ("#7a848e", "#8b95a0"), ("#939da6", "#707a85"),
    ("#aab2ba", "#5b656f"),
)  # fmt: skip
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()), (0, (4, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.3, 1.2, 1.3)), (0, (1, 3)),
)  # fmt: skip
MARKERS = "osD^vPX*"
# Shares of a bar: from calm to alarming.
PARTS = (
    ("#3f7fb5", "#4a8fcb"), ("#8fbbdc", "#a9cfee"), ("#7a9a4d", "#9dbf6c"), ("#c3b25a", "#d8c877"),
    ("#c98b3a", "#dfa65a"), ("#b4552d", "#e07f55"), ("#8a2f4f", "#d4688e"), ("#9aa3ad", "#717b86"),
    ("#d4d9df", "#3d4650"),
)  # fmt: skip
FRAME = {
    INK: ("--ink", INK, "#e6eaee"),
    MUTED: ("--muted", MUTED, "#9ba6b2"),
    GRID: ("--grid", GRID, "#2d343c"),
    PAPER: ("--paper", "#ffffff", "#14181d"),
}
WIDE, NARROW = 7.2, 3.55  # inches: the width of a page of a paper, and of one of its two columns
_FONTS = "font.family", "DejaVu Sans"
STYLE = {
    _FONTS[0]: _FONTS[1], "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5, "legend.fontsize": 7.5, "axes.titlelocation": "left", "axes.titleweight": "bold",
    "text.color": INK, "axes.labelcolor": MUTED, "xtick.color": GRID, "ytick.color": GRID, "axes.titlecolor": INK,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "axes.edgecolor": GRID, "grid.color": GRID,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.linewidth": 0.6,
    "axes.linewidth": 0.8, "axes.axisbelow": True, "figure.facecolor": PAPER, "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER, "legend.frameon": False, "lines.linewidth": 1.5, "lines.solid_capstyle": "round",
    "svg.fonttype": "none", "pdf.fonttype": 42, "savefig.dpi": 200, "axes.unicode_minus": True,
    "legend.handlelength": 2.2, "legend.labelcolor": INK, "text.parse_math": False,  # a name may hold dollars
}  # fmt: skip


@contextmanager
def drawing() -> Iterator[None]:
    """The style of all figures; matplotlib's own settings are as before afterwards."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def line_looks(kinds: Sequence[str]) -> list[dict[str, object]]:
    """Colour and dash of each method's line: hues for what is compared, greys for the controls."""
    looks: list[dict[str, object]] = []
    counts = {"control": 0, "other": 0}
    for kind in kinds:
        group = "control" if kind == "control" else "other"
        colours, number = (GREYS if group == "control" else HUES), counts[group]
        counts[group] += 1
        dash = number % len(DASHES) if group == "control" else number // len(HUES)
        looks.append({"color": colours[number % len(colours)][0], "linestyle": DASHES[dash % len(DASHES)]})
    return looks


def label(colour: object) -> object:
    """The colour of a name beside a line or point: its own, or that of quiet text where it is a grey."""
    return MUTED if any(colour == light for light, _ in GREYS) else colour


def marker(number: int) -> str:
    """The n-th method's marker."""
    return MARKERS[number % len(MARKERS)]


def part(number: int) -> str:
    """The colour of the n-th share of a bar."""
    return PARTS[number % len(PARTS)][0]


def variables() -> list[tuple[str, str, str]]:
    """All CSS variables of the figures: name, value on light, value on dark."""
    coloured = [(f"--{name}{n}", *pair) for name, many in _NAMED for n, pair in enumerate(many)]
    return [*FRAME.values(), *coloured]


_NAMED = (("hue", HUES), ("grey", GREYS), ("part", PARTS))
_BY_COLOUR = {
    **{colour: f"var({name})" for colour, (name, _, _) in FRAME.items()},
    **{light: f"var(--{name}{n})" for name, many in _NAMED for n, (light, _) in enumerate(many)},
}


def svg(figure: "Figure", key: str) -> str:
    """The figure as plain SVG, the same for the same figure, its ids unlike those of another key."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": key}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return safe(out.getvalue())  # XML has no control characters


def inline(text: str, title: str, about: str, key: str) -> str:
    """An SVG of `svg` for a page: colours as variables, the page's font, named for screen readers."""
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"(font: [^;\"']*?px) [^;\"]*", r"\1 var(--sans)", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body)  # hundredths of a point
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: _BY_COLOUR.get(found[0], found[0]), body)
    body = re.sub(r"\s*\n\s*", " ", body)
    box = re.search(r'viewBox="([^"]*)"', body)
    opened = (
        f'<svg class="{key.rpartition("-")[2]}" viewBox="{box[1] if box else ""}" role="img" '
        f'aria-labelledby="{key}-t {key}-d" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{key}-t">{_escaped(title)}</title><desc id="{key}-d">{_escaped(about)}</desc>'
    )
    return opened + body[body.index(">") + 1 :]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
