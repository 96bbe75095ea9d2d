"""Literature for agents: papers of arXiv, Semantic Scholar and folders of the user's own, searched and read by ids.

All of it happens on the host; an agent gets text and names no address. What papers say is foreign text: nothing here
acts on it.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlgym.errors import SourceError, UsageError
from mlgym.papers import services
from mlgym.papers.library import Library
from mlgym.papers.pdf import needed, text_of
from mlgym.papers.services import ARXIV, ARXIV_ID, SCHOLAR
from mlgym.papers.text import Found, Paper, line, quoted
from mlgym.papers.web import Service, Web

__all__ = ["Papers", "open_papers"]

WINDOW = 10_000  # characters of a paper that are read at once
MOST, FURTHEST = 20, 980  # papers listed at once, and where a list begins at the latest
QUERY = 300  # characters
SCHOLAR_ID = r"(?i:s2):[0-9a-f]{40}|(?i:doi):10\.\d{4,9}/[^\s?#\\]+"
NAMED = f"{ARXIV.name}, {SCHOLAR.name} or a folder that is there, with a slash in it (./papers)"
IDS = "2502.14499 (arXiv), s2:… (Semantic Scholar), DOI:10.… or local:…"
Find = Callable[[str, int, int], Found]


def open_papers(text: str, *, web: Web | None = None, arxiv: Service = ARXIV, scholar: Service = SCHOLAR) -> "Papers":
    """The sources that a text names, with commas between: `arxiv`, `semantic-scholar`, folders with a slash.

    Raises UsageError for a source that there is not, and where a package is missing. Nothing is asked yet. `web`,
    `arxiv` and `scholar` are for tests, whose services lie elsewhere.
    """
    known, libraries = {arxiv.name: arxiv, scholar.name: scholar}, dict[str, Library]()
    online: list[Service] = []
    for name in dict.fromkeys(filter(None, map(str.strip, text.split(",")))):
        if name in known:
            needed()
            online.append(known[name])
        elif "/" in name and Path(name).is_dir():
            library = Library(Path(name))
            if library.name in libraries:
                raise UsageError(f"Two folders of papers are called {library.name}: give one of them another name.")
            libraries[library.name] = library
        else:
            raise UsageError(f"'{name}' is no source of papers: give {NAMED}.")
    if not online and not libraries:
        raise UsageError(f"No source of papers is named: give {NAMED}.")
    return Papers(online, list(libraries.values()), web or Web(), arxiv)


class Papers:
    """The literature of one episode: text for an agent; methods raise SourceError where there is none."""

    def __init__(self, online: list[Service], libraries: list[Library], web: Web, arxiv: Service) -> None:
        self._online, self._libraries, self._web, self._arxiv = online, libraries, web, arxiv

    def search(self, query: str, most: int = 5, start: int = 0, source: str | None = None) -> str:
        """At most `most` papers of each source, or of the one named, from place `start` on."""
        query = line(query)[:QUERY]
        if not re.search(r"\w", query):
            raise SourceError("A search takes at least one word.")
        most, start = min(max(most, 1), MOST), min(max(start, 0), FURTHEST)
        said, failed, seen = [], [], set[str]()
        for name, find in self._searches(source):
            try:
                said.append(_listed(name, find(query, start, most), start, seen))
            except SourceError as error:
                failed.append(str(error))
        if not said:
            raise SourceError(" ".join(failed))
        return "\n\n".join(said + failed)

    def read(self, id: str, start: int = 0) -> str:
        """A window on the paper's text, from character `start` on."""
        id = line(id)
        text = self._text(id)
        start = max(start, 0)
        end = min(start + WINDOW, len(text))
        if start >= len(text):
            raise SourceError(f"The text of {id} has {len(text)} characters; there is nothing from {start} on.")
        head = f"[{id}, characters {start} to {end} of {len(text)}]"
        rest = f"\n[{len(text) - end} more characters: read on with start={end}]" if end < len(text) else ""
        return f"{head}\n{text[start:end]}{rest}"

    def _searches(self, source: str | None) -> list[tuple[str, Find]]:
        """What is searched: each source that is on, or the one that is named."""
        ways = {ARXIV.name: services.search_arxiv, SCHOLAR.name: services.search_scholar}
        found: list[tuple[str, Find]] = [
            (each.name, partial(ways[each.name], self._web, each)) for each in self._online
        ]
        found += [("local", library.search) for library in self._libraries]
        chosen = [each for each in found if source in (None, each[0])]
        if not chosen:
            there = ", ".join(dict.fromkeys(name for name, _ in found))
            raise SourceError(f"{quoted(source or '')} is not among the sources of this episode; they are {there}.")
        return chosen

    def _text(self, id: str) -> str:
        """The text of a paper, or what is known of it where its text cannot be had."""
        if id.startswith("local:"):
            for library in self._libraries:
                if found := library.paper(id):
                    return found.text or _known(found)
            raise SourceError(f"There is no paper {quoted(id)}; search_papers gives the ids.")
        if on_arxiv := re.fullmatch(rf"(?:(?i:arxiv):|(?i:doi):10\.48550/(?i:arxiv)\.)?({ARXIV_ID})", id):
            if not self._online:
                raise SourceError("No service is among the sources of this episode, only local papers.")
            return self._of_arxiv(on_arxiv[1])
        if not re.fullmatch(SCHOLAR_ID, id) or {".", ".."} & set(id.split("/")):
            raise SourceError(f"{quoted(id)} is no id of a paper; ids are {IDS}.")
        return self._of_scholar(id)

    def _of_arxiv(self, id: str) -> str:
        return text_of(services.pdf_of_arxiv(self._web, self._arxiv, id))

    def _of_scholar(self, id: str) -> str:
        scholar = next((service for service in self._online if service.name == SCHOLAR.name), None)
        if scholar is None:
            raise SourceError(f"{SCHOLAR.name} is not among the sources of this episode, so {quoted(id)} is not known.")
        kind, _, rest = id.partition(":")
        found = services.paper_of_scholar(self._web, scholar, rest if kind.lower() == "s2" else f"DOI:{rest}")
        return self._of_arxiv(found.arxiv) if found.arxiv else _known(found)


def _known(paper: Paper) -> str:
    """What is known of a paper whose text cannot be had."""
    return f"{paper.shown(WINDOW)}\n\nIts full text cannot be had here; this is all that is known of it."


def _listed(name: str, found: Found, start: int, seen: set[str]) -> str:
    """A source's papers, without those that another one has listed."""
    if not found.papers:
        return f"{name}: nothing found." if not start else f"{name}: nothing more."
    end = start + len(found.papers)
    more = f"; more with start={end}" if end < found.total else ""
    lines = [f"{name}, {start + 1} to {end} of {found.total}{more}:"]
    for paper in found.papers:
        once = re.sub(r"v\d+$", "", paper.arxiv) or paper.id
        lines.append(f"[{paper.id}] is listed above" if once in seen else paper.shown())
        seen.add(once)
    return "\n".join(lines)
