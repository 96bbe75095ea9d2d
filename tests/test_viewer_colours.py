"""The colours of the viewer's page can be read in both themes (WCAG 2.2, AA)."""

import re
from pathlib import Path

import pytest

from mlgym import viewer

STYLE = (Path(viewer.__file__).parent / "page" / "style.css").read_text()
PAIR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
COLOURS = {name: pair for name, *pair in PAIR.findall(STYLE)}
CODE = [name for name in COLOURS if name.startswith("code-")]
HUES = [name for name in COLOURS if name.startswith("hue")]
GROUNDS = ("paper", "raised", "sunken")
TEXT = [
    *((ink, ground) for ink in ("ink", "muted") for ground in GROUNDS),
    *(("ink", tint) for tint in ("hit", "up", "down", "level", "add-tint", "cut-tint", "accent-tint", "warn-tint")),
    *((word, ground) for word in ("accent", "good", "warn", "bad") for ground in ("paper", "raised", f"{word}-tint")),
    *((code, ground) for code in CODE for ground in ("paper", "raised", "add-tint", "cut-tint")),
    ("paper", "accent"),
    ("muted", "add-tint"),
    ("muted", "cut-tint"),
    ("muted", "accent-tint"),
]
DRAWN = [(name, "paper") for name in (*HUES, "edge", "up-solid", "down-solid")]


def luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("least", "pairs"), [(4.5, TEXT), (3.0, DRAWN)], ids=["text", "drawn"])
def test_contrast(theme: int, least: float, pairs: list[tuple[str, str]]) -> None:
    found = {f"{a} on {b}": round(contrast(COLOURS[a][theme], COLOURS[b][theme]), 2) for a, b in pairs}
    assert not {names: ratio for names, ratio in found.items() if ratio < least}
