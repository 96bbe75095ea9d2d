"""A small local server that speaks as arXiv and Semantic Scholar do; for tests, on a free port of this machine.

`papers` are the records that it has; `next` are answers to give first, one to a request, each a dictionary with some
of: status, headers, body (bytes), hang (seconds before it), cut (the connection is closed after half of the body), drip
(seconds between two of its bytes).
"""

import json
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from mlgym.papers import Papers, open_papers
from mlgym.papers.services import ARXIV, SCHOLAR
from mlgym.papers.web import Web

Record = dict[str, Any]
FEED = """<?xml version='1.0' encoding='UTF-8'?>
<feed xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" xmlns:arxiv="http://arxiv.org/schemas/atom"
      xmlns="http://www.w3.org/2005/Atom">
  <id>https://arxiv.org/api/x</id><title>arXiv Query</title>
  <opensearch:totalResults>{total}</opensearch:totalResults>
{entries}</feed>
"""
ENTRY = """  <entry>
    <id>http://arxiv.org/abs/{id}</id>
    <title>{title}</title>
    <published>{year}-02-20T18:57:53Z</published>
    <summary>{abstract}</summary>
    {authors}
    <arxiv:primary_category term="cs.CL"/>
  </entry>
"""


class Literature:
    """The server in a thread; `requests` are path and headers of each request, `busiest` how many came at once.

    `certificate` is a file of a key and a certificate, for https.
    """

    def __init__(
        self, papers: Sequence[Record] = (), pdfs: dict[str, bytes] | None = None, certificate: str = ""
    ) -> None:
        self.papers, self.pdfs = list(papers), pdfs or {}
        self.next: list[Record] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.busy = self.busiest = 0
        self.address = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                answer = outer.next.pop(0) if outer.next else outer.answer(self.path)
                outer.busy += 1
                outer.busiest = max(outer.busy, outer.busiest)
                time.sleep(answer.get("hang", 0.01))
                outer.busy -= 1
                body = answer.get("body", b"")
                try:
                    self.send_response(answer.get("status", 200))
                    for key, value in answer.get("headers", {}).items():
                        self.send_header(key, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    for part in (bytes([each]) for each in body) if "drip" in answer else [body]:
                        self.wfile.write(part[: len(part) // 2] if answer.get("cut") else part)
                        time.sleep(answer.get("drip", 0))
                except OSError:
                    pass  # the client has gone
                self.close_connection = True

            def log_message(self, *args: Any) -> None:
                """Stay silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def host(self) -> str:
        """Host and port of the server, or of another that stands for it."""
        return self.address or f"127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._http.server_address[1])

    def open(self, text: str = "arxiv,semantic-scholar", gap_s: float = 0.0, **web: Any) -> Papers:
        """The literature of an episode whose services are this server."""
        base = {"base": f"{self.scheme}://{self.host}", "gap_s": gap_s, "keyless_s": gap_s}
        web = {"exempt": frozenset({self.host}), **web}
        return open_papers(text, web=Web(**web), arxiv=replace(ARXIV, **base), scholar=replace(SCHOLAR, **base))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be gone."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, target: str) -> Record:
        """The answer to a request."""
        url = urlsplit(target)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/api/query":
            return {"body": self._feed(asked)}
        if url.path.startswith("/pdf/"):
            pdf = self.pdfs.get(url.path.removeprefix("/pdf/"))
            return {"status": 404, "body": b"<html>"} if pdf is None else {"body": pdf}
        if url.path == "/graph/v1/paper/search":
            return {"body": json.dumps(self._found(asked)).encode()}
        named = unquote(url.path.removeprefix("/graph/v1/paper/"))
        for record in self.papers:
            if named in (record["paperId"], f"DOI:{record['externalIds'].get('DOI')}"):
                return {"body": json.dumps(record).encode()}
        return {"status": 404, "body": b'{"error": "Paper with id x not found"}'}

    def _found(self, asked: dict[str, str]) -> Record:
        assert {"title", "abstract", "externalIds"} <= set(asked["fields"].split(","))
        words = asked["query"].lower().split()
        found = [each for each in self.papers if all(word in json.dumps(each).lower() for word in words)]
        start, limit = int(asked["offset"]), int(asked["limit"])
        return {"total": len(found), "offset": start, "data": found[start : start + limit]}

    def _feed(self, asked: dict[str, str]) -> bytes:
        words = [term.removeprefix("all:") for term in asked["search_query"].split(" AND ")]
        on_arxiv = [each for each in self.papers if "ArXiv" in each["externalIds"]]
        found = [each for each in on_arxiv if all(word in json.dumps(each).lower() for word in words)]
        start, most = int(asked["start"]), int(asked["max_results"])
        entries = "".join(
            ENTRY.format(
                id=each["externalIds"]["ArXiv"] + "v1",
                title=escape(each["title"]),
                year=each["year"],
                abstract=escape(each["abstract"]),
                authors="".join(f"<author><name>{escape(one['name'])}</name></author>" for one in each["authors"]),
            )
            for each in found[start : start + most]
        )
        return FEED.format(total=len(found), entries=entries).encode()


def record(number: int, title: str, *, arxiv: str = "", pdf: str = "", doi: str = "", abstract: str = "") -> Record:
    """A paper as Semantic Scholar tells of it."""
    return {
        "paperId": f"{number:040x}",
        "title": title,
        "authors": [{"authorId": str(place), "name": name} for place, name in enumerate(["A. Hen", "B. Fox"])],
        "year": 2025,
        "venue": "Journal of Hens",
        "abstract": abstract or f"All of {title.lower()}.",
        "externalIds": {"CorpusId": number} | ({"ArXiv": arxiv} if arxiv else {}) | ({"DOI": doi} if doi else {}),
        "openAccessPdf": {"url": pdf, "status": "GREEN"} if pdf else None,
    }


def pdf(*pages: str) -> bytes:
    """A PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * place} 0 R" for place in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for place, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * place} 0 R >>"
        )
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    body, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{each}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return body + f"{end}startxref\n{len(body)}\n%%EOF\n".encode()
