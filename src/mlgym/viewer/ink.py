"""Code as coloured lines: lists of [class, text], the classes those of the page's style.

Lexers may take very long for text that was made to have them do so: a long line, a long text and what does not come in
time stay plain.
"""

import functools
import posixpath
import time
from collections.abc import Iterator
from typing import Any

Spans = list[list[list[str]]]  # lines of [class, text]

LONGEST_LINE, LONGEST, SECONDS = 2_000, 200_000, 0.3  # characters; seconds of the processor for the longest
_SUFFIXES = {
    "py": "python", "pyi": "python", "sh": "bash", "bash": "bash", "json": "json", "jsonl": "json", "yaml": "yaml",
    "yml": "yaml", "toml": "toml", "cfg": "ini", "ini": "ini", "c": "c", "h": "c", "cc": "cpp", "cpp": "cpp",
    "hpp": "cpp", "cu": "cpp", "cuh": "cpp", "js": "javascript", "ts": "typescript", "rs": "rust", "go": "go",
    "java": "java", "r": "r", "jl": "julia", "sql": "sql", "css": "css",
}  # fmt: skip
_NAMES = {"Makefile": "make", "Dockerfile": "docker", ".bashrc": "bash"}
_LEXERS = {*_SUFFIXES.values(), *_NAMES.values()}
# The first of these that a token is, or is a kind of, gives its class.
_CLASSES = (
    ("Comment", "c"), ("Literal.String", "s"), ("Literal.Number", "n"), ("Operator.Word", "k"), ("Operator", "o"),
    ("Keyword", "k"), ("Name.Function", "f"), ("Name.Class", "f"), ("Name.Tag", "f"), ("Name.Attribute", "f"),
    ("Name.Decorator", "d"), ("Name.Builtin", "b"), ("Name.Exception", "b"), ("Generic.Error", "k"),
)  # fmt: skip


def language(path: str) -> str:
    """The language of a file by its name, empty where none is known."""
    name = posixpath.basename(path)
    return _NAMES.get(name) or _SUFFIXES.get(name.rpartition(".")[2].lower() if "." in name else "", "")


def plain(text: str) -> Spans:
    """Lines without colours."""
    return [[["", line]] if line else [] for line in text.split("\n")]


def inked(text: str, lexer: str) -> Spans:
    """The lines of a text in the colours of a language; it was made visible before."""
    if lexer not in _LEXERS or not text:
        return plain(text)
    head = _lexable(text)
    lines: Spans = [[]]
    done = 0
    for kind, piece in _tokens(head, lexer):
        done += len(piece)
        for place, part in enumerate(piece.split("\n")):
            if place:
                lines.append([])
            if part:
                _add(lines[-1], kind, part)
    rest = plain(text[done:])
    for kind, piece in rest[0]:
        _add(lines[-1], kind, piece)
    return [*lines, *rest[1:]]


def _lexable(text: str) -> str:
    """The text up to where it is too long, or the first line that is."""
    head, start = text[:LONGEST], 0
    if len(head) <= LONGEST_LINE:
        return head
    while (end := head.find("\n", start)) >= 0 and end - start <= LONGEST_LINE:
        start = end + 1
    last = end if end >= 0 else len(head)
    return head if last - start <= LONGEST_LINE else head[:start]


def _tokens(text: str, lexer: str) -> Iterator[tuple[str, str]]:
    """Class and text of each token, as long as there is time."""
    end = time.thread_time() + SECONDS * (0.25 + len(text) / LONGEST)
    for _, token, piece in _lexer(lexer).get_tokens_unprocessed(text):
        yield _class(token), piece
        if time.thread_time() > end:
            return


@functools.cache
def _lexer(name: str) -> Any:
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(name)


_KNOWN: dict[Any, str] = {}


def _class(token: Any) -> str:
    if token not in _KNOWN:
        name = ".".join(token)
        _KNOWN[token] = next((kind for start, kind in _CLASSES if name == start or name.startswith(start + ".")), "")
    return _KNOWN[token]


def _add(line: list[list[str]], kind: str, text: str) -> None:
    """Put text at the end of a line, into its last part where that has the same class."""
    if line and line[-1][0] == kind:
        line[-1][1] += text
    else:
        line.append([kind, text])
