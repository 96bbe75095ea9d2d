"""A paper as it is found, and foreign text made fit to be shown."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

AUTHORS, ABSTRACT = 3, 400  # authors named, and characters of an abstract, in a list of papers


@dataclass(frozen=True)
class Paper:
    """What is known of a paper; `arxiv` is its id there, `text` what a paper of the user's own says."""

    id: str
    title: str
    authors: Sequence[str] = ()
    year: str = ""
    venue: str = ""
    abstract: str = ""
    arxiv: str = ""
    text: str = ""

    def shown(self, abstract: int = ABSTRACT) -> str:
        """A few lines for a list, with so many characters of the abstract."""
        more = f" and {len(self.authors) - AUTHORS} more" if len(self.authors) > AUTHORS else ""
        who = ", ".join(self.authors[:AUTHORS]) + more
        about = ". ".join(filter(None, [who, self.venue, self.year]))
        lines = [f"[{self.id}] {short(self.title, 200)}", about, short(self.abstract, abstract)]
        return "\n  ".join(filter(None, lines))


@dataclass(frozen=True)
class Found:
    """A part of what a source has for a query, and how many there are in all."""

    papers: Sequence[Paper]
    total: int


def clean(text: str) -> str:
    """The text without what a terminal or a reader could be fooled by: control characters, hidden and unknown signs.

    Newlines and tabs stay, ligatures become letters.
    """
    return "".join(map(_sign, text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")))


def _sign(sign: str) -> str:
    if sign in "\n\t" or sign.isprintable():
        return unicodedata.normalize("NFKC", sign) if "\ufb00" <= sign <= "\ufb06" else sign
    kind = unicodedata.category(sign)
    return " " if kind.startswith("Z") else "" if kind == "Cf" else "\N{REPLACEMENT CHARACTER}"


def line(value: Any) -> str:
    """A value of a foreign record as one clean line; empty for what is no text or number."""
    is_text = isinstance(value, str | int | float) and not isinstance(value, bool)
    return " ".join(clean(str(value)).split()) if is_text else ""


def short(text: str, most: int) -> str:
    """The text, its end left out where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def quoted(text: str) -> str:
    """What an agent wrote, as it may stand in a sentence."""
    return f"'{short(line(text), 60)}'"


def paper(record: Any) -> Paper:
    """The paper of a JSON record as Semantic Scholar has them; raises ValueError for what is none."""
    if not isinstance(record, dict) or not line(record.get("title")):
        raise ValueError("a record of a paper is an object with a title")
    authors, other = record.get("authors"), record.get("externalIds")
    listed = authors if isinstance(authors, list) else []
    named = [line(each.get("name") if isinstance(each, dict) else each) for each in listed]
    return Paper(
        f"s2:{line(record.get('paperId'))}",
        line(record["title"]),
        [name for name in named if name],
        line(record.get("year")),
        line(record.get("venue")),
        line(record.get("abstract")),
        line(other.get("ArXiv")) if isinstance(other, dict) else "",
        clean(record["text"]) if isinstance(record.get("text"), str) else "",
    )


def loaded(data: bytes | str) -> Any:
    """JSON of others; raises ValueError for what is none."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
