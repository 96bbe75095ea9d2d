"""What is searched of a step, and what is looked for in it.

Text is searched as it is shown, without regard to case; of a longer one its beginning and its end.
"""

import json
import re
from collections.abc import Iterable

from pydantic_core import from_json

from mlgym.runs import BROKEN
from mlgym.viewer.visible import visible

FIELDS = ("action", "thought", "observation")
ENDS = 20_000  # characters of a text that are searched at its beginning, and at its end
QUERY, WORDS = 500, 20  # characters, and words and phrases, of a query
GRAMS = 40  # of a word's runs of three characters, by which steps are chosen before they are read
BEFORE, AFTER = 60, 140  # characters that are shown around what was found
CUT = "\n…\n"
Span = list[str]


def fold(text: str) -> str:
    """`text` without case, character by character."""
    folded = text.casefold()
    if len(folded) == len(text):
        return folded
    return "".join(one if len(one := char.casefold()) == 1 else char for char in text)


def searched(line: bytes) -> tuple[str, ...]:
    """The texts of a step, one for each of FIELDS, as they are searched; empty ones of a line that cannot be read."""
    try:
        step = from_json(line)
        action, seen = step["action"], step["observation"]
        args = (action.get("args") or {}).values()
        texts = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in args)
        told = "\n".join([str(action["tool"]), *map(_ends, texts)])
        return visible(_ends(told)), visible(_ends(str(action.get("thought") or ""))), visible(_ends(str(seen["text"])))
    except BROKEN:
        return "", "", ""


def _ends(text: str) -> str:
    return text if len(text) <= 2 * ENDS else f"{text[:ENDS]}{CUT}{text[-ENDS:]}"


def parsed(query: str) -> list[str]:
    """The words and "quoted phrases" of a query, as they are looked for."""
    found = re.findall(r'"([^"]*)"?|([^\s"]+)', fold(visible(query)))
    return list(dict.fromkeys(filter(str.strip, (phrase or word for phrase, word in found))))


def match(words: Iterable[str], fields: Iterable[str]) -> str:
    """A query of the index, whose answer holds all steps that have the words in one of these fields, and a few others;
    empty where no word is long enough.
    """
    grams = [gram for word in words for gram in _grams(word)]
    told = " AND ".join('"{}"'.format(gram.replace('"', '""')) for gram in dict.fromkeys(grams))
    return " OR ".join(f"{{{field}}} : ({told})" for field in fields) if told else ""


def _grams(word: str) -> list[str]:
    found = [word[at : at + 3] for at in range(len(word) - 2)]
    return found[:: -(-len(found) // GRAMS)] if found else []


def hit(line: bytes, words: list[str], fields: Iterable[str]) -> tuple[str, list[Span]] | None:
    """The first of the fields of a step that has all words, and what stands around one of them."""
    texts = dict(zip(FIELDS, searched(line), strict=True))
    for field in fields:
        folded = fold(texts[field])
        if all(word in folded for word in words):
            return field, _snippet(texts[field], folded, words)
    return None


def _snippet(text: str, folded: str, words: list[str]) -> list[Span]:
    """Spans of ["hit" or "", text] on one line, around the word that is the rarest guess: the longest."""
    longest = max(words, key=len)
    at = folded.index(longest)
    low, high = max(0, at - BEFORE), min(len(text), at + len(longest) + AFTER)
    spans: list[Span] = [["", "…"]] if low else []
    place = low
    for found in re.finditer("|".join(map(re.escape, sorted(words, key=len, reverse=True))), folded[low:high]):
        spans += [["", text[place : low + found.start()]], ["hit", text[low + found.start() : low + found.end()]]]
        place = low + found.end()
    spans += [["", text[place:high]], ["", "…" if high < len(text) else ""]]
    return [[kind, re.sub(r"\s+", " ", part)] for kind, part in spans if part]
