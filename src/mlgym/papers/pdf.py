"""The text of a PDF, read by pypdf in a process of its own that is held to seconds, memory and output.

A PDF is foreign bytes: it may be made to run for ever or to fill the memory, and then only that process ends.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from mlgym.cache import cache_dir, made
from mlgym.errors import SourceError, UsageError
from mlgym.papers.text import clean, line

PROGRAM = Path(__file__).with_name("pdf_alone.py")
PAGES, SECONDS, MEMORY, OUTPUT = 300, 30, 1 << 30, 4 << 20  # of one PDF: pages, of a processor, bytes, bytes
WALL_S = 120.0  # on a machine with much else to do


def needed() -> str:
    """The folder that has pypdf; raises UsageError where it is missing."""
    found = importlib.util.find_spec("pypdf")
    if found is None or not found.origin:
        raise UsageError("Reading papers takes the package pypdf: pip install 'mlgym-env[papers]'.")
    return str(Path(found.origin).parent.parent)


def text_of(data: bytes) -> str:
    """The text of a PDF, page by page, read once and kept; raises SourceError."""
    site = needed()
    folder = cache_dir() / "papers" / f"text-{sha256(data).hexdigest()[:32]}-{version('pypdf')}"

    def fill(part: Path) -> None:
        (part / "text").write_text(_read(data, site))

    return (made(folder, fill, what="a text", say=lambda _: None) / "text").read_text()


def _read(data: bytes, site: str) -> str:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out:
        source.write(data)
        source.seek(0)
        limits = map(str, (PAGES, SECONDS, MEMORY, OUTPUT))
        try:
            subprocess.run(
                [sys.executable, "-I", str(PROGRAM), site, *limits],
                stdin=source,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env={"PATH": ""},  # so that pypdf finds no program to call
                cwd="/",
                timeout=WALL_S,
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(f"The PDF took longer than {WALL_S:.0f} s to read; try later.") from error
        out.seek(0)
        lines = out.read().splitlines(keepends=True)
    said = [json.loads(each) for each in lines if each.endswith(b"\n")]  # the last may be torn
    pages = [clean(each) for each in said if isinstance(each, str)]
    total = next((each["pages"] for each in said if "pages" in each), 0)
    if not pages:
        why = next((line(each["why"]) for each in said if "why" in each), "it took too long or too much memory")
        raise SourceError(f"The PDF cannot be read: {why}.")
    marked = [f"[page {number}]\n{page.strip()}" for number, page in enumerate(pages, 1)]
    if not any(page.strip() for page in pages):
        marked = ["[The PDF has no text, only images.]"]
    if len(pages) < total:
        marked.append(f"[Only {len(pages)} of {total} pages could be read.]")
    return "\n\n".join(marked)
