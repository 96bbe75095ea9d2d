"""Differences as hunks: [{old, new, lines: [["=" | "-" | "+", old number, new number, spans]]}]."""

import difflib
import re
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mlgym.viewer.ink import Spans, inked
from mlgym.viewer.visible import visible

Hunks = list[dict[str, Any]]
Match = tuple[int, int, int]  # lines that are the same: the first in the old, in the new, how many

CONTEXT = 3
SMALL, SECONDS = 10_000, 0.3  # a stretch of so many old times new lines is compared line by line, while there is time
_PLACE = re.compile(r"@@ -(\d{1,9})(?:,\d{1,9})? \+(\d{1,9})(?:,\d{1,9})? @@")
_ABOUT = re.compile(
    r"diff |index [0-9a-f]|Index: |new file|deleted file|similarity|rename |(old|new) mode|Binary files |\\ No |\*\*\* "
)


def between(old: str, new: str, lexer: str = "", first: int | None = 1) -> Hunks:
    """The difference of two texts, made visible and coloured. Their first lines have the number `first`; where that is
    None the lines' numbers are not known.
    """
    if old.endswith("\n") and new.endswith("\n"):
        old, new = old[:-1], new[:-1]
    before, after = (visible(text).split("\n") if text else [] for text in (old, new))
    if before == after:
        return []
    old_spans, new_spans = (inked("\n".join(rows), lexer) if rows else [] for rows in (before, after))
    hunks = _hunks(matches(before, after), old_spans, new_spans, first or 1)
    for row in (row for hunk in hunks if first is None for row in hunk["lines"]):
        row[1:3] = None, None
    return hunks


def matches(old: Sequence[str], new: Sequence[str]) -> list[Match]:
    """The stretches that are the same, in order: around lines that both have once, and line by line where that is
    cheap. What would take long to compare counts as different.
    """
    end, out = time.thread_time() + SECONDS, list[Match]()
    cuts = _anchors(old, new) if len(old) * len(new) > SMALL else []
    a = c = 0
    for b, d in [*cuts, (len(old), len(new))]:
        for one in _stretch(old[a:b], new[c:d], time.thread_time() < end):
            i, j, size = a + one[0], c + one[1], one[2]
            if out and (out[-1][0] + out[-1][2], out[-1][1] + out[-1][2]) == (i, j):
                out[-1] = (*out[-1][:2], out[-1][2] + size)
            elif size:
                out.append((i, j, size))
        a, c = b, d
    return out


def _stretch(old: Sequence[str], new: Sequence[str], time_left: bool) -> list[Match]:
    """The matches of two stretches: their ends, and what is between where that is cheap."""
    shorter, head, tail = min(len(old), len(new)), 0, 0
    while head < shorter and old[head] == new[head]:
        head += 1
    while tail < shorter - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    b, d = len(old) - tail, len(new) - tail
    inner: list[Match] = []
    if time_left and (b - head) * (d - head) <= SMALL:
        found = difflib.SequenceMatcher(None, old[head:b], new[head:d], autojunk=False).get_matching_blocks()
        inner = [(head + one.a, head + one.b, one.size) for one in found]
    return [(0, 0, head), *inner, (b, d, tail)]


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Places of lines that both have exactly once, as many as come in the same order."""
    once_old, once_new = ({x for x, count in Counter(lines).items() if count == 1} for lines in (old, new))
    places = {line: j for j, line in enumerate(new) if line in once_new and line in once_old}
    pairs = [(i, places[line]) for i, line in enumerate(old) if line in places]
    ends, piles, back = list[int](), list[int](), list[int]()
    for k, (_, j) in enumerate(pairs):
        pile = bisect_left(ends, j)
        ends[pile : pile + 1] = [j]
        piles[pile : pile + 1] = [k]
        back.append(piles[pile - 1] if pile else -1)
    out, k = list[tuple[int, int]](), piles[-1] if piles else -1
    while k >= 0:
        out.append(pairs[k])
        k = back[k]
    return out[::-1]


def _hunks(same: list[Match], old: Spans, new: Spans, first: int) -> Hunks:
    """The lines that differ with CONTEXT lines around them; changes that are near each other share a hunk."""
    out: Hunks = []
    a = c = 0
    for i, j, size in [*same, (len(old), len(new), 0)]:
        if i > a or j > c:
            if not out or a - out[-1]["end"] > CONTEXT:
                lead = min(CONTEXT, a, c) if not out else min(CONTEXT, a - out[-1]["end"])
                out.append({"old": a - lead + first, "new": c - lead + first, "lines": [], "end": 0})
            else:
                lead = a - out[-1]["end"]
            lines = out[-1]["lines"]
            lines += [["=", a - k + first, c - k + first, new[c - k]] for k in range(lead, 0, -1)]
            lines += [["-", k + first, None, old[k]] for k in range(a, i)]
            lines += [["+", None, k + first, new[k]] for k in range(c, j)]
            trail = min(CONTEXT, size)
            lines += [["=", i + k + first, j + k + first, new[j + k]] for k in range(trail)]
            out[-1]["end"] = i + trail
        a, c = i + size, j + size
    for hunk in out:
        del hunk["end"]
    return out


def is_diff(text: str) -> bool:
    """Whether a text is the output of `diff` or `git diff`, or a patch."""
    start = text.lstrip()[:20_000]
    if start.startswith(("diff --git ", "*** Begin Patch")):
        return True
    return start.startswith(("--- ", "diff ", "Index: ", "@@ -")) and _PLACE.search(start) is not None


def read(text: str) -> Hunks:
    """The hunks of a text that is a difference already; what it says about files are lines that stay."""
    out: Hunks = [{"old": 1, "new": 1, "lines": []}]
    old = new = 0  # the next lines' numbers, 0 where they are not known
    rows = visible(text).split("\n")
    for line, below in zip(rows, [*rows[1:], ""], strict=True):
        sign = line[:1]
        if place := _PLACE.match(line):
            old, new = int(place[1]), int(place[2])
            out.append({"old": old, "new": new, "lines": [["=", None, None, [["c", line]]]]})
        elif _heads(line, below) or (_ABOUT.match(line) and sign not in ("-", "+")):
            old = new = 0
            out[-1]["lines"].append(["=", None, None, [["f", line]]])
        elif sign in ("-", "+"):
            number = [old or None, None] if sign == "-" else [None, new or None]
            out[-1]["lines"].append([sign, *number, _plain(line[1:])])
            old, new = old + (sign == "-" and old > 0), new + (sign == "+" and new > 0)
        else:
            out[-1]["lines"].append(["=", old or None, new or None, _plain(line[1:])])
            old, new = old + (old > 0), new + (new > 0)
    return [hunk for hunk in out if hunk["lines"]]


def _heads(line: str, below: str) -> bool:
    """Whether a line names one of the two files that are compared."""
    return line.startswith("+++ ") or (line.startswith("--- ") and below.startswith("+++ "))


def _plain(text: str) -> list[list[str]]:
    return [["", text]] if text else []
