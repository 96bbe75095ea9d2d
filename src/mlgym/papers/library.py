"""A folder of papers of the user's own: PDF, txt and md files, and jsonl files with a record in each line.

Its papers are known by their names in a list that is made here; an id is looked up in that list and never opened.
"""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlgym.errors import SourceError, UsageError
from mlgym.papers import pdf
from mlgym.papers.text import Found, Paper, clean, line, loaded, paper, short
from mlgym.ranking import bm25

KINDS = (".pdf", ".txt", ".md", ".jsonl")
MOST = 5000  # papers of a folder
PDF, TEXT = 40 << 20, 5 << 20  # bytes of a file that is read
RANKED = 50_000  # characters of a paper that a search looks at


@dataclass(frozen=True)
class File:
    """A file of the folder, as it was when the folder was opened; `kind` is how its name ends, in small letters."""

    path: str
    name: str
    kind: str
    size: int
    changed: int


class Library:
    """The papers of one folder; raises UsageError where there are none, too many, or a broken record."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        self._papers: dict[str, Paper | File] = {}
        for file in _files(folder):
            if file.kind == ".pdf":
                pdf.needed()
            for name, found in _records(file) if file.kind == ".jsonl" else [(file.name, file)]:
                self._papers[line(f"local:{self.name}/{name}")] = found
                if len(self._papers) > MOST:
                    raise UsageError(f"The folder {folder} has more than {MOST} papers: give a smaller one.")
        if not self._papers:
            raise UsageError(f"The folder {folder} has no papers: files of the kinds {', '.join(KINDS)}.")

    def search(self, query: str, start: int, most: int) -> Found:
        """Papers that share words with the query, ranked by BM25 of title, abstract and the beginning of the text."""
        papers = [paper for paper in map(self.paper, self._papers) if paper]
        scores = bm25(query, [f"{each.title}\n{each.abstract}\n{each.text[:RANKED]}" for each in papers])
        best = sorted((place for place, score in enumerate(scores) if score > 0), key=lambda place: -scores[place])
        shown = [papers[place] for place in best[start : start + most]]
        return Found([replace(each, abstract=each.abstract or line(each.text[:1000])) for each in shown], len(best))

    def paper(self, id: str) -> Paper | None:
        """The paper with its text, None where there is no such paper."""
        found = self._papers.get(id)
        return replace(_read(found), id=id) if isinstance(found, File) else found and replace(found, id=id)


def _files(folder: Path) -> Iterator[File]:
    """The files of the folder and of those below it, in order; hidden ones and links are left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            kind = path.suffix.lower()
            if kind in KINDS and not name.startswith(".") and path.is_file() and not path.is_symlink():
                told = path.stat()
                yield File(str(path), str(path.relative_to(folder)), kind, told.st_size, told.st_mtime_ns)


def _records(file: File) -> Iterator[tuple[str, Paper | File]]:
    """The papers of a file of records, each with its id, or the place in the file where it names none."""
    with Path(file.path).open(encoding="utf-8", errors="replace") as lines:
        for number, text in enumerate(lines, 1):
            try:
                if text.strip():
                    record = loaded(text)
                    found = paper(record)
                    yield line(record.get("id") or record.get("paperId")) or f"{file.name}:{number}", found
            except ValueError as error:
                raise UsageError(f"{file.path}, line {number}, is no record of a paper ({error}).") from error


@functools.lru_cache(maxsize=MOST)
def _read(file: File) -> Paper:
    """A file's paper: its title is its first line; one that cannot be read has no text."""
    is_pdf = file.kind == ".pdf"
    try:
        if file.size > (largest := PDF if is_pdf else TEXT):
            raise SourceError(f"it is larger than {largest >> 20} MB.")
        data = Path(file.path).read_bytes()
        text = pdf.text_of(data) if is_pdf else clean(data.decode(errors="replace"))
    except (OSError, SourceError) as error:
        return Paper("", file.name, abstract=f"This file cannot be read: {line(str(error))}")
    lines = (each.strip("# \t") for each in text.splitlines() if not each.startswith("[page "))
    return Paper("", short(next(filter(None, lines), file.name), 200), text=text)
