"""The interfaces of arXiv and Semantic Scholar: what is asked, and what the answers mean.

arXiv: info.arxiv.org/help/api/user-manual.html; Semantic Scholar: api.semanticscholar.org/api-docs/graph.
"""

import re
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from mlgym.errors import SourceError
from mlgym.papers.text import Found, Paper, line, loaded, paper
from mlgym.papers.web import Service, Web
from mlgym.ranking import words

ARXIV = Service("arxiv", "https://export.arxiv.org", 3.0, 3.0)
SCHOLAR = Service(
    *("semantic-scholar", "https://api.semanticscholar.org", 1.0, 3.0), ("SEMANTIC_SCHOLAR_API_KEY", "S2_API_KEY")
)
ANSWER, PDF = 5 << 20, 40 << 20  # bytes of an answer, and of a paper
TERMS = 20  # words of a query that arXiv is asked for
FIELDS = "title,authors,year,venue,abstract,externalIds,openAccessPdf"
ARXIV_ID = r"(?:\d{4}\.\d{4,5}|[a-z-]+(?:\.[A-Z]{2})?/\d{7})(?:v\d{1,3})?"
LINKED = re.compile(rf"https?://(?:www\.|export\.)?arxiv\.org/(?:abs|pdf)/({ARXIV_ID})(?:\.pdf)?")
ATOM = "{http://www.w3.org/2005/Atom}"
OPEN_SEARCH = "{http://a9.com/-/spec/opensearch/1.1/}"
OF_ARXIV = "{http://arxiv.org/schemas/atom}"


def search_arxiv(web: Web, service: Service, query: str, start: int, most: int) -> Found:
    """Papers that have all words of the query, the best first; raises SourceError."""
    terms = " AND ".join(f"all:{word}" for word in words(query)[:TERMS])
    path = f"/api/query?{urlencode({'search_query': terms, 'start': start, 'max_results': most})}"
    return web.get(service, path, _feed, ANSWER)


def pdf_of_arxiv(web: Web, service: Service, id: str) -> bytes:
    """The PDF of a paper by its id on arXiv; raises SourceError."""
    return web.get(service, f"/pdf/{id}", _pdf, PDF)


def search_scholar(web: Web, service: Service, query: str, start: int, most: int) -> Found:
    """Papers of Semantic Scholar, the best first; raises SourceError."""
    asked = urlencode({"query": query, "offset": start, "limit": most, "fields": FIELDS})
    return web.get(service, f"/graph/v1/paper/search?{asked}", _listed, ANSWER)


def paper_of_scholar(web: Web, service: Service, id: str) -> Paper:
    """What Semantic Scholar knows of the paper with its own id or `DOI:…`; raises SourceError."""
    return web.get(service, f"/graph/v1/paper/{quote(id, safe='/:')}?fields={FIELDS}", _record, ANSWER)


def _feed(data: bytes) -> Found:
    """The papers of an Atom feed; one with a declaration of its own (and so of entities) is refused."""
    text = data.decode()
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("its feed declares entities")
    try:
        feed = ElementTree.fromstring(text)  # a str: no other encoding can hide a declaration
    except ElementTree.ParseError as error:
        raise ValueError(f"it is no feed ({error})") from error
    entries = feed.findall(f"{ATOM}entry")
    for entry in entries:
        if "/api/errors" in entry.findtext(f"{ATOM}id", ""):
            raise SourceError(f"arxiv cannot answer this: {line(entry.findtext(f'{ATOM}summary', ''))}.")
    total = line(feed.findtext(f"{OPEN_SEARCH}totalResults", ""))
    return Found([_entry(entry) for entry in entries], int(total) if total.isdecimal() else len(entries))


def _entry(entry: ElementTree.Element) -> Paper:
    linked = LINKED.fullmatch(line(entry.findtext(f"{ATOM}id", "")))
    if not linked:
        raise ValueError("an entry of its feed has no id")
    category = entry.find(f"{OF_ARXIV}primary_category")
    venue = entry.findtext(f"{OF_ARXIV}journal_ref") or ("" if category is None else category.get("term", ""))
    return Paper(
        linked[1],
        line(entry.findtext(f"{ATOM}title", "")),
        [line(author.text) for author in entry.findall(f"{ATOM}author/{ATOM}name")],
        line(entry.findtext(f"{ATOM}published", ""))[:4],
        line(venue),
        line(entry.findtext(f"{ATOM}summary", "")),
        linked[1],
    )


def _pdf(data: bytes) -> bytes:
    if b"%PDF-" not in data[:1024]:
        raise ValueError("it is no PDF")
    return data


def _listed(data: bytes) -> Found:
    answer = loaded(data)
    if not isinstance(answer, dict) or not isinstance(listed := answer.get("data", []), list):
        raise ValueError("it is no list of papers")
    total = answer.get("total")
    return Found([_known(each) for each in listed], total if isinstance(total, int) else len(listed))


def _record(data: bytes) -> Paper:
    return _known(loaded(data))


def _known(record: object) -> Paper:
    """A paper of Semantic Scholar, with its id on arXiv where it is told or where its PDF lies there."""
    found = paper(record)
    open_access = record.get("openAccessPdf") if isinstance(record, dict) else None
    linked = LINKED.fullmatch(line(open_access.get("url"))) if isinstance(open_access, dict) else None
    arxiv = found.arxiv or (linked[1] if linked else "")
    arxiv = arxiv if re.fullmatch(ARXIV_ID, arxiv) else ""
    return Paper(arxiv or found.id, found.title, found.authors, found.year, found.venue, found.abstract, arxiv)
