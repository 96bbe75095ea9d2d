"""What an action or an observation is, and as much of it as is shown at once.

A Shown has a `kind` and, as the kind asks, coloured `spans`, `hunks` of a difference, or plain `text`. Where it is
`folded` these are its head, and `tail` its last lines; `size` and `lines` count all of it. `first` is the number of its
first line in a file, if it is a file's. What is `quiet` need not be read to follow the episode.
"""

from collections.abc import Callable
from typing import Any

from mlgym.viewer.differences import Hunks
from mlgym.viewer.ink import Spans, inked, plain
from mlgym.viewer.visible import visible

Shown = dict[str, Any]
HEAD, LINES = 4_000, 40  # characters and lines that a card holds of each field
WHOLE = 200_000
DIFFERENCES = ("edit", "insert", "diff")  # kinds whose hunks are all that there is to read
Ink = Callable[[str], Spans]


def text(value: str, most: int = HEAD) -> Shown:
    """A text that may be long: its head, and how much there is."""
    return {"text": visible(value[:most]), "size": len(value), "lines": count(value)}


def count(value: str) -> int:
    """How many lines a text has; a last newline begins none."""
    return value.count("\n") + (not value.endswith("\n")) if value else 0


def shown(
    kind: str,
    body: str,
    *,
    lexer: str = "",
    ink: Ink | None = None,
    title: str = "",
    quiet: bool = False,
    first: int | None = None,
    hunks: Hunks | None = None,
    ends: tuple[int, int] = (12, 6),
    whole: bool = False,
) -> Shown:
    """The Shown of a text: coloured in a language, by `ink`, or plain; of a long one so many first and last lines."""
    body = body.removesuffix("\n")
    head, tail, folded = _ends(body, ends, whole)
    colour = ink or (lambda part: inked(part, lexer)) if lexer or ink else None
    out: Shown = {
        "kind": kind,
        "title": title,
        "spans": None,
        "hunks": None,
        "text": None,
        "tail": None,
        "first": first,
        "size": len(body),
        "lines": count(body),
        "quiet": quiet,
        "folded": folded,
    }
    if hunks and not (whole and kind not in DIFFERENCES):
        return out | (_cut(hunks, kind) if not whole else {"hunks": hunks, "folded": False})
    if colour:
        out["spans"] = colour(head) if body else []
    else:
        out["text"] = {"text": head, "size": len(body), "lines": count(body)}
    if tail:
        out["tail"] = colour("\n".join(tail)) if colour else plain("\n".join(tail))
    return out


def _ends(body: str, ends: tuple[int, int], whole: bool) -> tuple[str, list[str], bool]:
    """The head that is shown, made visible, the last lines, and whether there is more."""
    if whole:
        return visible(body[:WHOLE]), [], len(body) > WHOLE
    lines = count(body)
    if len(body) <= HEAD and lines <= LINES:
        return visible(body), [], False
    head = visible(body[: HEAD - 1000]).split("\n")[: ends[0]]
    if lines <= sum(ends):  # few lines, and long ones
        return "\n".join(head), [], True
    tail = visible(body[-1000:]).split("\n")
    return "\n".join(head), tail[1:][-ends[1] :] if ends[1] else [], True


def _cut(hunks: Hunks, kind: str) -> Shown:
    """As many lines of a difference as a card holds. A text of which it is but a part is there when unfolded."""
    out, left = list[dict[str, Any]](), LINES
    for hunk in hunks:
        if left > 0:
            out.append({**hunk, "lines": hunk["lines"][:left]})
        left -= len(hunk["lines"])
    return {"hunks": out, "folded": left < 0 or kind not in DIFFERENCES}
