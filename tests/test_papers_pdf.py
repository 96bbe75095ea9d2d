"""PDFs are foreign bytes: what cannot be read ends in a sentence, what takes too long or too much is cut off."""

import io
from pathlib import Path

import pypdf
import pytest
from literature import pdf

from mlgym.errors import SourceError
from mlgym.papers import open_papers
from mlgym.papers import pdf as reading


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))


def test_a_text_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = reading.text_of(pdf("One.", "Two."))
    assert text == "[page 1]\nOne.\n\n[page 2]\nTwo."
    monkeypatch.setattr(reading, "PROGRAM", Path("/nowhere.py"))
    assert reading.text_of(pdf("One.", "Two.")) == text


def test_more_pages_than_are_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGES", 1)
    assert reading.text_of(pdf("One.", "Two.")) == "[page 1]\nOne.\n\n[Only 1 of 2 pages could be read.]"


def test_what_takes_too_long_is_cut_off_and_what_was_read_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SECONDS", 1)
    text = reading.text_of(pdf("One.", "x) Tj (" * 300_000))
    assert text == "[page 1]\nOne.\n\n[Only 1 of 2 pages could be read.]"


def test_what_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "sleep.py"
    program.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(reading, "PROGRAM", program)
    monkeypatch.setattr(reading, "WALL_S", 0.2)
    with pytest.raises(SourceError, match="The PDF took longer than"):
        reading.text_of(pdf("One."))


def test_what_takes_too_much_memory_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("One.", "Two.")))
    stream = writer.pages[1]["/Contents"].get_object()
    stream.set_data(stream.get_data() + b" " * (60 << 20))
    writer.pages[1].replace_contents(stream.flate_encode())
    bomb = io.BytesIO()
    writer.write(bomb)
    assert len(bomb.getvalue()) < 100_000
    monkeypatch.setattr(reading, "MEMORY", 100 << 20)
    assert reading.text_of(bomb.getvalue()) == "[page 1]\nOne.\n\n[Only 1 of 2 pages could be read.]"


def test_more_text_than_fits_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "OUTPUT", 3000)
    text = reading.text_of(pdf("One.", "x" * 5000))
    assert text == "[page 1]\nOne.\n\n[Only 1 of 2 pages could be read.]"


def encrypted(tmp_path: Path) -> bytes:
    (tmp_path / "plain.pdf").write_bytes(pdf("One."))
    writer = pypdf.PdfWriter(clone_from=tmp_path / "plain.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "encrypted.pdf")
    return (tmp_path / "encrypted.pdf").read_bytes()


def test_what_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    whole = pdf("One.")
    for data in (b"", b"%PDF-1.7\n", whole[:100], b"%PDF-" + bytes(range(256)) * 40, encrypted(tmp_path)):
        with pytest.raises(SourceError, match=r"The PDF cannot be read: \w+"):
            reading.text_of(data)
    assert reading.text_of(pdf("")) == "[The PDF has no text, only images.]"


def test_a_broken_file_of_a_folder_is_told_and_hinders_no_other(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "broken.pdf").write_bytes(b"%PDF-broken")
    (mine / "fine.pdf").write_bytes(pdf("A fine broken thing."))
    papers = open_papers(str(mine))
    found = papers.search("broken")
    assert "[local:mine/fine.pdf] A fine broken thing." in found
    assert "[local:mine/broken.pdf] broken.pdf\n  This file cannot be read: The PDF cannot be read" in found
    assert "This file cannot be read" in papers.read("local:mine/broken.pdf")
